"""Strokes as lines, whatever the file they come from; lines to label maps and back.

Every format is read into a `Drawing` and written from one. A label map becomes lines that pass
through each of its pixels, so that drawing them gives the very same map.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise
from typing import Any

import cv2
import numpy as np

from rhmnet.errors import InputError, is_whole_number, short
from rhmnet.labels import BACKGROUND, MAX_OBJECTS

Size = tuple[int, int]
"""H, W in pixels."""
CORNER = 0.5
"""Pixels from a pixel's corner, which formats count from, to its centre, as strokes do."""
BACKGROUND_COLOR_HELP = (
    "of background strokes that were painted, as white or '#ff8800'; none: no color is the "
    "background's"
)
"""Of the option that commands have for it."""
BACKGROUND_ID = 0
"""Object id of background strokes in a drawing, as in DAVIS' interactive challenge."""
_MOST_PIXELS = 2**28
_FARTHEST = 10**6  # pixels; OpenCV counts sixteenths of them in 32 bits
_MOST_DIGITS = 9  # of an object's number
_SUBPIXEL_BITS = 4  # OpenCV draws at 1/16 of a pixel
_BROAD = 31  # pixels; above it dilation, whose time grows with the pen's area, is too slow
_NUMBERED = re.compile(r"(?:object|obj)?[\s_-]*0*(\d+)", re.IGNORECASE)
_BACKGROUND = re.compile(r"(?:background|bg)", re.IGNORECASE)


@dataclass(frozen=True)
class Stroke:
    """One line of a pen."""

    object_id: int
    """1..N, or BACKGROUND_ID."""
    points: np.ndarray
    """float64 [P, 2] (x, y) in pixels, pixel centres at whole numbers."""
    thickness: float | None = None
    """Pixels; None where the file does not say."""


@dataclass
class Drawing:
    """All strokes of one frame, in drawing order."""

    size: Size | None
    """None where the file does not say."""
    strokes: list[Stroke]
    dropped: list[str] = field(default_factory=list)
    """What the file held that a drawing cannot, one phrase a kind."""
    mended: list[str] = field(default_factory=list)
    """Likewise what was wrong in the file and is left out."""

    def num_objects(self) -> int:
        """The largest object id."""
        return max((stroke.object_id for stroke in self.strokes), default=0)


def rasterize(drawing: Drawing, num_objects: int, thickness: float) -> np.ndarray:
    """Label map of a drawing, as on disk; later strokes lie on top.

    num_objects: N; background strokes get N + 1. thickness: pixels at 480p, of strokes whose file
    does not say any.
    Returns uint8 [H, W]. Raises ValueError for a drawing without size, with larger object ids, or
    with points that are no numbers or far from any image.
    """
    check_drawing(drawing)
    if not drawing.num_objects() <= num_objects <= MAX_OBJECTS:
        raise ValueError(
            f"object {drawing.num_objects()} is above the {min(num_objects, MAX_OBJECTS)} objects; "
            "renumber it or give a larger --num-objects"
        )
    default = thickness * min(drawing.size) / 480
    labels = np.zeros(drawing.size, np.uint8)
    for (object_id, width), strokes in groupby(
        drawing.strokes, key=lambda stroke: (stroke.object_id, stroke.thickness or default)
    ):
        lines = [stroke.points[:, ::-1] for stroke in strokes]
        width = min(width, 2 * sum(drawing.size))  # no more than to fill the image
        inked = draw_lines(drawing.size, lines, max(1, round(width)))
        labels[inked] = num_objects + 1 if object_id == BACKGROUND_ID else object_id
    return labels


