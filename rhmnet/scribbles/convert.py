"""Convert scribbles between label maps and formats that hold lines.

Maps keep every pixel on the way to lines and back; what cannot be kept is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rhmnet.data.files import read_labels
from rhmnet.errors import InputError
from rhmnet.labels import BACKGROUND
from rhmnet.scribbles.drawing import Drawing, guess_num_objects, rasterize, trace
from rhmnet.scribbles.formats import davis, labelme, svg
from rhmnet.scribbles.make import write_map
from rhmnet.visualize import davis_palette

SUFFIXES = {
    "bmp": ".bmp",
    "png": ".png",
    "saliency": ".png",
    "davis": ".json",
    "labelme": ".json",
    "svg": ".svg",
}
LINES = ("davis", "labelme", "svg")
_SALIENCY_BACKGROUND = 2


@dataclass(frozen=True)
class ConvertOptions:
    """What files do not say themselves."""

    size: tuple[int, int] | None = None  # H, W of the image, for lines; None: as the file says
    num_objects: int | None = None  # N; None: the largest object, in maps the largest label - 1
    thickness: float = 7.0  # of lines without any, pixels at 480p


def convert(
    source: Path, target: Path, to: str, options: ConvertOptions, saliency: bool = False
) -> list[str]:
    """Convert a file, or all files of a folder into a folder with the same names.

    to: a key of SUFFIXES. saliency: maps in `source` are 0 unlabelled, 1 foreground, 2 background.
    Returns what was dropped, one line a file and kind. Raises InputError that names the file.
    """
    if source.is_file():
        if not target.suffix:
            target = target / source.with_suffix(SUFFIXES[to]).name
        elif target.suffix.lower() != SUFFIXES[to]:
            raise InputError(f"{target}: expected a name that ends in {SUFFIXES[to]} for {to}")
        return convert_file(source, target, to, options, saliency)
    if not source.is_dir():
        raise InputError(f"{source}: no such file or folder; name scribbles to convert")
    suffixes = set(SUFFIXES.values())
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in suffixes)
    files = [path for path in files if path.name not in ("made.json", "COCO_scribbles.json")]
    if not files:
        raise InputError(f"{source}: holds no scribbles ({', '.join(sorted(suffixes))})")
    notes: list[str] = []
    for path in files:
        out = (target / path.relative_to(source)).with_suffix(SUFFIXES[to])
        notes += convert_file(path, out, to, options, saliency)
    return notes


def convert_file(
    source: Path, target: Path, to: str, options: ConvertOptions, saliency: bool = False
) -> list[str]:
    """Convert one file; see `convert`. The frames of a DAVIS JSON that has several become
    `<target without suffix>/<frame>.bmp` and so on.
    """
    kind = detect(source)
    if target.resolve() == source.resolve():
        raise InputError(f"{source}: would be replaced by itself; name another target")
    notes: list[str] = []
    try:
        if kind in LINES:
            drawings = _read_lines(source, kind, options)
            for frame, drawing in drawings.items():
                one = target
                if len(drawings) > 1:
                    one = target.with_suffix("") / f"{frame:05d}{target.suffix}"
                notes += drawing.dropped
                _write_lines_as(drawing, one, to, options, notes)
        else:
            labels, num_objects = _read_map(source, options, saliency, notes)
            _write_labels_as(labels, num_objects, target, to, notes)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{source}: {error}; give --size or --num-objects") from None
    return [f"{source}: dropped {note}" for note in dict.fromkeys(notes)]


def detect(path: Path) -> str:
    """The format of a file: bmp, png, davis, labelme or svg."""
    suffix = path.suffix.lower()
    if suffix in (".bmp", ".png", ".svg"):
        return suffix[1:]
    if suffix == ".json":
        content = davis.read_json(path)
        for key, kind in (("scribbles", "davis"), ("shapes", "labelme")):
            if key in content:
                return kind
    raise InputError(
        f"{path}: no scribbles; expected .bmp, .png, .svg, or JSON of DAVIS (scribbles) or "
        "labelme (shapes)"
    )


def _read_lines(path: Path, kind: str, options: ConvertOptions) -> dict[int, Drawing]:
    if kind == "davis":
        return davis.read(path, options.size)
    drawing = labelme.read(path) if kind == "labelme" else svg.read(path)
    drawing.size = options.size or drawing.size
    return {0: drawing}


def _write_lines_as(
    drawing: Drawing, target: Path, to: str, options: ConvertOptions, notes: list[str]
) -> None:
    if to in LINES:
        if drawing.size is None:
            raise ValueError("the size of the image is not known")
        _write_drawing(drawing, target, to)
        return
    count = drawing.num_objects() if options.num_objects is None else options.num_objects
    labels = rasterize(drawing, count, options.thickness)
    notes.append("the order of lines, and of each what later ones cover: pixels hold one label")
    _write_labels_as(labels, count, target, to, notes)


def _write_labels_as(
    labels: np.ndarray, num_objects: int, target: Path, to: str, notes: list[str]
) -> None:
    if to in LINES:
        _write_drawing(trace(labels, num_objects), target, to)
        return
    if to == "saliency":
        if num_objects > 1:
            notes.append(f"which of the {num_objects} objects a stroke is on: all are foreground")
        background = (labels == num_objects + 1) | (labels == BACKGROUND)
        labels = np.where(background, _SALIENCY_BACKGROUND, labels > 0).astype(np.uint8)
    if to == "bmp":
        write_map(target, labels)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels)
    image.putpalette(davis_palette().tobytes())
    partial = target.with_name(f"{target.name}.partial")
    image.save(partial, format="PNG")
    partial.replace(target)


def _write_drawing(drawing: Drawing, target: Path, to: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if to == "svg":
        svg.write(target, drawing)
    elif to == "labelme":
        labelme.write(target, drawing, f"{target.stem}.jpg")
    elif target.stem.isdecimal():  # a frame of a video
        davis.write(target, drawing, target.parent.name, int(target.stem))
    else:
        davis.write(target, drawing, target.stem)


def _read_map(
    path: Path, options: ConvertOptions, saliency: bool, notes: list[str]
) -> tuple[np.ndarray, int]:
    """Labels and N of a map; colours of DAVIS' palette are taken for labels, others dropped."""
    with Image.open(path) as image:
        coloured = image.mode in ("RGB", "RGBA")
    labels = _colours_to_labels(path, notes) if coloured else read_labels(path)
    if saliency:
        if labels.max(initial=0) > _SALIENCY_BACKGROUND:
            raise InputError(
                f"{path}: label {labels.max()} found; expected 0 unlabelled, 1 foreground, "
                "2 background"
            )
        return labels, 1
    return labels, guess_num_objects(labels) if options.num_objects is None else options.num_objects


def _colours_to_labels(path: Path, notes: list[str]) -> np.ndarray:
    with Image.open(path) as image:
        colours = np.array(image.convert("RGB")).astype(np.uint32)
    codes = colours @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    palette = davis_palette().astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    order = np.argsort(palette)
    place = order[np.searchsorted(palette, codes, sorter=order).clip(max=255)]
    known = palette[place] == codes
    if not (known & (place > 0)).any():
        raise InputError(f"{path}: none of its colours is in DAVIS' palette; save a label map")
    unknown = int(np.count_nonzero(~known))
    if unknown:
        notes.append(f"{unknown} pixels of colours between labels (anti-aliasing)")
    return np.where(known, place, 0).astype(np.uint8)
