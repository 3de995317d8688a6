"""Files that hold strokes as lines: DAVIS' interactive JSON, labelme's JSON, SVG.

DAVIS: lines of each frame, coordinates as fractions of the way from the first pixel's centre to the
last one's. Two keys are ours, and other tools leave them alone: `size` ([H, W]) of the image,
`thickness` of a line.
labelme: line strips, lines and points with labels, coordinates in pixels from the corner. One key
is ours, and labelme keeps it: `thickness` of a shape.
SVG: paths, lines and polylines; a pen's width is the stroke's. What a stroke labels is said by its
`data-label`, Inkscape label, id or class, or by those of a group around it, as an Inkscape layer:
`2`, `object 2` or `background`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from rhmnet.errors import InputError
from rhmnet.files import check_name
from rhmnet.files.reading import read_bytes, read_json
from rhmnet.files.writing import new_file, write_json
from rhmnet.labels import davis_palette
from rhmnet.tools.scribbles import (
    CORNER,
    Drawing,
    Size,
    Stroke,
    name_of,
    number_names,
    object_id,
    pen_width,
    size_said,
)

_OF_LINES = {"path", "object_id", "thickness"}
_OF_FILES = {"scribbles", "size", "sequence", "annotated_frame"}
_BEYOND = 0.5  # of the image's sides: so far a hand may leave it; farther is another unit
_INSIDE = 0.01  # pixels added when writing, so that tools that cut off decimals get the same pixel
_LINES = ("linestrip", "line", "point")
_UNDRAWN = ("group_id", "flags", "description")  # of a shape, where they are not empty
_SVG = "{http://www.w3.org/2000/svg}"
_NAMES = ("data-label", "{http://www.inkscape.org/namespaces/inkscape}label", "id", "class")
_SIDES = ("width", "height")
_SKIPPED = {"defs", "metadata", "title", "desc", "style", "namedview", "image", "clipPath", "mask"}
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_PATH_TOKEN = re.compile(rf"[MLHVCSQTAZmlhvcsqtaz,\s]|{_NUMBER.pattern}")
_TRANSFORM = re.compile(r"(?:matrix|translate|scale|rotate|skew[XY])\s*\([^)]*\)[\s,]*")
_STEPS = np.arange(1, 25) / 24  # along a curve, enough for one as long as an image's side


def read_davis(path: Path, size: Size | None = None) -> dict[int, Drawing]:
    """The drawings of all frames that have strokes, by frame number.

    A file that lists one frame alone may say its number as `annotated_frame`. A file of ours, which
    says its size, may hold no stroke. size: of the frames, for files that do not say it.
    Points outside of the image are moved to its border, lines without any are left out; both is
    told in `mended`. Raises InputError that names the file, and the line, for anything else.
    """
    content = read_json(path)
    try:
        frames = content["scribbles"]
        if not all(isinstance(lines, list) for lines in [frames, *frames]):
            raise TypeError
    except (KeyError, TypeError):
        expected = '{"scribbles": [[line, ...] of each frame]}'
        raise InputError(f"{path}: not DAVIS scribbles; expected {expected}") from None
    said = size_said(content["size"], f"{path}: size") if content.get("size") else None
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
        if not 0 <= number < 10**9 or number != float(line["object_id"]):
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


def write_davis(path: Path, drawings: Mapping[int, Drawing], sequence: str) -> None:
    """Write the drawings of a video's frames, at least one, by their numbers."""
    height, width = drawings[min(drawings)].size
    scale = np.maximum([width - 1, height - 1], 1)
    frames: list[list[dict]] = [[] for _ in range(max(drawings) + 1)]
    for frame, drawing in drawings.items():
        for stroke in drawing.strokes:
            points = np.minimum((stroke.points + _INSIDE) / scale, 1).tolist()
            line = {"path": points, "object_id": stroke.object_id, "thickness": stroke.thickness}
            frames[frame].append(line)
    content = {"sequence": sequence, "annotated_frame": min(drawings), "size": [height, width]}
    write_json(path, {**content, "scribbles": frames}, indent=None)


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
                raise ValueError
            label = ids[str(shape["label"])]
            strokes.append(Stroke(label, points, pen_width(shape.get("thickness"))))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        wanted = "a label, points [[x, y], ...], and perhaps a thickness in pixels"
        raise InputError(f"{path}: a shape is malformed; expected {wanted}") from None
    sides = [content.get("imageHeight"), content.get("imageWidth")]
    said = size_said(sides, f"{path}: imageHeight, imageWidth") if all(sides) else None
    dropped = [f"shapes of type {kind}" for kind in others]
    dropped += [f"{key} of shapes" for key in _UNDRAWN if any(line.get(key) for line in lines)]
    dropped += ["the picture inside it"] if content.get("imageData") else []
    renamed = ((name, number) for name, number in ids.items() if name_of(number) != name)
    dropped += [f"the name of {name!r}, now object {number}" for name, number in renamed]
    return {0: Drawing(size or said, strokes, dropped)}


