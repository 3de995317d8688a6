"""Scribbles as data sets hold them, and which frames a training clip is made of.

A stage draws its clips from COCO's shuffled images, or from videos of data sets drawn by weight. A
source offers draws without end: the clip is made of the first that is accepted (docs/method.md,
section 7). Only scribbles are ever opened: no dense mask has a part in training. A `Prompt` is what
a video of a benchmark is tracked from.
"""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np

from rhmnet.config import DataConfig
from rhmnet.data.transforms import Augmentation, ImageAugmentation, VideoAugmentation
from rhmnet.errors import InputError, shown
from rhmnet.files import FRAME_SUFFIXES, MAP_SUFFIXES, by_stem, list_folders
from rhmnet.files.images import read_image, read_labels
from rhmnet.files.legend import Legend, PaintOptions
from rhmnet.files.scribble_file import read_strokes_file
from rhmnet.labels import RELEASE_CHANNELS

COCO_OBJECTS = RELEASE_CHANNELS - 2
"""Object labels above it are dropped from COCO's scribbles, as the release does."""

_log = logging.getLogger(__name__)


class Frame(NamedTuple):
    """One image with its scribble."""

    image: Path
    scribble: Path
    num_objects: int | None = None
    """What COCO_scribbles.json says; None in videos."""


class FrameStrokes(NamedTuple):
    """A scribble as on disk, and which of its values mean what."""

    labels: np.ndarray
    """uint8 [H, W]: 0 unlabelled, 1..last_object, background; nothing else."""
    background: int
    last_object: int


class ScribbledVideo(NamedTuple):
    """A video's frames in order, as file names inside two folders."""

    name: str
    images: tuple[str, ...]
    scribbles: tuple[str, ...]


def read_strokes(frame: Frame) -> FrameStrokes:
    """Read a frame's scribble and find its background label.

    In videos it is the largest label in the file. In COCO the release takes num_objects itself;
    where the largest label is num_objects + 1, that one is meant.
    Raises InputError that names the file.
    """
    labels = read_labels(frame.scribble)
    largest = int(labels.max())
    if frame.num_objects is None:
        return FrameStrokes(labels, largest, largest - 1)
    background = frame.num_objects + (largest == frame.num_objects + 1)
    last_object = min(COCO_OBJECTS, background - 1)
    if largest > background or last_object < background - 1:
        kept = (labels <= last_object) | (labels == background)
        labels = np.where(kept, labels, np.uint8(0))
    return FrameStrokes(labels, background, last_object)


class VideoScribbles:
    """A tree of scribbled videos, `images/<video>/*.jpg` and `scribbles/<video>/*.bmp`.

    Serves DAVIS and YouTube-VOS alike. Videos whose counts of images and scribbles differ, whose
    names do not pair, or which are shorter than a clip are skipped; a warning names them.

    name: for messages.
    names: the videos to use; None means all folders of `images`.
    min_length: T, frames of a clip.
    frame_spacing: frames of the film between two annotated ones (YouTube-VOS: 5).
    Raises InputError where a folder is missing or no video is left.
    """

    def __init__(
        self,
        name: str,
        images: Path,
        scribbles: Path,
        names: list[str] | None = None,
        *,
        min_length: int,
        frame_spacing: int = 1,
    ) -> None:
        self.name, self.images, self.scribbles = name, images, scribbles
        self.frame_spacing = frame_spacing
        for folder in (images, scribbles):
            if not folder.is_dir():
                raise InputError(f"{folder}: no such folder; {where_from(name)}")
        names = [p.name for p in list_folders(images)] if names is None else names
        self.videos: list[ScribbledVideo] = []
        skipped: list[str] = []
        for video in names:
            self._add(video, min_length, skipped)
        if skipped:
            _log.warning("%s: skipped %d videos: %s", name, len(skipped), shown("; ".join(skipped)))
        if not self.videos:
            why = "; ".join(skipped) or "the folder is empty"
            raise InputError(f"{images}: no usable video ({why}); expected <video>/*.jpg")

    def __len__(self) -> int:
        return len(self.videos)

    def frame(self, video: ScribbledVideo, index: int) -> Frame:
        """The index-th frame of one of `videos`."""
        image = self.images / video.name / video.images[index]
        return Frame(image, self.scribbles / video.name / video.scribbles[index])

    def _add(self, video: str, min_length: int, skipped: list[str]) -> None:
        images = by_stem(self.images / video, FRAME_SUFFIXES)
        scribbles = by_stem(self.scribbles / video, MAP_SUFFIXES)
        if len(images) != len(scribbles):
            skipped.append(f"{video} has {len(images)} images but {len(scribbles)} scribbles")
        elif images.keys() != scribbles.keys():
            alone = min(images.keys() ^ scribbles.keys())
            skipped.append(f"{video} has no pair for {alone}")
        elif len(images) < min_length:
            skipped.append(f"{video} has {len(images)} frames, fewer than a clip's {min_length}")
        else:
            pairs = ((image.name, scribbles[stem].name) for stem, image in images.items())
            files = zip(*pairs, strict=True)
            self.videos.append(ScribbledVideo(video, *files))


