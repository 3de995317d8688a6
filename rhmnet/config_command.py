"""Print a configuration: every field with its meaning, its bounds and its default.

    %(prog)s
    %(prog)s video_training train.lr=5e-5 model.backbone=resnet101
    %(prog)s small_video > mine.yaml

What is printed is a configuration file; put what you change into one of your own.
"""

from __future__ import annotations

from collections.abc import Sequence

from rhmnet.config import load_config
from rhmnet.config_listing import listing
from rhmnet.runtime.command import CommandParser


def main(argv: Sequence[str] | None = None, prog: str = "rhmnet config") -> None:
    """Read the command line and print."""
    parser = CommandParser(prog, settings=True, description=__doc__)
    parser.add_argument(
        "name",
        nargs="?",
        default="video_training",
        help="a name under configs/, or a YAML file (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    print(listing(load_config(args.name, args.overrides)), end="")
