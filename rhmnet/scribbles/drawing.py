"""Strokes as lines, whatever the file they come from; lines to label maps and back.

Every format is read into a `Drawing` and written from one. A label map becomes lines that pass
through each of its pixels, so that drawing them gives the very same map.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from rhmnet.errors import InputError
from rhmnet.labels import BACKGROUND, MAX_OBJECTS
from rhmnet.scribbles.hand import draw_lines

BACKGROUND_ID = 0
"""Object id of background strokes in a drawing, as in DAVIS' interactive challenge."""


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

    size: tuple[int, int] | None
    """H, W in pixels; None where the file does not say."""
    strokes: list[Stroke]
    dropped: list[str] = field(default_factory=list)
    """What the file held that a drawing cannot, one phrase a kind."""

    def num_objects(self) -> int:
        """The largest object id."""
        return max((stroke.object_id for stroke in self.strokes), default=0)


def rasterize(drawing: Drawing, num_objects: int, thickness: float) -> np.ndarray:
    """Label map of a drawing, as on disk; later strokes lie on top.

    num_objects: N; background strokes get N + 1. thickness: pixels at 480p, of strokes whose file
    does not say any.
    Returns uint8 [H, W]. Raises ValueError for a drawing without size or with larger object ids.
    """
    if drawing.size is None:
        raise ValueError("the size of the image is not known")
    if not drawing.num_objects() <= num_objects <= MAX_OBJECTS:
        raise ValueError(f"object {drawing.num_objects()} is above the {num_objects} objects")
    default = thickness * min(drawing.size) / 480
    labels = np.zeros(drawing.size, np.uint8)
    for (object_id, width), strokes in groupby(
        drawing.strokes, key=lambda stroke: (stroke.object_id, stroke.thickness or default)
    ):
        lines = [stroke.points[:, ::-1] for stroke in strokes]
        inked = draw_lines(drawing.size, lines, max(1, round(width)))
        labels[inked] = num_objects + 1 if object_id == BACKGROUND_ID else object_id
    return labels


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


def parse_size(text: str) -> tuple[int, int]:
    """H, W of a text such as 854x480 (width first)."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise InputError(f"size {text!r}: expected WIDTHxHEIGHT in pixels, as in 854x480")
    return int(height), int(width)


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