def where_from(name: str) -> str:
    """The remedy where a data set's files are not found."""
    return f"put {name} there (README, data), or set data.root to the folder that holds {name}"


class Appearance(NamedTuple):
    """The strokes of objects that appear on a later frame."""

    scribble: np.ndarray
    """uint8 [H, W], 0 no stroke, else the object."""
    path: Path
    """The file it was read from."""


class Prompt(NamedTuple):
    """The tracker's input, on the first frame and where further objects appear."""

    scribble: np.ndarray
    """uint8 [H, W], 0 no stroke, 1..N objects, 255 background, on the first frame."""
    num_objects: int
    path: Path
    """The file it was read from."""
    later: Mapping[str, Appearance] = MappingProxyType({})
    """{stem of the frame: strokes on it}."""

    @property
    def paths(self) -> list[Path]:
        """All files it was read from."""
        return [self.path, *(appearance.path for appearance in self.later.values())]

    def strokes_on(self, index: int, frame: Path) -> np.ndarray | None:
        """The strokes on a frame, the index-th of its video; None for most."""
        if index == 0:
            return self.scribble
        appearance = self.later.get(frame.stem)
        return appearance and appearance.scribble


def read_painted(
    path: Path, frame: Path | None, num_objects: int | None, legend: Legend | None = None
) -> np.ndarray:
    """Labels of a map, or of strokes painted in colours, which are told once."""
    read_frame = functools.partial(read_image, frame) if frame else None
    options = PaintOptions(read_frame, None, num_objects, legend or Legend())
    try:
        labels, how, _ = read_strokes_file(path, options)
    except InputError as error:
        if "--background-color" in str(error):
            raise InputError(f"{error} of scripts/convert_scribbles.py") from None
        raise
    if how:
        warnings.warn(f"{path}: {how}", stacklevel=2)
    return labels


def size_text(labels: np.ndarray) -> str:
    """A map's size as messages give it, width first."""
    return f"{labels.shape[1]}x{labels.shape[0]}"


class SampleKey(NamedTuple):
    """What a sample depends on, apart from the seed."""

    epoch: int
    index: int
    """Of the sample in its epoch, over all processes."""
    skip: int
    """The next frame of a video is at most 1 + skip ahead, frames of the film."""


def sample_rng(seed: int, key: SampleKey) -> np.random.Generator:
    """The generator from which all that is random in one sample comes."""
    sequence = np.random.SeedSequence([seed, key.epoch, key.index])
    return np.random.Generator(np.random.PCG64(sequence))


class ClipSource(Protocol):
    """What a stage draws its clips from."""

    name: str
    augmentation: Augmentation

    @property
    def samples_per_epoch(self) -> int:
        """Clips of one epoch, over all processes."""

    @property
    def whole_round(self) -> int:
        """Draws after which everything there is has been drawn from; 0 where nothing says so."""

    def draws(self, rng: np.random.Generator, key: SampleKey) -> Iterator[list[Frame]]:
        """The T frames of one draw after another, without end."""


