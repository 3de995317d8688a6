"""What is told of a whole video: per frame and object, and where a further stroke helps most.

In summary.json:

All figures of a frame and object are NaN (null in the file) where the object has no pixel.

- area: pixels of the mask, at the video's size.
- probability: mean of the object's probability over its pixels, at the network's size.
- reliability: the share of that probability which lies in the reliable region (`stepper.measure`).
- reliability_change: against the frame before in the video.
- doubt of an object on a frame: 1 - (reliability + probability) / 2; of a frame: the mean over the
  objects seen on it, then over it and the 5 frames on each side, which a stroke helps too.

A session, in which strokes follow one another, advises by a rule that counts those that are there.
Two passes come to a frame, one from the last stroke on the object before it and one from the next
stroke after it; each fails by 1 - REACH / (2 REACH + distance), and always where there is no such
stroke; the mask fails where both do. A stroke on frame t is worth what it takes from all failures:

    gain(t) = shows(t) * sum_s weight(s) * (fails(s) - fails(s with a stroke on t, too))

weight: how much more an object is in doubt there (1 - probability) than on its surest frames, and a
fifth of that doubt itself: strokes mend little of what is in doubt everywhere, as outlines are.
shows: the object's area there, 1 from its median on: a stroke on what is nearly hidden tells
little.

With the same doubt everywhere strokes spread, one of them to the end, where the other pass then
begins; doubt draws them to where masks fail. docs/segment.md, "Where to stroke next", has what that
was worth on real videos.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from rhmnet.files.writing import new_file
from rhmnet.labels import BACKGROUND

NEIGHBOURS = 5  # frames on each side that a stroke helps
REACH = 32.0
"""Frames, of the rule above."""
ENOUGH = 0.02
"""Doubt below which the masks of an object are good enough."""
_SURE = 0.2  # share of an object's frames that are its surest
_EVERYWHERE = 0.2  # what doubt counts that these have, too
_MOST_CANDIDATES = 128  # frames that are compared
_WINDOW = 1 / 12  # of the shorter side: over which a place's doubt is added up
_DIGITS = 5


class Advice(NamedTuple):
    """Where a further stroke helps most."""

    frame: int | None
    """None: nowhere."""
    object: int | None
    place: tuple[int, int] | None
    """x, y in the video's pixels; None: anywhere on the object."""
    reason: str


def doubt(statistics: np.ndarray) -> np.ndarray:
    """float64 [T, O]: 1 - (reliability + probability) / 2, NaN where an object has no pixel.

    statistics: [T, 3, O], area, probability, reliability.
    """
    return 1 - (statistics[:, 1] + statistics[:, 2]) / 2


def best_frame(statistics: np.ndarray, annotated: Collection[int]) -> tuple[int, int] | None:
    """The frame where a further stroke helps most, and the object, 1..O, to draw it on.

    It is the frame of the largest doubt (module's docstring), the first of equals, among those
    without strokes so far on which an object is seen; None if there is none. The object is the
    most doubtful one there.
    """
    table = doubt(statistics)
    seen = ~np.isnan(table)
    per_frame = np.where(seen, table, 0).sum(1) / np.maximum(seen.sum(1), 1)
    known = seen.any(1)
    window = np.ones(2 * NEIGHBOURS + 1)
    middle = slice(NEIGHBOURS, NEIGHBOURS + len(table))
    total = np.convolve(per_frame * known, window)[middle]
    smooth = total / np.maximum(np.convolve(known, window)[middle], 1)
    allowed = known.copy()
    allowed[list(annotated)] = False
    if not allowed.any():
        return None
    frame = int(np.argmax(np.where(allowed, smooth, -np.inf)))
    return frame, int(np.nanargmax(table[frame])) + 1


def advise(
    statistics: np.ndarray,
    numbers: Sequence[int],
    stroked: Mapping[int, Sequence[int]],
    probability: Callable[[int, int], np.ndarray],
    size: tuple[int, int],
) -> Advice:
    """What the rule says of a video.

    statistics: float [T, 3, O], area, probability, reliability, NaN where unknown. numbers: of the
    O objects. stroked: {frame: objects with a stroke on it, 255 where background has one}.
    probability: of a frame and an object's number, float32 [h, w].
    size: H, W of the video.
    """
    areas, doubt = statistics[:, 0], 1 - statistics[:, 1]
    if np.isnan(doubt).all():
        return Advice(None, None, None, "no finished frame shows an object")
    best = None
    for column, number in enumerate(numbers):
        # a stroke of background tells where the object is not
        frames = [f for f, values in stroked.items() if {number, BACKGROUND} & {*values}]
        found = best_frame_of(doubt[:, column], areas[:, column], frames)
        if found is not None and (best is None or found[1] > best[0]):
            best = found[1], found[0], column
    if best is None:
        most = np.nanmax(doubt)
        why = f"every frame that shows an object in doubt (up to {most:.2f}) has strokes"
        if most < ENOUGH:
            why = f"good enough: no object is in doubt by more than {most:.2f}"
        return Advice(None, None, None, why)
    _, frame, column = best
    number, far = numbers[column], min((abs(f - frame) for f in stroked), default=0)
    place = place_of(probability(frame, number), size)
    why = f"object {number} is in doubt ({doubt[frame, column]:.2f}), {far} frames from a stroke"
    return Advice(frame, number, place, why)


