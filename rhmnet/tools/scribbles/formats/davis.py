"""DAVIS' interactive JSON: a list of lines for each frame, coordinates from 0 to 1.

Coordinates are fractions of the way from the first pixel's centre to the last one's. Two keys are
ours, and other tools leave them alone: `size` ([H, W]) of the image, `thickness` of a line.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from rhmnet.errors import InputError
from rhmnet.files.json_files import read_json
from rhmnet.files.names import check_name
from rhmnet.files.writing import write_json
from rhmnet.tools.scribbles.drawing import Drawing, Stroke
from rhmnet.tools.scribbles.formats.names import pen_width

FRAME = re.compile(r"[0-9]{1,6}")
"""File names, without suffix, that are a frame's number."""
_KNOWN = {"path", "object_id", "thickness"}
_KNOWN_ABOVE = {"scribbles", "size", "sequence", "annotated_frame"}
_BEYOND = 0.5  # of the image's sides: so far a hand may leave it; farther is another unit
_INSIDE = 0.01  # pixels added when writing, so that tools that cut off decimals get the same pixel


def read(path: Path, size: tuple[int, int] | None = None) -> dict[int, Drawing]:
    """The drawings of all frames that have strokes, by frame number.

    A file that lists one frame alone may say its number as `annotated_frame`. A file of ours, which
    says its size, may hold no stroke.
    size: H, W of the frames, for files that do not say it.
    Points outside of the image are moved to its border, lines without any are left out; both is
    told in `mended`.
    Raises InputError that names the file, and the line, for anything else.
    """
    content = read_json(path)
    try:
        frames, said = content["scribbles"], content.get("size")
        if not isinstance(frames, list) or not all(isinstance(lines, list) for lines in frames):
            raise KeyError("scribbles")
        said = tuple(int(side) for side in said) if said else None
        if said and (len(said) != 2 or min(said) < 1):
            raise ValueError
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(
            f'{path}: not DAVIS scribbles; expected {{"scribbles": [[line, ...] of each frame]}}'
        ) from None
    size = size or said
    if size is None:
        raise InputError(f"{path}: does not say the size of its frames; give --size WIDTHxHEIGHT")
    annotated = content.get("annotated_frame")
    annotated = annotated if isinstance(annotated, int) and annotated >= 0 else 0
    first = annotated if len(frames) == 1 else 0
    above = [f"{key} of the file" for key in sorted(content.keys() - _KNOWN_ABOVE)]
    sequence = content.get("sequence")
    if sequence:
        check_name(sequence, f"{path}: sequence")
    if sequence and sequence not in (path.stem, path.parent.name):
        above.append(f"the sequence's name, {sequence}")
    drawings = {}
    for number, lines in enumerate(frames, start=first):
        if lines:
            read = [_stroke(path, number, i, line, size) for i, line in enumerate(lines)]
            strokes = [stroke for stroke, _ in read if stroke is not None]
            extra = sorted({key for line in lines for key in line} - _KNOWN)
            dropped = above + [f"{key} of lines" for key in extra]
            mended = list(dict.fromkeys(told for _, told in read if told))
            if strokes:
                drawings[number] = Drawing(size, strokes, dropped, mended)
    if not drawings and not said:
        raise InputError(f"{path}: holds no strokes; expected lines for at least one frame")
    return drawings or {annotated: Drawing(size, [], above)}


def write(path: Path, drawing: Drawing, sequence: str = "", frame: int = 0) -> None:
    """Write one frame's drawing. sequence: the video's name. frame: its number in the video."""
    height, width = drawing.size
    scale = np.maximum([width - 1, height - 1], 1)
    lines = [
        {
            "path": np.minimum((stroke.points + _INSIDE) / scale, 1).tolist(),
            "object_id": stroke.object_id,
            "thickness": stroke.thickness,
        }
        for stroke in drawing.strokes
    ]
    content = {
        "sequence": sequence,
        "annotated_frame": frame,
        "size": [height, width],
        "scribbles": [[] for _ in range(frame)] + [lines],
    }
    write_json(path, content, indent=None)


def _stroke(
    path: Path, frame: int, index: int, line: dict, size: tuple[int, int]
) -> tuple[Stroke | None, str | None]:
    """A line's stroke, None where it has no point; and what was mended in it."""
    try:
        points = np.array(line["path"], np.float64).reshape(-1, 2)
        object_id = int(line["object_id"])
        if object_id < 0 or object_id != float(line["object_id"]):
            raise ValueError
        thickness = pen_width(line.get("thickness"))
        if not len(points):
            return None, "lines without a point"
        if not (points.min() >= -_BEYOND and points.max() <= 1 + _BEYOND):
            raise ValueError
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        raise InputError(
            f"{path}: line {index} of frame {frame}: expected path [[x, y], ...] in 0..1, "
            "object_id (0 for background), and perhaps a thickness in pixels"
        ) from None
    outside = points.min() < 0 or points.max() > 1
    points = points.clip(0, 1) * np.maximum([size[1] - 1, size[0] - 1], 1)
    # a path stands for pixels, as the challenge's own tools take it
    stroke = Stroke(object_id, np.floor(points + 0.5), thickness)
    return stroke, "how far lines leave the image: they end on its border" if outside else None
