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

from collections.abc import Sequence
from pathlib import Path

from rhmnet.errors import InputError, say
from rhmnet.labels import MAX_OBJECTS
from rhmnet.runtime.command import CommandParser, real, whole
from rhmnet.tools.scribbles.convert import SUFFIXES, ConvertOptions, convert
from rhmnet.tools.scribbles.drawing import parse_size

BY_SUFFIX = {".bmp": "bmp", ".png": "png", ".json": "davis", ".svg": "svg"}


def main(argv: Sequence[str] | None = None, prog: str = "rhmnet scribbles convert") -> None:
    """Parse the command line and convert."""
    parser = CommandParser(prog, description=__doc__)
    parser.add_argument("source", type=Path, help="a file, or a folder of files")
    parser.add_argument("target", type=Path, help="the file or folder to write")
    parser.add_argument(
        "--to", choices=SUFFIXES, help="bmp, png (with palette), saliency (png of 0, 1, 2) or lines"
    )
    parser.add_argument(
        "--saliency", action="store_true", help="source maps are 0, 1 foreground, 2 background"
    )
    parser.add_argument("--size", help="WIDTHxHEIGHT of the image, for lines that do not say it")
    parser.add_argument(
        "--num-objects",
        type=whole(0, MAX_OBJECTS),
        help="N: background gets N + 1 (default: the largest object; in maps, which hold the "
        "background as their largest label, that label - 1)",
    )
    parser.add_argument(
        "--thickness",
        type=real(0.1, 1000),
        default=ConvertOptions.thickness,
        help="of lines that do not say it, pixels at 480p (default %(default)s)",
    )
    parser.add_argument(
        "--background-color",
        metavar="COLOR",
        help="of background strokes that were painted, as white or '#ff8800'; none: no color is "
        "the background's",
    )
    arguments = parser.parse_args(argv)
    to = arguments.to or BY_SUFFIX.get(arguments.target.suffix.lower())
    if to is None:
        raise InputError(f"{arguments.target}: say with --to what to write")
    size = parse_size(arguments.size) if arguments.size else None
    options = ConvertOptions(
        size, arguments.num_objects, arguments.thickness, arguments.background_color
    )
    guessed: list[Path] = []
    notes = convert(arguments.source, arguments.target, to, options, arguments.saliency, guessed)
    for note in notes:
        say(note)
    if guessed:
        say(
            f"{guessed[0]}{' and others' if len(guessed) > 1 else ''}: the largest label is read "
            "as the background's, as no pixel is 255; if it is an object's, give --num-objects"
        )
    say(f"{arguments.target}: written")
