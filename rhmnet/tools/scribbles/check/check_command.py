"""Check scribbles, file by file: what is wrong, how to mend it, what there is.

    %(prog)s datasets
    %(prog)s datasets/DAVIS --sheet strokes.png
    %(prog)s --images my/images --scribbles my/scribbles
    %(prog)s datasets --arrange downloads

The last one first links the authors' scribbles, unpacked anywhere under `downloads`, into the tree
(`--copy` copies them). Ends with a table, and a contact sheet of strokes over images. The exit code
is 1 where anything would break training or evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from rhmnet.errors import InputError, say
from rhmnet.files.writing import write_picture
from rhmnet.runtime.command import CommandParser
from rhmnet.tools.scribbles.arrange import arrange
from rhmnet.tools.scribbles.check.trees import check_own, check_root


def main(argv: Sequence[str] | None = None, prog: str = "rhmnet scribbles check") -> int:
    """Parse the command line, arrange if asked to, and check."""
    parser = CommandParser(prog, description=__doc__)
    parser.add_argument(
        "root",
        type=Path,
        nargs="?",
        help="a COCO, DAVIS or Youtube-VOS folder, or one of these (default datasets)",
    )
    parser.add_argument("--images", type=Path, help="images of your own, flat or a folder a video")
    parser.add_argument("--scribbles", type=Path, help="the scribbles that lie on them")
    parser.add_argument(
        "--background-color",
        metavar="COLOR",
        help="of background strokes that were painted, as white or '#ff8800'; none: no color is "
        "the background's (with --images)",
    )
    parser.add_argument("--arrange", type=Path, help="folder of unpacked archives to put into ROOT")
    parser.add_argument("--copy", action="store_true", help="arrange copies instead of links")
    parser.add_argument(
        "--sheet",
        type=Path,
        default=Path("results/scribbles.png"),
        help="contact sheet to write (default %(default)s)",
    )
    arguments = parser.parse_args(argv)
    own = (arguments.images, arguments.scribbles)
    if any(own) and (not all(own) or arguments.root or arguments.arrange):
        raise InputError("--images and --scribbles go together, without a folder of trees")
    root = arguments.root or Path("datasets")
    if arguments.arrange:
        for target, source in arrange(arguments.arrange, root, arguments.copy):
            say(f"{target} {'copied from' if arguments.copy else 'links to'} {source}")
    report = check_own(*own, arguments.background_color) if all(own) else check_root(root)
    for finding in report.findings:
        say(finding)
    errors = sum(finding.severe for finding in report.findings)
    print(f"\n{errors} errors, {len(report.findings) - errors} notes\n\n{report.table()}")
    sheet = report.sheet()
    if sheet is not None:
        _save(arguments.sheet, sheet)
        print()
        say(f"strokes over images: {arguments.sheet}")
    return int(report.broken())


def _save(path: Path, picture: np.ndarray) -> None:
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise InputError(f"--sheet {path}: expected the name of a picture, as in strokes.png")
    write_picture(path, Image.fromarray(picture), kind)
