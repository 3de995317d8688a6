"""Scores of masks: region similarity J and contour accuracy F, as the official DAVIS package's.

Equal to it to rounding (docs/method.md, section 9), but each object is measured inside its own
bounding box: outside it, neither mask has anything to count. On DAVIS the first and the last frame
are left out. What would make a score silently wrong is an error: missing frames, masks of colours,
255 as an id, ids above the number of objects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from rhmnet.data.davis import Davis, DavisVideo
from rhmnet.data.youtube import Object, YoutubeVideo
from rhmnet.errors import InputError
from rhmnet.files.concurrency import usable_cores
from rhmnet.files.images import read_labels

BOUNDARY_TOLERANCE = 0.008  # of the image's diagonal
_CHUNK = 12  # frames a task: few enough to keep every thread busy to the end


class Reading(Enum):
    """Which objects are scored; the value is what reports call it."""

    OBJECTS = "every object by itself (official DAVIS-2017 protocol)"
    MERGED = "all objects merged into one (official DAVIS-2016 protocol)"
    OBJECT1 = "object 1 alone (the RHMNet release's reading of DAVIS-2016)"

    def apply(self, labels: np.ndarray) -> np.ndarray:
        """uint8 [H, W] label map -> the same with the objects that this reading scores, from 1."""
        if self is Reading.OBJECTS:
            return labels
        kept = labels > 0 if self is Reading.MERGED else labels == 1
        return kept.view(np.uint8)


def reading_of(year: int, davis16: str) -> Reading:
    """The protocol of a year; `davis16` (merged or object1) decides for 2016."""
    return Reading.OBJECTS if year == 2017 else Reading[davis16.upper()]


def select(names: Sequence[str], start: int | None, end: int | None, only: str | None) -> list[str]:
    """The slice [start:end] of a list of videos, or the one named `only`."""
    if only is not None:
        if only not in names:
            raise InputError(f"--video_name {only}: not in the list; there are {', '.join(names)}")
        return [only]
    chosen = list(names[start:end])
    if not chosen:
        raise InputError(
            f"--start {start} --end {end}: no video among the {len(names)} of the list"
        )
    return chosen


class ObjectScores(NamedTuple):
    """J and F of one object."""

    video: str
    object: Object
    values: np.ndarray
    """float64 [2, T]: every frame of meta.json after the one at which the object appears."""


def score_folder(
    davis: Davis,
    folder: str | Path,
    names: Sequence[str],
    reading: Reading,
    workers: int | None = None,
    progress: bool = False,
) -> dict[str, np.ndarray]:
    """Score `folder/<video>/<frame>.png` of each video, in parallel.

    Returns {video: float64 [2, N, T - 2]}: J and F, per object and frame.
    Raises InputError that names the file for whatever is missing or not a label map.
    """
    videos = [davis.video(name) for name in names]
    for video in videos:
        _check_masks(video, Path(folder) / video.name)
    # Threads: reading, decoding and OpenCV's work all run outside Python's lock.
    with (
        ThreadPoolExecutor(workers or usable_cores()) as pool,
        tqdm(
            total=sum(len(v.frames) - 2 for v in videos), unit="frame", disable=not progress
        ) as bar,
    ):
        pending = [_submit(pool, davis, v, Path(folder) / v.name, reading) for v in videos]
        try:
            for future in as_completed(f for futures in pending for f in futures):
                bar.update(future.result().shape[-1])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {
        video.name: np.concatenate([f.result() for f in futures], axis=-1)
        for video, futures in zip(videos, pending, strict=True)
    }


def score_video(davis: Davis, video: DavisVideo, folder: Path, reading: Reading) -> np.ndarray:
    """J and F of one video's masks: float64 [2, N, T - 2]; see `score_folder`."""
    _check_masks(video, folder)
    num_objects, limit = _objects(davis, video, reading)
    return _score_frames(davis, video.annotations[1:-1], folder, reading, num_objects, limit)