def best_frame_of(
    doubt: np.ndarray, area: np.ndarray, stroked: Sequence[int]
) -> tuple[int, float] | None:
    """The frame on which a stroke on an object gains most, and its gain; None: good enough.

    None, too, where all frames that show it have strokes.

    doubt: float [T], NaN where the object is not seen: it may be missed there, so that frame counts
    as the others do on average, but none is told to stroke what it cannot show. area: [T], pixels.
    """
    seen = ~np.isnan(doubt)
    if not seen.any() or np.nanmax(doubt) < ENOUGH:
        return None
    frames = np.arange(len(doubt))
    free = np.flatnonzero(seen & ~np.isin(frames, stroked))
    if not len(free):
        return None
    free = free[np.linspace(0, len(free) - 1, min(len(free), _MOST_CANDIDATES)).astype(int)]
    weight = _EVERYWHERE * doubt + np.maximum(0, doubt - np.nanquantile(doubt, _SURE))
    weight = np.where(seen, weight, np.nanmean(weight))
    since, until = _distances(frames, stroked)
    gap = frames - free[:, None]
    since_then = np.where(gap >= 0, np.minimum(since, gap), since)
    until_then = np.where(gap <= 0, np.minimum(until, -gap), until)
    spared = _fails(since) * _fails(until) - _fails(since_then) * _fails(until_then)
    gains = spared @ weight * np.minimum(1, area[free] / np.median(area[seen]))
    return int(free[gains.argmax()]), float(gains.max())


def _distances(frames: np.ndarray, stroked: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Frames since the last stroke, and until the next, float [T]; infinite where there is none."""
    since, until = np.full((2, len(frames)), np.inf)
    for frame in stroked:
        gap = frames - frame
        since = np.where(gap >= 0, np.minimum(since, gap), since)
        until = np.where(gap <= 0, np.minimum(until, -gap), until)
    return since, until


def _fails(distance: np.ndarray) -> np.ndarray:
    return 1 - REACH / (2 * REACH + distance)


def place_of(probability: np.ndarray, size: tuple[int, int]) -> tuple[int, int] | None:
    """x, y in an image of `size` (H, W): the middle of the window that is most in doubt.

    probability: float32 [h, w] of an object; a pixel is most in doubt at 0.5. None: all is certain.
    """
    doubt = np.minimum(probability, 1 - probability).astype(np.float32)
    side = max(3, int(min(doubt.shape) * _WINDOW) | 1)
    summed = cv2.boxFilter(doubt, -1, (side, side), borderType=cv2.BORDER_CONSTANT)
    if not doubt.any():
        return None
    row, column = np.unravel_index(int(summed.argmax()), summed.shape)
    scale = np.array(size) / doubt.shape
    return int((column + 0.5) * scale[1]), int((row + 0.5) * scale[0])


def write_summary(
    path: Path,
    statistics: np.ndarray,
    names: Sequence[str],
    objects: Sequence[int],
    annotated: Collection[int],
    head: dict[str, Any],
) -> None:
    """Write summary.json: `head`, what holds for each object, and one line a frame.

    statistics: [T, 3, O]; names: T frames' names; objects: numbers of those to tell of.
    """
    change = np.diff(statistics[:, 2], axis=0, prepend=np.nan)
    best = best_frame(statistics, annotated)
    further = (
        None if best is None else {"frame": best[0], "name": names[best[0]], "object": best[1]}
    )
    top = {
        **head,
        "frames_with_strokes": sorted(annotated),
        "further_stroke_helps_most": further,
        "objects": {str(o): _whole(statistics[:, :, o - 1], change[:, o - 1]) for o in objects},
    }
    with new_file(path) as file:
        file.write((json.dumps(top, indent=1)[:-2] + ',\n "frames": [\n').encode())
        for frame, name in enumerate(names):
            entry = {
                "frame": frame,
                "name": name,
                "objects": {
                    str(o): _single(statistics[frame, :, o - 1], change[frame, o - 1])
                    for o in objects
                },
            }
            end = ",\n" if frame + 1 < len(names) else "\n"
            file.write(f"  {json.dumps(entry)}{end}".encode())
        file.write(b" ]\n}\n")


def _single(row: np.ndarray, change: float) -> dict[str, float | int | None]:
    return {
        "area": int(row[0]),
        "probability": _number(row[1]),
        "reliability": _number(row[2]),
        "reliability_change": _number(change),
    }


def _whole(rows: np.ndarray, change: np.ndarray) -> dict[str, Any]:
    """An object over all frames: rows [T, 3], change [T]."""
    seen = rows[:, 0] > 0
    reliability = rows[~np.isnan(rows[:, 2]), 2]
    drops = np.where(change < 0, change, 0)  # NaN is no drop
    return {
        "frames_seen": int(seen.sum()),
        "mean_area": _number(rows[seen, 0].mean()) if seen.any() else None,
        "mean_probability": _number(np.nanmean(rows[:, 1])) if len(reliability) else None,
        "mean_reliability": _number(reliability.mean()) if len(reliability) else None,
        "lowest_reliability": _number(reliability.min()) if len(reliability) else None,
        "largest_drop_at_frame": int(drops.argmin()) if drops.any() else None,
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), _DIGITS)
