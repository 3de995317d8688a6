"""Where the frames of the three training sets lie, and what their scribbles say.

Source: docs/method.md, section 8.
Only scribbles are ever opened here: no dense mask has a part in training.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rhmnet.errors import InputError, shown
from rhmnet.files.json_files import read_json
from rhmnet.files.label_maps import read_labels
from rhmnet.files.listing import FRAME_SUFFIXES, MAP_SUFFIXES, by_stem, list_folders
from rhmnet.files.names import check_name, from_windows
from rhmnet.files.text import read_list
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


class Strokes(NamedTuple):
    """A scribble as on disk, and which of its values mean what."""

    labels: np.ndarray
    """uint8 [H, W]: 0 unlabelled, 1..last_object, background; nothing else."""
    background: int
    last_object: int


class Video(NamedTuple):
    """A video's frames in order, as file names inside two folders."""

    name: str
    images: tuple[str, ...]
    scribbles: tuple[str, ...]


def read_strokes(frame: Frame) -> Strokes:
    """Read a frame's scribble and find its background label.

    In videos it is the largest label in the file. In COCO the release takes num_objects itself;
    where the largest label is num_objects + 1, that one is meant.
    Raises InputError that names the file.
    """
    labels = read_labels(frame.scribble)
    largest = int(labels.max())
    if frame.num_objects is None:
        return Strokes(labels, largest, largest - 1)
    background = frame.num_objects + (largest == frame.num_objects + 1)
    last_object = min(COCO_OBJECTS, background - 1)
    if largest > background or last_object < background - 1:
        kept = (labels <= last_object) | (labels == background)
        labels = np.where(kept, labels, np.uint8(0))
    return Strokes(labels, background, last_object)


class CocoScribbles:
    """COCO's scribbled images: a sequence of `Frame`, in the order of COCO_scribbles.json.

    root: folder that holds `COCO_scribbles.json`, `images/` and `scribbles/`.
    Raises InputError for a missing or malformed list, naming the entry.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        path = root / "COCO_scribbles.json"
        if not path.is_file():
            raise InputError(f"{path}: no such file; {_where_from('COCO')}")
        content = read_json(path, '{"images": [...]}')
        if "images" not in content:
            raise InputError(f'{path}: expected {{"images": [...]}}, found no images')
        entries = content["images"]
        if not isinstance(entries, list) or not entries:
            raise InputError(f"{path}: lists no image; expected at least one")
        self._entries = [_coco_entry(path, index, entry) for index, entry in enumerate(entries)]

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Frame:
        image, scribble, num_objects = self._entries[index]
        return Frame(self.root / "images" / image, self.root / "scribbles" / scribble, num_objects)


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
                raise InputError(f"{folder}: no such folder; {_where_from(name)}")
        names = [p.name for p in list_folders(images)] if names is None else names
        self.videos: list[Video] = []
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

    def frame(self, video: Video, index: int) -> Frame:
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
            self.videos.append(Video(video, *files))


def open_coco(root: Path) -> CocoScribbles:
    """The pre-training images under `root`, the folder that holds `COCO`."""
    return CocoScribbles(root / "COCO")


def open_davis(root: Path, min_length: int) -> VideoScribbles:
    """DAVIS' training videos under `root`, the folder that holds `DAVIS`."""
    folder = root / "DAVIS"
    listing = folder / "ImageSets" / "2017" / "train.txt"
    if not listing.is_file():
        raise InputError(f"{listing}: no such file; {_where_from('DAVIS')}")
    names = read_list(listing)
    if not names:
        raise InputError(f"{listing}: names no video; expected one name a line")
    images = folder / "JPEGImages" / "480p"
    return VideoScribbles("DAVIS", images, folder / "train_scribbles", names, min_length=min_length)


def open_youtube(root: Path, min_length: int) -> VideoScribbles:
    """YouTube-VOS' training videos under `root`, the folder that holds `Youtube-VOS`."""
    folder = root / "Youtube-VOS"
    return VideoScribbles(
        "Youtube-VOS",
        folder / "train" / "JPEGImages",
        folder / "train_scribbles",
        min_length=min_length,
        frame_spacing=5,
    )


def _coco_entry(path: Path, index: int, entry: object) -> tuple[str, str, int]:
    where = f"{path}: images[{index}]"
    try:
        image, scribble, num_objects = (
            entry[key] for key in ("file_name", "anno_name", "num_objects")
        )
        fits = isinstance(image, str) and isinstance(scribble, str) and 0 <= int(num_objects) < 255
    except (KeyError, TypeError, ValueError, OverflowError):
        fits = False
    if fits:
        image, scribble = (from_windows(check_name(name, where)) for name in (image, scribble))
        return image, scribble, int(num_objects)
    raise InputError(f"{where} is {entry!r:.120}; expected file_name, anno_name and num_objects")


def _where_from(name: str) -> str:
    return f"put {name} there (README, data), or set data.root to the folder that holds {name}"
