"""Scores of a folder of masks against a DAVIS list, like the official package's.

The first and the last frame are left out. What would make a score silently wrong is an error:
missing frames, masks of colours, 255 as an id, ids above the number of objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from enum import Enum
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rhmnet.data.davis import YEARS, Davis, DavisVideo
from rhmnet.errors import InputError
from rhmnet.evaluation.metrics import frame_scores
from rhmnet.files.concurrency import usable_cores
from rhmnet.files.label_maps import read_labels

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


def parse_year(text: str) -> int:
    """16, 17, 2016 or 2017 -> the year."""
    years = {str(y)[-n:]: y for y in YEARS for n in (2, 4)}
    if text not in years:
        raise InputError(f"--year {text}: expected 16 or 17")
    return years[text]


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