def write_labelme(path: Path, drawing: Drawing) -> None:
    """Write a drawing, to be shown on the JPEG of the same name."""
    blank = {"group_id": None, "shape_type": "linestrip", "flags": {}}
    shapes = []
    for stroke in drawing.strokes:
        points = (stroke.points + CORNER).tolist()
        shape = {"label": name_of(stroke.object_id), "points": points, **blank}
        shapes.append({**shape, "thickness": stroke.thickness})
    height, width = drawing.size
    content = {"version": "5.0.1", "flags": {}, "shapes": shapes, "imagePath": f"{path.stem}.jpg"}
    write_json(path, {**content, "imageData": None, "imageHeight": height, "imageWidth": width})


def read_svg(path: Path, size: Size | None = None) -> dict[int, Drawing]:
    """Strokes of an SVG file; shapes that are no lines are dropped, and said to be.

    Nothing that the file refers to is opened. Raises InputError that names the file, and the shape
    that no name labels.
    """
    try:
        root = ElementTree.fromstring(read_bytes(path, "SVG"))
        if root.tag.removeprefix(_SVG) != "svg":
            raise ElementTree.ParseError(f"its root is {root.tag}")
        said, to_pixels = _canvas(root)
        drawing = Drawing(size or said, [])
        with np.errstate(all="ignore"):  # what is not finite is refused
            _collect(path, root, _Pen(to_pixels, None, None), drawing)
    except InputError:
        raise
    except (ElementTree.ParseError, ValueError, LookupError, ArithmeticError) as error:
        why = str(error)[:200]
        raise InputError(f"{path}: cannot be read as SVG ({why}); save it again") from None
    drawing.dropped = sorted(set(drawing.dropped))
    return {0: drawing}


def write_svg(path: Path, drawing: Drawing) -> None:
    """Write a drawing: a path a stroke, in the colours of DAVIS' palette, background in white."""
    height, width = drawing.size
    ElementTree.register_namespace("", _SVG[1:-1])
    attributes = {"width": f"{width}", "height": f"{height}", "viewBox": f"0 0 {width} {height}"}
    root = ElementTree.Element(f"{_SVG}svg", attributes)
    for stroke in drawing.strokes:
        points = " L ".join(f"{x:g} {y:g}" for x, y in (stroke.points + CORNER).tolist())
        colour = davis_palette()[stroke.object_id % 256] if stroke.object_id else (255, 255, 255)
        hexadecimal = "#" + "".join(f"{channel:02x}" for channel in colour)
        pen = {"fill": "none", "stroke": hexadecimal, "stroke-linecap": "round"}
        attributes = {"d": f"M {points}", **pen, "data-label": name_of(stroke.object_id)}
        if stroke.thickness:
            attributes["stroke-width"] = f"{stroke.thickness:g}"
        ElementTree.SubElement(root, f"{_SVG}path", attributes)
    ElementTree.indent(root)
    with new_file(path) as file:
        ElementTree.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)


def _canvas(root: ElementTree.Element) -> tuple[Size | None, np.ndarray]:
    """H, W in pixels (None if not said), and the matrix from user units to pixels."""
    from svgelements import Viewbox  # here and below: `segment` reads DAVIS' JSON without it

    view = [float(number) for number in _NUMBER.findall(root.get("viewBox", ""))]
    sides = [re.fullmatch(r"\s*([\d.]+)(?:px)?\s*", root.get(key, "")) for key in _SIDES]
    if all(sides):
        width, height = (float(side[1]) for side in sides)
    elif len(view) == 4:  # in %, mm or not at all: the view box counts pixels
        width, height = view[2:]
    else:
        return None, np.eye(3)
    if not height + width < np.inf:
        raise ValueError("its width or height is infinite")
    to_pixels = ""
    if len(view) == 4 and view[2] > 0 and view[3] > 0:
        how = root.get("preserveAspectRatio") or "xMidYMid"
        to_pixels = Viewbox.viewbox_transform(0, 0, width, height, *view, how)
    return (round(height), round(width)), matrix(to_pixels)


class _Pen(NamedTuple):
    """What an element hands down to those inside it."""

    to_pixels: np.ndarray
    label: int | None
    width: float | None


