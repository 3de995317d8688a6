"""SVG: paths, lines and polylines; a pen's width is the stroke's width.

What a stroke labels is said by its `data-label`, Inkscape label, id or class, or by those of a
group around it (an Inkscape layer, say): `2`, `object 2` or `background`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import svgelements
from svgelements import Arc, Close, Line, Move

from rhmnet.errors import InputError
from rhmnet.files.writing import new_file
from rhmnet.labels import davis_palette
from rhmnet.tools.scribbles import CORNER, Drawing, Size, Stroke, name_of, object_id, pen_width

_SVG = "{http://www.w3.org/2000/svg}"
_NAMES = ("data-label", "{http://www.inkscape.org/namespaces/inkscape}label", "id", "class")
_SKIPPED = {"defs", "metadata", "title", "desc", "style", "namedview", "image", "clipPath", "mask"}
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_PATH_TOKEN = re.compile(rf"[MLHVCSQTAZmlhvcsqtaz,\s]|{_NUMBER.pattern}")
_TRANSFORM = re.compile(r"(?:matrix|translate|scale|rotate|skew[XY])\s*\([^)]*\)[\s,]*")
_PIXELS_AN_INCH = 96  # of CSS
_CURVE_POINTS = 24  # of a curve, enough for one as long as an image's side


def read_svg(path: Path, size: Size | None = None) -> dict[int, Drawing]:
    """Strokes of an SVG file; shapes that are no lines are dropped, and said to be.

    Nothing that the file refers to is opened. Raises InputError that names the file, and the shape
    that no name labels.
    """
    try:
        root = ElementTree.parse(path).getroot()
        if root.tag.removeprefix(_SVG) != "svg":
            raise ElementTree.ParseError(f"its root is {root.tag}")
        said, to_pixels = _canvas(root)
        drawing = Drawing(size or said, [])
        with np.errstate(all="ignore"):  # what is not finite is refused
            _collect(path, root, _Pen(to_pixels, None, None), drawing)
    except (OSError, ElementTree.ParseError, ValueError, IndexError, ArithmeticError) as error:
        if isinstance(error, InputError):
            raise
        reason = str(error)[:200]
        raise InputError(f"{path}: cannot be read as SVG ({reason}); save it again") from None
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
        attributes = {
            "d": f"M {points}",
            "fill": "none",
            "stroke": "#" + "".join(f"{channel:02x}" for channel in colour),
            "stroke-linecap": "round",
            "data-label": name_of(stroke.object_id),
        }
        if stroke.thickness:
            attributes["stroke-width"] = f"{stroke.thickness:g}"
        ElementTree.SubElement(root, f"{_SVG}path", attributes)
    ElementTree.indent(root)
    with new_file(path) as file:
        ElementTree.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)


def _canvas(root: ElementTree.Element) -> tuple[Size | None, np.ndarray]:
    """H, W in pixels (None if not said), and the matrix from user units to pixels."""
    view = [float(number) for number in _NUMBER.findall(root.get("viewBox", ""))]
    sides = [root.get("width", ""), root.get("height", "")]
    lengths = [re.fullmatch(r"\s*([\d.]+)(?:px)?\s*", side) for side in sides]
    if all(lengths):
        width, height = (float(length[1]) for length in lengths)
    elif len(view) == 4:  # in %, mm or not at all: the view box counts pixels
        width, height = view[2:]
    else:
        return None, np.eye(3)
    to_pixels = ""
    if len(view) == 4 and view[2] > 0 and view[3] > 0:
        how = root.get("preserveAspectRatio") or "xMidYMid"
        to_pixels = svgelements.Viewbox.viewbox_transform(0, 0, width, height, *view, how)
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
    lines: list[list] = []
    try:
        if _PATH_TOKEN.sub("", data) or data.lstrip()[:1] not in ("M", "m", ""):
            raise ValueError  # the library would read as far as it understands
        closed = False
        for part in svgelements.Path(re.sub(r"\.(?!\d)", ".0", data)):  # nor does it know 5.
            if isinstance(part, Move):
                lines.append([part.end])
            else:
                if closed:  # after Z a line starts where the last one did
                    lines.append([part.start])
                lines[-1] += _points_of(part)
            closed = isinstance(part, Close)
        return [np.array([(point.x, point.y) for point in line], np.float64) for line in lines]
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"path data {data[:30]!r} is malformed") from error


def _points_of(part: svgelements.PathSegment) -> list[svgelements.Point]:
    """Points along a part of a path, without its start."""
    if isinstance(part, Line | Close) or (isinstance(part, Arc) and not part.sweep):
        return [part.end]
    return [part.point(step / _CURVE_POINTS) for step in range(1, _CURVE_POINTS + 1)]


def matrix(transform: str) -> np.ndarray:
    """float64 [3, 3] of a `transform` attribute; identity for an empty one."""
    unknown = _TRANSFORM.sub("", transform).strip()
    try:
        if unknown:
            raise ValueError  # the library would pass it over
        found = svgelements.Matrix(transform).render(ppi=_PIXELS_AN_INCH)
        rows = [[found.a, found.c, found.e], [found.b, found.d, found.f], [0, 0, 1]]
        return np.array(rows, np.float64)
    except (ValueError, TypeError, IndexError) as error:
        raise ValueError(f"transform {unknown or transform} is not known") from error
