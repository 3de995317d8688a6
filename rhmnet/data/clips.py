"""From a key to a clip: draw until one is accepted, count what was not, and never for ever.

Labels decide whether a clip is accepted (docs/method.md, section 7), and they are cheap: crops are
placed, objects drawn, then, and only then, images opened. Those of accepted clips alone are
decoded, and every frame is warped once, on the crop's window only.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from rhmnet.config import Config, DataConfig
from rhmnet.data import (
    ClipSource,
    Frame,
    FrameStrokes,
    SampleKey,
    read_strokes,
    sample_rng,
    transforms,
)
from rhmnet.data.transforms import Augmentation
from rhmnet.errors import InputError
from rhmnet.files.images import read_image
from rhmnet.labels import BACKGROUND
from rhmnet.structures import REDRAW_REASONS, Clip

_REMEDIES = {
    "few_object_pixels": "draw longer scribbles, or lower data.object_area",
    "crop": "draw longer background scribbles, or lower data.minimum_area",
    "bad_file": "data.on_bad_file=error names the first of them",
}


class Sample(NamedTuple):
    """One clip, arrays as in `rhmnet.structures.Clip` without the batch axis."""

    frames: np.ndarray
    """uint8 [T, 3, H, W], RGB."""
    scribbles: np.ndarray
    """uint8 [T, H, W]."""
    first_scribble: np.ndarray
    """uint8 [H, W]."""
    last_scribble: np.ndarray
    """uint8 [H, W]."""
    num_objects: int


class Rejected(Exception):
    """A draw that makes no acceptable clip; `reason` is one of `REDRAW_REASONS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Placement(NamedTuple):
    """An accepted clip before its images are opened."""

    matrices: list[np.ndarray]
    """From the canvas of each frame to its crop."""
    labels: list[np.ndarray]
    """uint8 [H, W] crops of the scribbles, values as on disk."""
    candidates: np.ndarray
    """Labels of the objects with enough strokes in the first crop."""


class ClipDataset(Dataset[Clip]):
    """Clips by key. `dataset[key]` is a `Clip` of one, the same for equal seeds and keys.

    Raises InputError for a file that cannot be used (`data.on_bad_file=skip` draws again instead),
    and where `data.max_redraws` draws in a row were all rejected, or as many as it takes to try
    every video, if those are more.
    """

    def __init__(self, source: ClipSource, config: Config) -> None:
        self.source = source
        self._config, self._seed = config.data, config.train.seed

    def __len__(self) -> int:
        return self.source.samples_per_epoch

    def __getitem__(self, key: SampleKey) -> Clip:
        rng = sample_rng(self._seed, key)
        rejected: Counter[str] = Counter()
        bound = max(self._config.max_redraws, self.source.whole_round)
        for frames in islice(self.source.draws(rng, key), bound):
            try:
                sample = cut_clip(rng, frames, self.source.augmentation, self._config)
            except Rejected as rejection:
                rejected[rejection.reason] += 1
            except InputError:
                if self._config.on_bad_file == "error":
                    raise
                rejected["bad_file"] += 1
            else:
                return _as_clip(sample, rejected)
        raise self._unusable(rejected)

    def _unusable(self, rejected: Counter[str]) -> InputError:
        (reason, _), *_ = ranked = rejected.most_common()
        found = ", ".join(f"{count} {name}" for name, count in ranked)
        draws = rejected.total()
        return InputError(
            f"{self.source.name}: no usable clip in {draws} draws ({found}); {_REMEDIES[reason]}"
        )


def cut_clip(
    rng: np.random.Generator, frames: list[Frame], augmentation: Augmentation, config: DataConfig
) -> Sample:
    """Make a clip of the given frames (the same one several times: a pseudo-video).

    Raises Rejected where no acceptable crop is found, InputError for a file that cannot be used.
    """
    by_frame = {frame: read_strokes(frame) for frame in dict.fromkeys(frames)}
    strokes = [by_frame[frame] for frame in frames]
    canvas = transforms.canvas_size(strokes[0].labels.shape, config.short_side)
    placement = place_crops(rng, strokes, canvas, augmentation, config)
    count = min(config.max_objects, len(placement.candidates))
    drawn = rng.permutation(placement.candidates)[:count]
    supervision = [
        cv2.LUT(crop, label_table(stroke, drawn, others=BACKGROUND))
        for crop, stroke in zip(placement.labels, strokes, strict=True)
    ]
    first, last = (
        cv2.LUT(placement.labels[end], label_table(strokes[end], drawn, others=0))
        for end in (0, -1)
    )
    images = _cut_images(frames, strokes, canvas, placement.matrices, config.crop_size)
    return Sample(images, np.stack(supervision), first, last, count)


def place_crops(
    rng: np.random.Generator,
    strokes: list[FrameStrokes],
    canvas: tuple[int, int],
    augmentation: Augmentation,
    config: DataConfig,
) -> Placement:
    """Draw the frames' warps once, then rescale and crop until every frame keeps enough strokes.

    Enough: more than `minimum_area` background pixels and more than `object_area` object pixels
    in every frame, and one object with more than `object_area` in the first.
    """
    if not all(_has_both(stroke) for stroke in strokes):
        raise Rejected("few_object_pixels")
    warps = augmentation.draw_warps(rng, canvas, len(strokes))
    if warps is None:
        raise Rejected("crop")
    bases = [transforms.resize_matrix(stroke.labels.shape, canvas) for stroke in strokes]
    to_canvas = [warp @ base for warp, base in zip(warps, bases, strict=True)]
    points = cv2.findNonZero(strokes[0].labels).reshape(-1, 1, 2) + 0.5
    reason = "few_object_pixels"
    for _ in range(config.max_tries):
        views = _draw_views(rng, points, to_canvas[0], canvas, len(strokes), augmentation, config)
        if views is None:
            continue
        matrices = [view @ matrix for view, matrix in zip(views, to_canvas, strict=True)]
        first = transforms.warp(strokes[0].labels, matrices[0], config.crop_size)
        objects = np.arange(1, strokes[0].last_object + 1)
        candidates = objects[_histogram(first)[objects] > config.object_area]
        if len(candidates) == 0:
            continue
        reason = "crop"
        crops = _crop_all(strokes, matrices, first, config)
        if crops is not None:
            warped = [view @ warp for view, warp in zip(views, warps, strict=True)]
            return Placement(warped, crops, candidates)
    raise Rejected(reason)


def label_table(strokes: FrameStrokes, drawn: np.ndarray, others: int) -> np.ndarray:
    """uint8 [256], from labels on disk to those of a clip: drawn objects become 1, 2, ... in order.

    others: what objects that were not drawn become.
    """
    table = np.zeros(256, np.uint8)
    table[1 : strokes.last_object + 1] = others
    table[strokes.background] = BACKGROUND
    for number, label in enumerate(drawn, start=1):
        if label <= strokes.last_object:
            table[label] = number
    return table


def _histogram(labels: np.ndarray) -> np.ndarray:
    """How many pixels have each of the 256 values; many times as fast as numpy's bincount."""
    return cv2.calcHist([labels], [0], None, [256], [0, 256]).ravel()


def _has_both(strokes: FrameStrokes) -> bool:
    counts = _histogram(strokes.labels)
    return bool(counts[strokes.background] and counts[1 : strokes.last_object + 1].any())


def _draw_views(
    rng: np.random.Generator,
    points: np.ndarray,
    to_canvas: np.ndarray,
    canvas: tuple[int, int],
    length: int,
    augmentation: Augmentation,
    config: DataConfig,
) -> list[np.ndarray] | None:
    """One matrix a frame from canvas to crop, the first crop placed by the first frame's strokes.

    None where the warp has moved all of those out of the frame.
    """
    factor, crop = augmentation.draw_rescale(rng), config.crop_size
    size = tuple(max(round(factor * c), least) for c, least in zip(canvas, crop, strict=True))
    rescale = transforms.resize_matrix(canvas, size)
    box = transforms.bounding_box(points, rescale @ to_canvas, size)
    if box is None:
        return None
    windows = [transforms.draw_window(rng, box, size, crop)]
    for _ in range(length - 1):
        windows.append(transforms.drift_window(rng, windows[-1], augmentation.drift, size, crop))
    return [transforms.translate_matrix(-x, -y) @ rescale for x, y in windows]


def _cut_images(
    frames: list[Frame],
    strokes: list[FrameStrokes],
    canvas: tuple[int, int],
    matrices: list[np.ndarray],
    crop_size: tuple[int, int],
) -> np.ndarray:
    """uint8 [T, 3, H, W]: each image opened once and warped into its crop."""
    opened: dict[Frame, np.ndarray] = {}
    clip = np.empty((len(frames), 3, *crop_size), np.uint8)
    for index, (frame, stroke, matrix) in enumerate(zip(frames, strokes, matrices, strict=True)):
        if frame not in opened:
            opened[frame] = _open_image(frame, stroke, canvas)
        image = opened[frame]
        matrix = matrix @ transforms.resize_matrix(image.shape[:2], canvas)
        crop = transforms.warp(image, matrix, crop_size)
        for channel in range(3):
            cv2.extractChannel(crop, channel, dst=clip[index, channel])
    return clip


def _crop_all(
    strokes: list[FrameStrokes], matrices: list[np.ndarray], first: np.ndarray, config: DataConfig
) -> list[np.ndarray] | None:
    """The scribbles' crops, or None as soon as a frame keeps too few strokes."""
    crops: list[np.ndarray] = []
    for stroke, matrix in zip(strokes, matrices, strict=True):
        crop = transforms.warp(stroke.labels, matrix, config.crop_size) if crops else first
        counts = _histogram(crop)
        if counts[stroke.background] <= config.minimum_area:
            return None
        if counts[1 : stroke.last_object + 1].sum() <= config.object_area:
            return None
        crops.append(crop)
    return crops


def _open_image(frame: Frame, strokes: FrameStrokes, canvas: tuple[int, int]) -> np.ndarray:
    image = read_image(frame.image)
    size, expected = image.shape[:2], strokes.labels.shape
    if size != expected:
        raise InputError(
            f"{frame.scribble}: {expected[1]}x{expected[0]} pixels, but {frame.image} has "
            f"{size[1]}x{size[0]}; make scribbles at the image's size"
        )
    factor = min(size) // min(canvas)
    if factor > 1:  # bilinear warping reads 2x2 pixels, so it would skip some of a larger image
        reduced = (size[1] // factor, size[0] // factor)
        image = cv2.resize(image, reduced, interpolation=cv2.INTER_AREA)
    return image


def _as_clip(sample: Sample, rejected: Counter[str]) -> Clip:
    return Clip(
        *(torch.from_numpy(array)[None] for array in sample[:4]),
        num_objects=torch.tensor([sample.num_objects]),
        smooth=torch.ones(1, dtype=torch.bool),
        redraws=torch.tensor([[rejected[reason] for reason in REDRAW_REASONS]]),
    )