def check_complete(name: str, frames: Sequence[str], folder: Path) -> None:
    """Raise InputError unless `folder` holds a mask, <frame>.png, for each frame of a video."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected the masks of video {name}")
    present = {p.stem for p in folder.glob("*.png")}
    missing = [frame for frame in frames if frame not in present]
    if missing:
        raise InputError(
            f"{folder}: {len(missing)} of {len(frames)} masks are missing, the first of them "
            f"{missing[0]}.png; remove the folder and run the system again on {name}"
        )


def _check_masks(video: DavisVideo, folder: Path) -> None:
    check_complete(video.name, [path.stem for path in video.annotations], folder)


def _submit(
    pool: Executor, davis: Davis, video: DavisVideo, folder: Path, reading: Reading
) -> list[Future]:
    num_objects, limit = _objects(davis, video, reading)
    scored = video.annotations[1:-1]
    return [
        pool.submit(
            _score_frames, davis, scored[i : i + _CHUNK], folder, reading, num_objects, limit
        )
        for i in range(0, len(scored), _CHUNK)
    ]


def _objects(davis: Davis, video: DavisVideo, reading: Reading) -> tuple[int, int | None]:
    """Number of objects scored, and the largest id that a mask may hold.

    None where the annotations are binary: they don't say how many objects a system followed.
    """
    first = davis.first_annotation(video)
    count = int(first.labels.max())
    scored = count if reading is Reading.OBJECTS else 1
    return scored, None if first.binary else count


def _score_frames(
    davis: Davis,
    annotations: Sequence[Path],
    folder: Path,
    reading: Reading,
    num_objects: int,
    limit: int | None,
) -> np.ndarray:
    """float64 [2, N, frames]."""
    binary = limit is None or reading is Reading.MERGED
    scores = [
        frame_scores(
            reading.apply(read_prediction(folder / path.name, annotation.shape, limit, binary)),
            reading.apply(annotation),
            num_objects,
        )
        for path in annotations
        for annotation in [davis.annotation(path).labels]
    ]
    return np.stack(scores, axis=-1)


def read_prediction(
    path: Path, shape: tuple[int, int], limit: int | None, binary: bool = False
) -> np.ndarray:
    """Read a mask that is to be scored: uint8 [H, W].

    shape: H, W of its annotation. limit: the number of objects, None where it is not known.
    binary: a mask of 0 and 255 alone is one object, as DAVIS-2016's annotations are.
    Raises InputError for a mask of another size, and for ids that are no object's.
    """
    labels = read_labels(path)
    if labels.shape != shape:
        raise InputError(
            f"{path}: {labels.shape[1]}x{labels.shape[0]} pixels, but its annotation has "
            f"{shape[1]}x{shape[0]}; resize the mask, nearest neighbour"
        )
    largest = int(labels.max())
    if largest == 255 and binary and set(np.unique(labels)) <= {0, 255}:
        return (labels == 255).view(np.uint8)
    if largest == 255:
        raise InputError(f"{path}: 255 is not an object's id; write objects as 1..N, 0 elsewhere")
    if limit is not None and largest > limit:
        raise InputError(
            f"{path}: id {largest}, but the video has {limit} objects; write objects as 1..N, "
            "0 elsewhere (a background of its own is not an object)"
        )
    return labels


def score_objects(video: YoutubeVideo, folder: Path) -> list[ObjectScores]:
    """J and F of a video's masks, object by object; none without dense annotations.

    folder: holds `<frame>.png`. Raises InputError that names a file with labels out of range.
    """
    if not video.annotations:
        return []
    scores = np.stack([_score_frame(video, path, folder) for path in video.annotations], axis=-1)
    frames = [path.stem for path in video.annotations]  # in order
    return [
        ObjectScores(video.name, item, scores[:, item.number - 1, frames.index(item.first) + 1 :])
        for item in video.objects
    ]


def _score_frame(video: YoutubeVideo, path: Path, folder: Path) -> np.ndarray:
    """float64 [2, N]."""
    annotation = read_labels(path)
    largest = int(annotation.max())
    if largest > video.num_objects:
        raise InputError(
            f"{path}: label {largest}, but meta.json lists objects up to {video.num_objects}; "
            "expected a label map of these objects, 0 elsewhere"
        )
    predicted = read_prediction(folder / path.name, annotation.shape, video.num_objects)
    return frame_scores(predicted, annotation, video.num_objects)


def frame_scores(prediction: np.ndarray, annotation: np.ndarray, num_objects: int) -> np.ndarray:
    """J and F of every object of one frame: float64 [2, N].

    prediction, annotation: uint8 [H, W], 0 background, 1..N objects; other values count as
    background. Raises ValueError where the two shapes differ.
    """
    if prediction.shape != annotation.shape:
        raise ValueError(f"prediction {prediction.shape} and annotation {annotation.shape} differ")
    tolerance = boundary_tolerance(annotation.shape)
    scores = np.empty((2, num_objects))
    for index in range(num_objects):
        predicted, true = _crop(prediction == index + 1, annotation == index + 1)
        scores[0, index] = region_similarity(predicted, true)
        scores[1, index] = contour_accuracy(predicted, true, tolerance)
    return scores


def boundary_tolerance(shape: tuple[int, ...]) -> int:
    """How far apart two contours may lie and still match, in pixels."""
    return math.ceil(BOUNDARY_TOLERANCE * math.hypot(*shape))


def region_similarity(predicted: np.ndarray, true: np.ndarray) -> float:
    """J: intersection over union of two masks (uint8 0/1 [H, W]); 1 where both are empty."""
    union = cv2.countNonZero(predicted | true)
    return cv2.countNonZero(predicted & true) / union if union else 1.0


def contour_accuracy(predicted: np.ndarray, true: np.ndarray, tolerance: int) -> float:
    """F: harmonic mean of the contours' precision and recall (uint8 0/1 [H, W]).

    A contour pixel matches where the other contour passes within `tolerance` pixels. 1 where
    neither mask has a contour, 0 where only one has.
    """
    contour, true_contour = boundary_map(predicted), boundary_map(true)
    count, true_count = cv2.countNonZero(contour), cv2.countNonZero(true_contour)
    if not count or not true_count:
        return float(count == true_count)
    reach = _disk(tolerance)
    precision = cv2.countNonZero(contour & cv2.dilate(true_contour, reach)) / count
    recall = cv2.countNonZero(true_contour & cv2.dilate(contour, reach)) / true_count
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def boundary_map(mask: np.ndarray) -> np.ndarray:
    """uint8 0/1 [H, W]: pixels that differ from their right, lower or lower-right neighbour.

    The official `seg2bmap`: beyond the image's edge the mask goes on as it is.
    """
    padded = cv2.copyMakeBorder(mask, 0, 1, 0, 1, cv2.BORDER_REPLICATE)
    square, corner = np.ones((2, 2), np.uint8), (0, 0)
    highest = cv2.dilate(padded, square, anchor=corner)
    lowest = cv2.erode(padded, square, anchor=corner)
    return (highest ^ lowest)[:-1, :-1]


def _crop(predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both masks as uint8, inside the box of their union and one pixel around it.

    A contour lies inside its mask or one pixel up or left of it, so that no contour pixel is lost;
    distances are only ever taken between contour pixels.
    """
    left, top, width, height = cv2.boundingRect((predicted | true).view(np.uint8))
    rows = slice(max(top - 1, 0), top + height + 1)
    columns = slice(max(left - 1, 0), left + width + 1)
    return tuple(np.ascontiguousarray(m[rows, columns]).view(np.uint8) for m in (predicted, true))


def _disk(radius: int) -> np.ndarray:
    """uint8 [2r + 1, 2r + 1]: 1 within `radius` of the centre."""
    offsets = np.arange(-radius, radius + 1)
    return (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)
