"""Convert scribbles, a file or a folder of them: label maps, DAVIS interactive JSON, labelme, SVG.

    %(prog)s session.json valid_scribbles0 --to bmp --size 854x480
    %(prog)s valid_scribbles0 interactive --to davis
    %(prog)s S-DUTS/gt scribbles --to bmp --saliency
    %(prog)s drawings.svg drawings.bmp --num-objects 3

Formats are told from the files; `--to` may be left out where the target's suffix says it (.json is
DAVIS'). Label maps turn into lines that pass through all their pixels, and come back unchanged.
What a format cannot hold is dropped, and said to be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rhmnet.errors import InputError, say
from rhmnet.files import walk
from rhmnet.files.images import write_map, write_mask
from rhmnet.files.legend import PaintOptions
from rhmnet.files.reading import read_json
from rhmnet.files.scribble_file import read_strokes_file
from rhmnet.labels import BACKGROUND, MAX_OBJECTS, to_disk
from rhmnet.runtime import CommandParser, real, whole
from rhmnet.tools.scribbles import (
    BACKGROUND_COLOR_HELP,
    Drawing,
    Size,
    check_drawing,
    clip,
    guess_num_objects,
    parse_size,
    rasterize,
    trace,
)
from rhmnet.tools.scribbles.line_files import (
    read_davis,
    read_labelme,
    read_svg,
    write_davis,
    write_labelme,
    write_svg,
)


class LineFormat(NamedTuple):
    """A kind of file that holds lines."""

    suffix: str
    key: str | None
    """Of a JSON object, by which to tell it; None where the suffix does."""
    read: Callable[[Path, Size | None], dict[int, Drawing]]
    """Drawings by frame number; the size is the user's, before what the file says."""
    write: Callable[[Path, Drawing], None]


def _write_davis_frame(path: Path, drawing: Drawing) -> None:
    """A file named by a number is that frame of its folder's video."""
    if _FRAME.fullmatch(path.stem):
        write_davis(path, {int(path.stem): drawing}, path.parent.name)
    else:
        write_davis(path, {0: drawing}, path.stem)


_FRAME = re.compile(r"[0-9]{1,6}")  # file names, without suffix, that are a frame's number
LINE_FORMATS = {
    "davis": LineFormat(".json", "scribbles", read_davis, _write_davis_frame),
    "labelme": LineFormat(".json", "shapes", read_labelme, write_labelme),
    "svg": LineFormat(".svg", None, read_svg, write_svg),
}
SUFFIXES = {
    **{"bmp": ".bmp", "png": ".png", "saliency": ".png"},
    **{name: line_format.suffix for name, line_format in LINE_FORMATS.items()},
}
SALIENCY_BACKGROUND = 2
_COMPRESSION = 6  # of PNG: files are few and may be kept for long
_NOT_SCRIBBLES = ("made.json", "COCO_scribbles.json")


@dataclass(frozen=True)
class ConvertOptions:
    """What files do not say themselves."""

    size: Size | None = None  # of the image, for lines; None: as the file says
    num_objects: int | None = None  # N; None: the largest object, in maps the largest label - 1
    thickness: float = 7.0  # of lines without any, pixels at 480p
    background_color: str | None = None  # of painted background strokes


def main(argv: Sequence[str] | None = None, prog: str = "rhmnet scribbles convert") -> None:
    """Parse the command line and convert."""
    parser = CommandParser(prog, description=__doc__)
    add, usual = parser.add_argument, ConvertOptions.thickness
    add("source", type=Path, help="a file, or a folder of files")
    add("target", type=Path, help="the file or folder to write")
    kinds = "bmp, png (with palette), saliency (png of 0, 1, 2) or lines"
    add("--to", choices=SUFFIXES, help=kinds)
    add("--saliency", action="store_true", help="source maps are 0, 1 foreground, 2 background")
    add("--size", help="WIDTHxHEIGHT of the image, for lines that do not say it")
    count = (
        "N: background gets N + 1 (default: the largest object; in maps, which hold the "
        "background as their largest label, that label - 1)"
    )
    add("--num-objects", type=whole(0, MAX_OBJECTS), help=count)
    pen = "of lines that do not say it, pixels at 480p (default %(default)s)"
    add("--thickness", type=real(0.1, 1000), default=usual, help=pen)
    add("--background-color", metavar="COLOR", help=BACKGROUND_COLOR_HELP)
    arguments = parser.parse_args(argv)
    target, suffix = arguments.target, arguments.target.suffix.lower()
    to = arguments.to or next((name for name, its in SUFFIXES.items() if its == suffix), None)
    if to is None:
        raise InputError(f"{target}: say with --to what to write")
    size = parse_size(arguments.size) if arguments.size else None
    options = ConvertOptions(
        size, arguments.num_objects, arguments.thickness, arguments.background_color
    )
    guessed: list[Path] = []
    for note in convert(arguments.source, target, to, options, arguments.saliency, guessed):
        say(note)
    if guessed:
        say(
            f"{guessed[0]}{' and others' if len(guessed) > 1 else ''}: the largest label is read "
            "as the background's, as no pixel is 255; if it is an object's, give --num-objects"
        )
    say(f"{target}: written")


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
    suffix = SUFFIXES[to]
    if source.is_file():
        if target.is_dir() or not target.suffix:
            target = target / source.with_suffix(suffix).name
        elif target.suffix.lower() != suffix:
            raise InputError(f"{target}: expected a name that ends in {suffix} for {to}")
        return convert_file(source, target, to, options, saliency, guessed)
    if not source.is_dir():
        raise InputError(f"{source}: no such file or folder; name scribbles to convert")
    suffixes = set(SUFFIXES.values())
    files = [p for _, inside in walk(source) for p in inside if p.suffix.lower() in suffixes]
    files = [path for path in files if path.name not in _NOT_SCRIBBLES]
    if not files:
        raise InputError(f"{source}: holds no scribbles ({', '.join(sorted(suffixes))})")
    targets: dict[Path, Path] = {}
    for path in files:
        out = (target / path.relative_to(source)).with_suffix(suffix)
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
    line_format = detect(source)
    if target.resolve() == source.resolve():
        raise InputError(f"{source}: would be replaced by itself; name another target")
    notes: list[str] = []
    how = None
    try:
        if line_format is not None:
            drawings = line_format.read(source, options.size)
            for frame, drawing in drawings.items():
                one = target
                if len(drawings) > 1:
                    one = target.with_suffix("") / f"{frame:05d}{target.suffix}"
                elif frame and target.stem != f"{frame:05d}":
                    notes.append(f"the number of its frame, {frame}")
                notes += drawing.dropped + drawing.mended
                _write_drawing(drawing, one, to, options, notes)
        else:
            read = read_map(source, options, saliency)
            how = read.how
            if guessed is not None and not read.sure:
                guessed.append(source)
            _write_labels(read.labels, read.num_objects, target, to, notes)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{source}: {error}") from None
    lines = [f"{source}: dropped {note}" for note in dict.fromkeys(notes)]
    return [f"{source}: {how}", *lines] if how else lines


