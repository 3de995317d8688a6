"""What is told of a whole video: per frame and object, and where a further stroke helps most.

All figures of a frame and object are NaN (null in the file) where the object has no pixel.

- area: pixels of the mask, at the video's size.
- probability: mean of the object's probability over its pixels, at the network's size.
- reliability: the share of that probability which lies in the reliable region (`merge.measure`).
- reliability_change: against the frame before in the video.
- doubt of an object on a frame: 1 - (reliability + probability) / 2; of a frame: the mean over the
  objects seen on it, then over it and the 5 frames on each side, which a stroke helps too.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rhmnet.files.writing import new_file

NEIGHBOURS = 5  # frames on each side that a stroke helps
_DIGITS = 5


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
