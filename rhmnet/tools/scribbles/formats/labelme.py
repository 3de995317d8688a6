"""labelme's JSON: line strips, lines and points with labels, coordinates in pixels from the corner.

One key is ours, and labelme keeps it: `thickness` of a shape.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rhmnet.errors import InputError
from rhmnet.files.json_files import read_json
from rhmnet.files.writing import write_json
from rhmnet.tools.scribbles.drawing import Drawing, Stroke
from rhmnet.tools.scribbles.formats.names import name_of, number, pen_width

_LINES = ("linestrip", "line", "point")
_UNDRAWN = ("group_id", "flags", "description")  # of a shape, where they are not empty
_CORNER = 0.5  # a pixel's centre is half a pixel from its corner


def read(path: Path) -> Drawing:
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
        ids = number(str(shape["label"]) for shape in lines)
        strokes = [
            Stroke(
                ids[str(shape["label"])],
                _points(shape),
                pen_width(shape.get("thickness")),
            )
            for shape in lines
        ]
        size = content.get("imageHeight"), content.get("imageWidth")
        size = (int(size[0]), int(size[1])) if all(size) else None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{path}: a shape is malformed ({error}); expected label and points [[x, y], ...]"
        ) from None
    dropped = [f"shapes of type {kind}" for kind in others]
    dropped += [f"{key} of shapes" for key in _UNDRAWN if any(line.get(key) for line in lines)]
    dropped += ["the picture inside it"] if content.get("imageData") else []
    dropped += [
        f"the name of {name!r}, now object {n}" for name, n in ids.items() if name_of(n) != name
    ]
    return Drawing(size, strokes, dropped)


def write(path: Path, drawing: Drawing, image: str = "") -> None:
    """Write a drawing. image: file name of the image that labelme shows it on."""
    shapes = [
        {
            "label": name_of(stroke.object_id),
            "points": (stroke.points + _CORNER).tolist(),
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
        "imagePath": image,
        "imageData": None,
        "imageHeight": drawing.size[0],
        "imageWidth": drawing.size[1],
    }
    write_json(path, content)


def _points(shape: dict) -> np.ndarray:
    points = np.array(shape["points"], np.float64).reshape(-1, 2)
    if not len(points):
        raise ValueError("no points")
    return points - _CORNER
