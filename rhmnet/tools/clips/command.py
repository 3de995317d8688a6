"""Make training clips of stills with masks: for those who have no videos to scribble on.

    %(prog)s datasets/COCO datasets/Youtube-VOS \\
        --annotations annotations/instances_train2017.json --images train2017
    %(prog)s my_stills datasets/Youtube-VOS --masks masks --images images

Objects are cut out of some stills and move over another one, each with a motion of its own
(translation, rotation, scale, shear, bending, light, blur), seen by a moving camera. The other
still's objects are objects too; what moves covers them or passes behind them. The layout is that
of Youtube-VOS' training videos, with strokes: train/JPEGImages, train_scribbles, and dense
train/Annotations to look at, which training never opens.

The same seed gives the same bytes, whatever the number of workers. A run that was stopped goes on
where it was when the same command is given again; a larger --count adds clips.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rhmnet.bounds import MOST_SEED
from rhmnet.errors import InputError, say
from rhmnet.files.concurrency import usable_cores
from rhmnet.runtime.command import MOST_WORKERS, CommandParser, whole
from rhmnet.tools.clips.stills import Still, coco_stills, map_stills
from rhmnet.tools.clips.write import Recipe, write_clips
from rhmnet.tools.scribbles.placing import given_or_below


def main(argv: Sequence[str] | None = None, prog: str = "python scripts/make_clips.py") -> None:
    """Parse the command line and make the clips."""
    arguments = _parser(prog).parse_args(argv)
    recipe = Recipe(arguments.seed, arguments.frames, arguments.short_side, not arguments.no_masks)
    stills = _stills(arguments)
    out, count = arguments.out, arguments.count
    made = write_clips(stills, out, count, recipe, arguments.workers, arguments.overwrite)
    say(f"{made} clips made, {count - made} kept as they were: {out} ({len(stills)} stills)")


def _stills(arguments: argparse.Namespace) -> list[Still]:
    root = arguments.stills
    images = _place(root, arguments.images, "images", "--images, the folder of the pictures")
    if arguments.annotations is not None:
        if arguments.masks is not None:
            raise InputError("--annotations and --masks: give one of them")
        annotations = given_or_below(arguments.annotations, root, "--annotations")
        return coco_stills(annotations, images)
    return map_stills(_place(root, arguments.masks, "masks", "--masks, label maps"), images)


def _place(root: Path, given: Path | None, usual: str, what: str) -> Path:
    """The folder that an option names, from here or from that of the stills; else the usual one."""
    return root / usual if given is None else given_or_below(given, root, what)


def _parser(prog: str) -> CommandParser:
    parser = CommandParser(prog, description=__doc__)
    parser.add_argument("stills", type=Path, help="folder of the stills")
    parser.add_argument("out", type=Path, help="folder for train/ and train_scribbles/")
    parser.add_argument("--annotations", type=Path, help="COCO instances, instances_*.json")
    parser.add_argument(
        "--masks", type=Path, help="folder of label maps, named as the images (default: masks)"
    )
    parser.add_argument("--images", type=Path, help="folder of the pictures (default: images)")
    parser.add_argument("--count", type=whole(1, 10**6), default=1500, help="clips (default 1500)")
    parser.add_argument("--frames", type=whole(2, 1000), default=6, help="of a clip (default 6)")
    parser.add_argument(
        "--short-side", type=whole(32, 2160), default=256, help="of a frame, pixels (default 256)"
    )
    parser.add_argument(
        "--seed", type=whole(0, MOST_SEED), default=0, help="of everything drawn (default 0)"
    )
    parser.add_argument(
        "--workers",
        type=whole(1, MOST_WORKERS),
        default=usable_cores(),
        help="processes (default: all cores)",
    )
    parser.add_argument("--no-masks", action="store_true", help="leave train/Annotations out")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace clips of other options or stills"
    )
    return parser