def detect(path: Path) -> LineFormat | None:
    """The format of a file of lines; None for label maps."""
    suffix = path.suffix.lower()
    if suffix in (".bmp", ".png"):
        return None
    content = read_json(path) if suffix == ".json" else {}
    for line_format in LINE_FORMATS.values():
        if line_format.suffix == suffix and (not line_format.key or line_format.key in content):
            return line_format
    suffixes = ", ".join(sorted({*SUFFIXES.values()} - {".json"}))
    told = " or ".join(f"{name} ({kind.key})" for name, kind in LINE_FORMATS.items() if kind.key)
    raise InputError(f"{path}: no scribbles; expected {suffixes}, or JSON of {told}")


class ReadMap(NamedTuple):
    """Labels of a file, and how they were understood."""

    labels: np.ndarray
    """uint8 [H, W], as on disk: N + 1 is the background's."""
    num_objects: int
    how: str | None
    """One line, for strokes painted in colours."""
    sure: bool
    """False where the largest label was taken for the background's, and nothing said so."""


def read_map(path: Path, options: ConvertOptions, saliency: bool) -> ReadMap:
    """A label map, or strokes painted in colours; 255 becomes N + 1, the background's label.

    saliency: see `convert`. Raises InputError that names the file.
    """
    count = options.num_objects
    labels, how, _ = read_strokes_file(path, PaintOptions(None, options.background_color, count))
    if saliency:
        if labels.max(initial=0) > SALIENCY_BACKGROUND:
            raise InputError(
                f"{path}: label {labels.max()} found; expected 0 unlabelled, 1 foreground, "
                "2 background"
            )
        return ReadMap(labels, 1, how, True)
    largest = int(labels[labels < BACKGROUND].max(initial=0))
    if count is None:
        count = largest if how else guess_num_objects(labels)
    if largest > count + 1 or count > MAX_OBJECTS:
        raise InputError(
            f"{path}: label {largest} found; expected at most {min(count, MAX_OBJECTS) + 1}, the "
            "background's; renumber the labels or give another --num-objects"
        )
    sure = bool(how) or options.num_objects is not None or count == largest
    return ReadMap(to_disk(labels, count), count, how, sure)


def _write_drawing(
    drawing: Drawing, target: Path, to: str, options: ConvertOptions, notes: list[str]
) -> None:
    if to in LINE_FORMATS:
        check_drawing(drawing)
        if to == "davis":  # its coordinates end at the image's border
            drawing, outside = clip(drawing)
            notes += ["what of lines lies outside of the image"] if outside else []
        LINE_FORMATS[to].write(target, drawing)
        return
    count = drawing.num_objects() if options.num_objects is None else options.num_objects
    labels = rasterize(drawing, count, options.thickness)
    if drawing.strokes:
        notes.append("the order of lines, and of each what later ones cover: pixels hold one label")
    _write_labels(labels, count, target, to, notes)


def _write_labels(
    labels: np.ndarray, num_objects: int, target: Path, to: str, notes: list[str]
) -> None:
    if to in LINE_FORMATS:
        LINE_FORMATS[to].write(target, trace(labels, num_objects))
        return
    if to == "saliency":
        if num_objects > 1:
            notes.append(f"which of the {num_objects} objects a stroke is on: all are foreground")
        background = (labels == num_objects + 1) | (labels == BACKGROUND)
        labels = np.where(background, SALIENCY_BACKGROUND, labels > 0).astype(np.uint8)
    if to == "bmp":
        write_map(target, labels)
    else:
        write_mask(target, labels, _COMPRESSION)