def draw_lines(shape: tuple[int, int], lines: list[np.ndarray], thickness: int) -> np.ndarray:
    """bool [H, W]: lines of [P, 2] (y, x) drawn with a round pen, not anti-aliased.

    The pen is a disk of `thickness` pixels: OpenCV's own thick lines are up to two pixels thicker
    than asked for.
    """
    canvas = np.zeros(shape, np.uint8)
    for line in lines:
        line = np.repeat(line, 2, axis=0) if len(line) == 1 else line  # a dot, to OpenCV
        points = np.round(line[:, ::-1] * 2**_SUBPIXEL_BITS).astype(np.int32)
        cv2.polylines(canvas, [points[:, None]], False, 1, 1, cv2.LINE_8, _SUBPIXEL_BITS)
    if thickness > _BROAD:
        if not lines:
            return canvas > 0
        # about the lines alone: all of a large frame takes most of the time that a stroke takes
        ends, reach = np.concatenate(lines), thickness // 2 + 2
        low = np.clip(np.floor(ends.min(axis=0)).astype(int) - reach, 0, shape)
        high = np.clip(np.ceil(ends.max(axis=0)).astype(int) + reach + 1, 0, shape)
        part = canvas[low[0] : high[0], low[1] : high[1]]
        inked = np.zeros(shape, bool)
        if part.size:
            distance = cv2.distanceTransform(1 - part, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            inked[low[0] : high[0], low[1] : high[1]] = distance <= thickness / 2
        return inked
    reach = np.arange(thickness) - (thickness - 1) / 2
    disk = (reach[:, None] ** 2 + reach**2 <= thickness**2 / 4).astype(np.uint8)
    return cv2.dilate(canvas, disk) > 0


def check_drawing(drawing: Drawing) -> None:
    """Raise ValueError for a drawing without a usable size, or with points far from any image."""
    if drawing.size is None:
        raise ValueError("the size of the image is not known; give --size WIDTHxHEIGHT")
    height, width = drawing.size
    if not (height > 0 and width > 0 and height * width <= _MOST_PIXELS):
        raise ValueError(f"its size is {width}x{height} pixels; give another --size")
    for stroke in drawing.strokes:
        if not (np.abs(stroke.points) <= _FARTHEST).all():
            raise ValueError(
                f"a line of object {stroke.object_id} leaves the image by far; mend it"
            )


def clip(drawing: Drawing) -> tuple[Drawing, bool]:
    """The drawing cut at the image's border, so that points lie in 0..W - 1, 0..H - 1.

    Also returns whether anything lay outside.
    """
    height, width = drawing.size
    last = np.array([width - 1, height - 1])
    strokes, outside = [], False
    for stroke in drawing.strokes:
        lines = _runs_inside(stroke.points, last)
        outside |= len(lines) != 1 or not np.array_equal(lines[0], stroke.points)
        strokes += [replace(stroke, points=line.clip(0, last)) for line in lines]
    return replace(drawing, strokes=strokes), outside


def trace(labels: np.ndarray, num_objects: int) -> Drawing:
    """Lines one pixel thick that `rasterize` draws to exactly the same map.

    labels: uint8 [H, W] as on disk, N + 1 or 255 the background. num_objects: N.
    """
    strokes = []
    for value in np.unique(labels[labels > 0]).tolist():
        object_id = BACKGROUND_ID if value in (num_objects + 1, BACKGROUND) else value
        for line in _zigzags(labels == value):
            strokes.append(Stroke(object_id, line, thickness=1))
    return Drawing(labels.shape, strokes)


def guess_num_objects(labels: np.ndarray) -> int:
    """N of a map as on disk: 255 is background; without any, the largest label is."""
    largest = int(labels[labels < BACKGROUND].max(initial=0))
    return largest if (labels == BACKGROUND).any() else max(0, largest - 1)


def parse_size(text: str) -> Size:
    """H, W of a text such as 854x480 (width first)."""
    match = re.fullmatch(r"([0-9]{1,5})[xX]([0-9]{1,5})", text)
    if not match or not all(map(int, match.groups())):
        raise InputError(
            f"size {short(text)}: expected WIDTHxHEIGHT, 1 to 99999 pixels each, as in 854x480"
        )
    return int(match[2]), int(match[1])


def size_said(sides: Any, where: str) -> Size:
    """H, W as JSON says them. Raises InputError that names `where` for what is none."""
    whole = isinstance(sides, list) and all(is_whole_number(side, 1, 99_999) for side in sides)
    if not whole or len(sides) != 2:
        raise InputError(f"{where}={short(sides)}: expected height and width, 1 to 99999 pixels")
    return sides[0], sides[1]


def object_id(name: str) -> int | None:
    """Of `2`, `object 2`, `obj_2`, `background`, `bg`, `0`; None for any other name.

    Raises ValueError for a number that no object has.
    """
    if _BACKGROUND.fullmatch(name.strip()):
        return BACKGROUND_ID
    match = _NUMBERED.fullmatch(name.strip())
    if match and len(match[1]) > _MOST_DIGITS:
        raise ValueError(f"{short(name)} is no object's number")
    return int(match[1]) if match else None


def name_of(object_id: int) -> str:
    """The name that is written for an object id."""
    return "background" if object_id == BACKGROUND_ID else str(object_id)


def number_names(names: Iterable[str]) -> dict[str, int]:
    """Object ids of names; those without a number get the free ones, in alphabetical order."""
    names = sorted(set(names))
    ids = {name: object_id(name) for name in names}
    taken = set(ids.values())
    for name in names:
        if ids[name] is None:
            ids[name] = next(n for n in range(1, len(names) + len(taken) + 1) if n not in taken)
            taken.add(ids[name])
    return ids


def pen_width(said: object) -> float | None:
    """Thickness in pixels, None where none is said; raises ValueError for anything else."""
    if said is None:
        return None
    if not isinstance(said, int | float) or not (math.isfinite(said) and said > 0):
        raise ValueError(f"thickness {said!r}")
    return float(said)


def _runs_inside(points: np.ndarray, last: np.ndarray) -> list[np.ndarray]:
    """The parts of a line inside the image, [P, 2] (x, y) each; its pixels reach half beyond.

    last: x and y of the last pixel's centre.
    """
    low, high = -0.5, last + 0.5
    within = (points >= low) & (points <= high)
    if within.all() or len(points) == 1:
        return [points] if within.all() else []
    runs: list[list[np.ndarray]] = []
    for start, end in pairwise(points):
        step = end - start
        with np.errstate(divide="ignore", invalid="ignore"):
            sides = np.sort([(low - start) / step, (high - start) / step], axis=0)
        for axis in np.flatnonzero(step == 0):  # along a border: inside all the way, or never
            inside = low <= start[axis] <= high[axis]
            sides[:, axis] = (-np.inf, np.inf) if inside else (np.inf, -np.inf)
        first, past = max(0.0, sides[0].max()), min(1.0, sides[1].min())
        if first > past:
            continue
        if not runs or first > 0 or (runs[-1][-1] != start).any():
            runs.append([start + first * step])
        runs[-1].append(end if past == 1 else start + past * step)
    return [np.array(run) for run in runs]


def _zigzags(mask: np.ndarray) -> list[np.ndarray]:
    """Lines inside a mask that pass through all of its pixels, float64 [P, 2] (x, y) each.

    A line runs through a row's pixels from left to right, goes on in a run of the next row that
    touches it, and ends where there is none.
    """
    edges = np.diff(np.pad(mask, [(0, 0), (1, 1)]).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1] - 1
    waiting: dict[int, list[tuple[int, int]]] = {}
    for row, start, end in zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True):
        waiting.setdefault(row, []).append((start, end))
    lines = []
    for first in sorted(waiting):
        while waiting[first]:
            row, (start, end) = first, waiting[first].pop(0)
            line = [(start, row), (end, row)]
            while True:
                touching = [
                    run
                    for run in waiting.get(row + 1, [])
                    if run[0] <= end + 1 >= start - 1 <= run[1]
                ]
                if not touching:
                    break
                following = touching[0]
                waiting[row + 1].remove(following)
                # go back along this row to where a single step leads down
                above = min(max(following[0], start), end)
                below = min(max(above, following[0]), following[1])
                row, (start, end) = row + 1, following
                line += [(above, row - 1), (below, row), (start, row), (end, row)]
            lines.append(np.array(line, np.float64))
    return lines
