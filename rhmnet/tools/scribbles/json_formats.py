"""JSON that holds strokes as lines: of DAVIS' interactive challenge, and labelme's.

DAVIS: lines of each frame, coordinates as fractions of the way from the first pixel's centre to the
last one's. Two keys are ours, and other tools leave them alone: `size` ([H, W]) of the image,
`thickness` of a line.
labelme: line strips, lines and points with labels, coordinates in pixels from the corner. One key
is ours, and labelme keeps it: `thickness` of a shape.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from rhmnet.errors import InputError
from rhmnet.files.names import check_name
from rhmnet.files.reading import read_json
from rhmnet.files.writing import write_json
from rhmnet.tools.scribbles import CORNER, Drawing, Size, Stroke, name_of, number_names, pen_width

_FRAME = re.compile(r"[0-9]{1,6}")  # file names, without suffix, that are a frame's number
_OF_LINES = {"path", "object_id", "thickness"}
_OF_FILES = {"scribbles", "size", "sequence", "annotated_frame"}
_BEYOND = 0.5  # of the image's sides: so far a hand may leave it; farther is another unit
_INSIDE = 0.01  # pixels added when writing, so that tools that cut off decimals get the same pixel
_LINES = ("linestrip", "line", "point")
_UNDRAWN = ("group_id", "flags", "description")  # of a shape, where they are not empty


def read_davis(path: Path, size: Size | None = None) -> dict[int, Drawing]:
    """The drawings of all frames that have strokes, by frame number.

    A file that lists one frame alone may say its number as `annotated_frame`. A file of ours, which
    says its size, may hold no stroke. size: of the frames, for files that do not say it.
    Points outside of the image are moved to its border, lines without any are left out; both is
    told in `mended`. Raises InputError that names the file, and the line, for anything else.
    """
    content = read_json(path)
    try:
        frames, said = content["scribbles"], content.get("size")
        if not isinstance(frames, list) or not all(isinstance(lines, list) for lines in frames):
            raise ValueError
        said = tuple(int(side) for side in said) if said else None
        if said and (len(said) != 2 or min(said) < 1):
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f'{path}: not DAVIS scribbles; expected {{"scribbles": [[line, ...] of each frame]}}'
        ) from None
    size = size or said
    if size is None:
        raise InputError(f"{path}: does not say the size of its frames; give --size WIDTHxHEIGHT")
    annotated = content.get("annotated_frame")
    annotated = annotated if isinstance(annotated, int) and annotated >= 0 else 0
    above = [f"{key} of the file" for key in sorted(content.keys() - _OF_FILES)]
    sequence = content.get("sequence")
    if sequence and check_name(sequence, f"{path}: sequence") not in (path.stem, path.parent.name):
        above.append(f"the sequence's name, {sequence}")
    drawings = {}
    for number, lines in enumerate(frames, start=annotated if len(frames) == 1 else 0):
        read = [_davis_line(path, number, i, line, size) for i, line in enumerate(lines)]
        strokes = [stroke for stroke, _ in read if stroke is not None]
        extra = sorted({key for line in lines for key in line} - _OF_LINES)
        mended = list(dict.fromkeys(told for _, told in read if told))
        if strokes:
            dropped = above + [f"{key} of lines" for key in extra]
            drawings[number] = Drawing(size, strokes, dropped, mended)
    if not drawings and not said:
        raise InputError(f"{path}: holds no strokes; expected lines for at least one frame")
    return drawings or {annotated: Drawing(size, [], above)}


def _davis_line(
    path: Path, frame: int, index: int, line: dict, size: Size
) -> tuple[Stroke | None, str | None]:
    """A line's stroke, None where it has no point; and what was mended in it."""
    try:
        points = np.array(line["path"], np.float64).reshape(-1, 2)
        number = int(line["object_id"])
        if number < 0 or number != float(line["object_id"]):
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
    stroke = Stroke(number, np.floor(points + 0.5), thickness)
    return stroke, "how far lines leave the image: they end on its border" if outside else None


def write_davis(path: Path, drawing: Drawing) -> None:
    """Write one frame's drawing; a file named by a number is that frame of its folder's video."""
    height, width = drawing.size
    is_frame = _FRAME.fullmatch(path.stem)
    frame = int(path.stem) if is_frame else 0
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
        "sequence": path.parent.name if is_frame else path.stem,
        "annotated_frame": frame,
        "size": [height, width],
        "scribbles": [[] for _ in range(frame)] + [lines],
    }
    write_json(path, content, indent=None)


def read_labelme(path: Path, size: Size | None = None) -> dict[int, Drawing]:
    """Strokes of a labelme file; shapes that are no lines are dropped, and said to be.

    Labels that are neither numbers nor background are numbered in alphabetical order.
    Raises InputError that names the file, and the shape.
    """
    content = read_json(path)
    shapes = content.get("shapes")
    if not isinstance(shapes, list):
        raise InputError(f'{path}: not a labelme file; expected "shapes" and "imageHeight" in it')
    try:
        lines = [shape for shape in shapes if shape.get("shape_type", "polygon") in _LINES]
        others = sorted({shape.get("shape_type", "polygon") for shape in shapes} - set(_LINES))
        ids = number_names(str(shape["label"]) for shape in lines)
        strokes = []
        for shape in lines:
            points = np.array(shape["points"], np.float64).reshape(-1, 2) - CORNER
            if not len(points):
                raise ValueError("no points")
            label = ids[str(shape["label"])]
            strokes.append(Stroke(label, points, pen_width(shape.get("thickness"))))
        sides = content.get("imageHeight"), content.get("imageWidth")
        said = (int(sides[0]), int(sides[1])) if all(sides) else None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{path}: a shape is malformed ({error}); expected label and points [[x, y], ...]"
        ) from None
    dropped = [f"shapes of type {kind}" for kind in others]
    dropped += [f"{key} of shapes" for key in _UNDRAWN if any(line.get(key) for line in lines)]
    dropped += ["the picture inside it"] if content.get("imageData") else []
    renamed = ((name, number) for name, number in ids.items() if name_of(number) != name)
    dropped += [f"the name of {name!r}, now object {number}" for name, number in renamed]
    return {0: Drawing(size or said, strokes, dropped)}


def write_labelme(path: Path, drawing: Drawing) -> None:
    """Write a drawing, to be shown on the JPEG of the same name."""
    shapes = [
        {
            "label": name_of(stroke.object_id),
            "points": (stroke.points + CORNER).tolist(),
            "group_id": None,
            "shape_type": "linestrip",
            "flags": {},
            "thickness": stroke.thickness,
        }
        for stroke in drawing.strokes
    ]
    content = {
        "version": "5.0.1",
        "flags": {},
        "shapes": shapes,
        "imagePath": f"{path.stem}.jpg",
        "imageData": None,
        "imageHeight": drawing.size[0],
        "imageWidth": drawing.size[1],
    }
    write_json(path, content)