class ImageScribbles(Protocol):
    """Scribbled images by number, as `rhmnet.data.coco.CocoScribbles`."""

    root: Path

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Frame: ...


class ImageSource:
    """Pre-training: each epoch goes through all images once, in an order of its own.

    A rejected image is followed by one drawn at random. Where an epoch needs a few samples more
    than there are images, the order starts anew.
    """

    def __init__(self, images: ImageScribbles, config: DataConfig, seed: int) -> None:
        self.name = f"COCO ({images.root})"
        self.augmentation = ImageAugmentation()
        self._images, self._length, self._seed = images, config.clip_length, seed
        self._order: tuple[int, np.ndarray] | None = None

    @property
    def samples_per_epoch(self) -> int:
        """The number of images."""
        return len(self._images)

    @property
    def whole_round(self) -> int:
        """0: images are many, and drawn with replacement."""
        return 0

    def draws(self, rng: np.random.Generator, key: SampleKey) -> Iterator[list[Frame]]:
        """See `ClipSource`."""
        order = self._epoch_order(key.epoch)
        index = order[key.index % len(order)]
        while True:
            yield [self._images[int(index)]] * self._length
            index = rng.integers(len(order))

    def _epoch_order(self, epoch: int) -> np.ndarray:
        if self._order is None or self._order[0] != epoch:
            shuffle = np.random.Generator(np.random.PCG64([self._seed, epoch]))
            self._order = epoch, shuffle.permutation(len(self._images))
        return self._order[1]


class VideoSource:
    """Video training: a data set by weight, one of its videos, then frames a few apart.

    trees: the data sets; weights: their relative shares, as many.
    """

    def __init__(
        self, trees: list[VideoScribbles], weights: list[float], config: DataConfig
    ) -> None:
        self.name = " and ".join(f"{tree.name} ({tree.images})" for tree in trees)
        self.augmentation = VideoAugmentation(config)
        self.samples_per_epoch = config.samples_per_epoch
        self._trees, self._config = trees, config
        self._shares = np.cumsum(weights) / np.sum(weights)

    @property
    def whole_round(self) -> int:
        """`frame_draws` draws of every video."""
        return self._config.frame_draws * sum(map(len, self._trees))

    def draws(self, rng: np.random.Generator, key: SampleKey) -> Iterator[list[Frame]]:
        """See `ClipSource`; gaps are alike in frames of the film: skip // spacing."""
        while True:
            for tree, video in self._round(rng):
                for _ in range(self._config.frame_draws):
                    indices = draw_indices(
                        rng,
                        len(video.images),
                        self._config.clip_length,
                        key.skip // tree.frame_spacing,
                        self._config.temporal_flip,
                    )
                    yield [tree.frame(video, index) for index in indices]

    def _round(self, rng: np.random.Generator) -> Iterator[tuple[VideoScribbles, ScribbledVideo]]:
        """All videos once: one drawn by weight, the rest of its data set, then the other sets.

        Drawn anew each time, few usable videos among many might never be met. What a clip of sound
        data needs is drawn first, and an order of the rest only where the first video fails.
        """
        drawn = np.searchsorted(self._shares, rng.random(), side="right")
        first = self._trees[min(int(drawn), len(self._trees) - 1)]
        chosen = int(rng.integers(len(first)))
        yield first, first.videos[chosen]
        for tree in (first, *(tree for tree in self._trees if tree is not first)):
            for index in rng.permutation(len(tree)):
                if tree is not first or index != chosen:
                    yield tree, tree.videos[index]


def draw_indices(
    rng: np.random.Generator, num_frames: int, length: int, skip: int, temporal_flip: float
) -> list[int]:
    """Indices of a clip's frames: each 1..1 + skip after the one before, or all of it reversed.

    Towards the end of a video a gap is drawn from what leaves room for the frames to come.
    """
    indices = [int(rng.integers(num_frames - length, endpoint=True))]
    for remaining in range(length - 2, -1, -1):
        room = num_frames - 1 - remaining - indices[-1]
        indices.append(indices[-1] + int(rng.integers(1, min(1 + skip, room), endpoint=True)))
    return indices[::-1] if rng.random() < temporal_flip else indices
