"""The command `rhmnet`, and `python -m rhmnet`: the same functions that `scripts/` call."""

from __future__ import annotations

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

import difflib
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

import rhmnet
from rhmnet.config import load_config
from rhmnet.config_yaml import listing
from rhmnet.errors import InputError
from rhmnet.runtime import CommandParser, run_command

CONFIG_HELP = """Print a configuration: every field with its meaning, its bounds and its default.

    %(prog)s
    %(prog)s video_training train.lr=5e-5 model.backbone=resnet101
    %(prog)s small_video > mine.yaml

What is printed is a configuration file; put what you change into one of your own.
"""


class Command(NamedTuple):
    """A subcommand: the words that call it, and the module whose `main` it is; "" for this one."""

    name: str
    module: str
    job: str
    example: str


COMMANDS = (
    Command(
        "segment",
        "tools.segment.segment_command",
        "masks of your own video, from strokes on a frame",
        "dog.mp4 --scribble strokes.png --overlay",
    ),
    Command(
        "canvas",
        "tools.canvas",
        "draw strokes in a browser, get the whole video, correct it",
        "dog.mp4",
    ),
    Command(
        "scribbles make",
        "tools.scribbles.make",
        "strokes drawn from masks, for training and evaluation",
        "davis datasets/DAVIS --split train",
    ),
    Command(
        "scribbles convert",
        "tools.scribbles.convert",
        "label maps, DAVIS JSON, labelme and SVG, one into another",
        "session.json strokes --to bmp --size 854x480",
    ),
    Command(
        "scribbles check",
        "tools.scribbles.check",
        "what is wrong with scribbles, and how to mend it",
        "datasets --sheet strokes.png",
    ),
    Command(
        "clips make",
        "tools.clips",
        "training clips made of stills with masks, strokes and all",
        "my_stills datasets/Youtube-VOS --masks masks --images images",
    ),
    Command(
        "score",
        "evaluation.report",
        "J and F of folders of masks on DAVIS",
        "results/masks datasets/DAVIS --year 17",
    ),
    Command(
        "config",
        "",
        "a configuration, every field with its meaning, bounds and default",
        "video_training train.lr=1e-4",
    ),
)


def main(argv: Sequence[str] | None = None, prog: str = "rhmnet") -> int | None:
    """Run the subcommand that the words name; None: the process's own. Returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--version"]:
        print(f"rhmnet {rhmnet.__version__}")
        return 0
    for command in COMMANDS:
        parts = command.name.split()
        if words[: len(parts)] == parts:
            run = import_module(f"rhmnet.{command.module}").main if command.module else print_config
            return run(words[len(parts) :], prog=f"{prog} {command.name}")
    groups = {command.name.split()[0] for command in COMMANDS}
    if words and words[-1] in ("-h", "--help") and (len(words) == 1 or words[0] in groups):
        print(help_text(prog))
        return 0
    raise InputError(_not_there(words, prog))


def help_text(prog: str) -> str:
    """All subcommands, each with an example."""
    lines = [
        f"usage: {prog} COMMAND ...",
        "",
        "Scribble-supervised video object segmentation. COMMAND --help tells all of one.",
        "",
    ]
    for command in COMMANDS:
        lines += [f"  {command.name:18} {command.job}"]
        lines += [f"  {'':18}   {prog} {command.name} {command.example}"]
    return "\n".join([*lines, "", f"  {'--version':18} the version"])


def print_config(argv: Sequence[str], prog: str) -> None:
    """The subcommand `config`: read its words and print."""
    parser = CommandParser(prog, settings=True, description=CONFIG_HELP)
    parser.add_argument(
        "name",
        nargs="?",
        default="video_training",
        help="a name under configs/, or a YAML file (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    print(listing(load_config(args.name, args.overrides)), end="")


def _not_there(words: list[str], prog: str) -> str:
    names = [command.name for command in COMMANDS]
    if not words:
        return f"expected a command, one of {', '.join(names)}; {prog} --help tells"
    given = " ".join(words[:2])
    near = difflib.get_close_matches(given, names, n=1) or difflib.get_close_matches(
        " ".join(words[:1]), names, n=1
    )
    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(names)}"
    return f"{given[:60]!r} is no command; {hint} ({prog} --help)"


def run() -> None:
    """The console command."""
    run_command(main)


if __name__ == "__main__":
    run_command(lambda: main(prog="python -m rhmnet"))