def _collect(path: Path, root: ElementTree.Element, pen: _Pen, drawing: Drawing) -> None:
    """Add the strokes of an element and all that it holds, in document order."""
    waiting = [(root, pen)]
    while waiting:  # no recursion: groups may lie in each other as deep as they like
        element, pen = waiting.pop()
        tag = element.tag.rpartition("}")[2] if isinstance(element.tag, str) else "comment"
        if tag in _SKIPPED or tag == "comment":
            continue
        pen = _pen_of(element, pen)
        lines = _lines(tag, element)
        if lines is None and tag not in ("svg", "g", "a"):
            drawing.dropped.append(f"{tag} shapes")
        for line in filter(len, lines or []):
            drawing.strokes.append(_stroke(path, element, line, pen))
        waiting += [(child, pen) for child in reversed(element)]


def _pen_of(element: ElementTree.Element, pen: _Pen) -> _Pen:
    """The pen of an element in a group; raises ValueError for what is no width."""
    own = (object_id(element.get(key, "")) for key in _NAMES)
    label = next((found for found in own if found is not None), pen.label)
    style = re.search(r"stroke-width\s*:\s*(-?[\d.]+)", element.get("style", ""))
    said = (style[1] if style else element.get("stroke-width", "")).strip().removesuffix("px")
    width = pen_width(float(said)) if said else pen.width
    return _Pen(pen.to_pixels @ matrix(element.get("transform", "")), label, width)


def _stroke(path: Path, element: ElementTree.Element, line: np.ndarray, pen: _Pen) -> Stroke:
    if pen.label is None:
        name = element.get("id") or f"the shape {element.get('d', '')[:30]!r}"
        raise InputError(
            f"{path}: {name} has no label; give it, or a group around it, "
            'data-label="1" or "background"'
        )
    points = line @ pen.to_pixels[:2, :2].T + pen.to_pixels[:2, 2] - CORNER
    if not np.isfinite(points).all():
        raise ValueError("a shape leaves the image by far")
    scale = abs(np.linalg.det(pen.to_pixels[:2, :2])) ** 0.5
    return Stroke(pen.label, points, pen.width * scale if pen.width else None)


def _lines(tag: str, element: ElementTree.Element) -> list[np.ndarray] | None:
    """float64 [P, 2] (x, y) of each line of a shape, user units; None for other elements."""
    if tag == "path":
        return flatten(element.get("d", ""))
    if tag in ("polyline", "polygon"):
        points = [float(number) for number in _NUMBER.findall(element.get("points", ""))]
        points += points[:2] if tag == "polygon" else []
        return [np.array(points).reshape(-1, 2)]
    if tag == "line":
        ends = [float(element.get(key, 0)) for key in ("x1", "y1", "x2", "y2")]
        return [np.array(ends).reshape(2, 2)]
    return None


def flatten(data: str) -> list[np.ndarray]:
    """The lines of a path's `d`, curves as 24 pieces; float64 [P, 2] (x, y) each.

    Raises ValueError for what is no path data.
    """
    from svgelements import Close, Line, Move, Path

    lines: list[list] = []
    try:
        if _PATH_TOKEN.sub("", data) or data.lstrip()[:1] not in ("M", "m", ""):
            raise ValueError  # the library would read as far as it understands
        closed = False
        for part in Path(re.sub(r"\.(?!\d)", ".0", data)):  # nor does it know 5.
            if isinstance(part, Move) or closed:  # after Z a line starts where the last one did
                lines.append([part.end if isinstance(part, Move) else part.start])
            closed = isinstance(part, Close)
            if isinstance(part, Line | Close) or not getattr(part, "sweep", 1):  # an arc of no size
                lines[-1].append(part.end)
            elif not isinstance(part, Move):
                lines[-1] += part.npoint(_STEPS).tolist()
        return [np.array([[x, y] for x, y in line], np.float64) for line in lines]
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"path data {data[:30]!r} is malformed") from error


def matrix(transform: str) -> np.ndarray:
    """float64 [3, 3] of a `transform` attribute; identity for an empty one."""
    from svgelements import Matrix

    unknown = _TRANSFORM.sub("", transform).strip()
    try:
        if unknown:
            raise ValueError  # the library would pass it over
        found = Matrix(transform).render(ppi=96)  # of CSS
        rows = [[found.a, found.c, found.e], [found.b, found.d, found.f], [0, 0, 1]]
        return np.array(rows, np.float64)
    except (ValueError, TypeError, IndexError) as error:
        raise ValueError(f"transform {unknown or transform} is not known") from error
