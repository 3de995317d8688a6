"""Convert scribbles between label maps and formats that hold lines.

Maps keep every pixel on the way to lines and back; what cannot be kept is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rhmnet.errors import InputError
from rhmnet.files.json_files import read_json
from rhmnet.files.legend import PaintOptions
from rhmnet.files.listing import walk
from rhmnet.labels import BACKGROUND
from rhmnet.tools.scribbles.drawing import Drawing, check_drawing, clip, rasterize, trace
from rhmnet.tools.scribbles.formats import davis, labelme, maps, svg

SUFFIXES = {
    "bmp": ".bmp",
    "png": ".png",
    "saliency": ".png",
    "davis": ".json",
    "labelme": ".json",
    "svg": ".svg",
}
LINES = ("davis", "labelme", "svg")


@dataclass(frozen=True)
class ConvertOptions:
    """What files do not say themselves."""

    size: tuple[int, int] | None = None  # H, W of the image, for lines; None: as the file says
    num_objects: int | None = None  # N; None: the largest object, in maps the largest label - 1
    thickness: float = 7.0  # of lines without any, pixels at 480p
    background_color: str | None = None  # of painted background strokes


def convert(
    source: Path,
    target: Path,
    to: str,
    options: ConvertOptions,
    saliency: bool = False,
    guessed: list[Path] | None = None,
) -> list[str]:
    """Convert a file, or all files of a folder into a folder with the same names.

    to: a key of SUFFIXES. saliency: maps in `source` are 0 unlabelled, 1 foreground, 2 background.
    guessed: gets the maps whose largest label was taken for the background without being said.
    Returns what was dropped, and how painted strokes were read, one line a file and kind. Raises
    InputError that names the file.
    """
    if source.is_file():
        if target.is_dir() or not target.suffix:
            target = target / source.with_suffix(SUFFIXES[to]).name
        elif target.suffix.lower() != SUFFIXES[to]:
            raise InputError(f"{target}: expected a name that ends in {SUFFIXES[to]} for {to}")
        return convert_file(source, target, to, options, saliency, guessed)
    if not source.is_dir():
        raise InputError(f"{source}: no such file or folder; name scribbles to convert")
    suffixes = set(SUFFIXES.values())
    files = [p for _, inside in walk(source) for p in inside if p.suffix.lower() in suffixes]
    files = [path for path in files if path.name not in ("made.json", "COCO_scribbles.json")]
    if not files:
        raise InputError(f"{source}: holds no scribbles ({', '.join(sorted(suffixes))})")
    targets: dict[Path, Path] = {}
    for path in files:
        out = (target / path.relative_to(source)).with_suffix(SUFFIXES[to])
        if targets.setdefault(out, path) != path:
            raise InputError(f"{path}: {targets[out]} would also become {out}; rename one of them")
    notes: list[str] = []
    for out, path in targets.items():
        notes += convert_file(path, out, to, options, saliency, guessed)
    return notes


def convert_file(
    source: Path,
    target: Path,
    to: str,
    options: ConvertOptions,
    saliency: bool = False,
    guessed: list[Path] | None = None,
) -> list[str]:
    """Convert one file; see `convert`. The frames of a DAVIS JSON that has several become
    `<target without suffix>/<frame>.bmp` and so on.
    """
    kind = detect(source)
    if target.resolve() == source.resolve():
        raise InputError(f"{source}: would be replaced by itself; name another target")
    notes: list[str] = []
    how = None
    try:
        if kind in LINES:
            drawings = _read_lines(source, kind, options)
            for frame, drawing in drawings.items():
                one = target
                if len(drawings) > 1:
                    one = target.with_suffix("") / f"{frame:05d}{target.suffix}"
                elif frame and target.stem != f"{frame:05d}":
                    notes.append(f"the number of its frame, {frame}")
                notes += drawing.dropped + drawing.mended
                _write_lines_as(drawing, one, to, options, notes)
        else:
            paint = PaintOptions(None, options.background_color, options.num_objects)
            labels, num_objects, how, sure = maps.read(source, paint, saliency)
            if guessed is not None and not sure:
                guessed.append(source)
            _write_labels_as(labels, num_objects, target, to, notes)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{source}: {error}") from None
    lines = [f"{source}: dropped {note}" for note in dict.fromkeys(notes)]
    return [f"{source}: {how}", *lines] if how else lines


def detect(path: Path) -> str:
    """The format of a file: bmp, png, davis, labelme or svg."""
    suffix = path.suffix.lower()
    if suffix in (".bmp", ".png", ".svg"):
        return suffix[1:]
    if suffix == ".json":
        content = read_json(path)
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
        check_drawing(drawing)
        if to == "davis":  # its coordinates end at the image's border
            drawing, outside = clip(drawing)
            notes += ["what of lines lies outside of the image"] if outside else []
        _write_drawing(drawing, target, to)
        return
    count = drawing.num_objects() if options.num_objects is None else options.num_objects
    labels = rasterize(drawing, count, options.thickness)
    if drawing.strokes:
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
        labels = np.where(background, maps.SALIENCY_BACKGROUND, labels > 0).astype(np.uint8)
    if to == "bmp":
        maps.write_map(target, labels)
    else:
        maps.write_palette_map(target, labels)


def _write_drawing(drawing: Drawing, target: Path, to: str) -> None:
    if to == "svg":
        svg.write(target, drawing)
    elif to == "labelme":
        labelme.write(target, drawing, f"{target.stem}.jpg")
    elif davis.FRAME.fullmatch(target.stem):  # a frame of a video
        davis.write(target, drawing, target.parent.name, int(target.stem))
    else:
        davis.write(target, drawing, target.stem)
