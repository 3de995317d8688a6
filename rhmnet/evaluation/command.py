"""Options of `eval_davis.py` and `eval_ytb.py`, and what they stand for."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import torch

from rhmnet.bounds import short
from rhmnet.checkpoint import DEFAULT_CONFIG, epoch_path, epochs_in, run_folder
from rhmnet.config import STRIDE
from rhmnet.data.davis import Davis
from rhmnet.data.youtube import SETS
from rhmnet.errors import InputError, say
from rhmnet.runtime.command import CommandParser, whole
from rhmnet.runtime.processes import read_launcher

RANDOM = ("random", "none")
_CONFIG = (
    "name under configs/, or a YAML file: names the run, holds test.*, and all else where weights "
    f"carry no configuration (default: what they carry, else {DEFAULT_CONFIG})"
)
_LAST = (
    " (default: the last; --checkpoint names another file)",
    " (default: `--checkpoint small`)",
)
_CHECKPOINT = (
    "a file of weights instead; `small` for the network that comes with the project, `random` for "
    "the untrained one"
)
_DAVIS16 = "how DAVIS-2016 is scored: all objects merged (standard), or the release's object 1"


def parse_davis(description: str) -> argparse.Namespace:
    """Read the command line of `eval_davis.py`: the release's options, and ours."""
    parser = davis_parser(description)
    add = parser.add_argument
    add("--groups", help="scribble sets, as 0,2 or 0-4 (default: all there are)")
    add("--mask_init", action="store_true", help="start from the first dense mask, not strokes")
    return parse(parser)


def davis_parser(description: str, small: bool = False) -> CommandParser:
    """The options that whatever is evaluated on DAVIS has.

    small: whether the network is the project's own where none is named, and not the last epoch.
    """
    parser = _parser(description, "the DAVIS folder (default: DAVIS under data.root)", small)
    add = parser.add_argument
    add("--set", default="val", help="list of videos (default val)")
    add("--year", help="16 or 17 (default: the newest whose list is there)")
    add("--davis16", choices=("merged", "object1"), default="merged", help=_DAVIS16)
    return parser


def parse_youtube(description: str) -> argparse.Namespace:
    """Read the command line of `eval_ytb.py`: the release's options, and ours."""
    parser = _parser(description, "the YouTube-VOS folder (default: Youtube-VOS under data.root)")
    add = parser.add_argument
    add("--set", choices=SETS, default="val", help="part of the data (default val)")
    add(
        "--size",
        type=whole(STRIDE, 8192),
        help="track wider frames at this width, pixels (default: as is)",
    )
    add("--all_frames", action="store_true", help="track through all images, also between masks")
    zip_help = "the zip for the server, when all videos are tracked (default: written)"
    add("--zip", action=argparse.BooleanOptionalAction, default=True, help=zip_help)
    return parse(parser)


def _parser(description: str, data_root: str, small: bool = False) -> CommandParser:
    """The options that all evaluations have."""
    parser = CommandParser(settings=True, description=description)
    add = parser.add_argument
    add(
        "--opts",
        nargs="*",
        default=[],
        metavar="group.field=value",
        help="settings (as the release has it)",
    )
    add("--gpu", type=whole(0, 1023), default=0, help="number of the CUDA device (default 0)")
    add("--device", help="auto, cpu, cuda, cuda:N or mps, instead of --gpu")
    add("--config", help=_CONFIG)
    add("--ckpt_num", help=f"epoch of checkpoints/pretrain_weights_<config>{_LAST[small]}")
    add("--checkpoint", metavar="FILE", help=_CHECKPOINT)
    add("--start", type=whole(0, 10**9), help="first video of the list, counted from 0")
    add("--end", type=whole(0, 10**9), help="video of the list to stop before")
    add("--video_name", help="this video alone")
    add("--with_bg", action="store_true", help="use the background strokes too")
    add("--data-root", help=data_root)
    add("--save_path", type=Path, default=Path("results"), help="default: results")
    add("--overlay", action="store_true", help="draw masks over the frames, too")
    add("--overwrite", action="store_true", help="make masks anew that are there already")
    return parser


def parse(parser: CommandParser) -> argparse.Namespace:
    """Read the command line; overrides are one list, wherever they stood."""
    args = parser.parse_args()
    args.overrides += args.opts
    return args


def choose_groups(davis: Davis, text: str | None, mask_init: bool) -> list[int]:
    """Numbers of the scribble sets to run: `0,2`, `0-4`, or those that exist.

    A dense mask needs no strokes: it is one run, called 0.
    """
    if mask_init:
        return [0]
    there = davis.groups()
    if not there:
        raise InputError(
            f"{davis.root}: no valid_scribbles0..4 in it; put the scribble sets there, make some "
            "with scripts/make_scribbles.py, or start from masks with --mask_init"
        )
    if text is None:
        return there
    groups = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,4})\s*(?:-\s*([0-9]{1,4})\s*)?", part)
        if not match:
            raise InputError(
                f"--groups {short(text)}: expected numbers of up to 4 digits, as in 0,2 or 0-4"
            )
        groups += range(int(match[1]), int(match[2] or match[1]) + 1)
    missing = [g for g in groups if g not in there]
    if missing or not groups:
        raise InputError(
            f"--groups {short(text)}: there are only the sets {', '.join(map(str, there))} in "
            f"{davis.root}"
        )
    return sorted(set(groups))


def choose_device(device: str | None, gpu: int) -> str:
    """--device, or CUDA device --gpu where there is CUDA, else the CPU, saying so."""
    if device:
        return device
    if not torch.cuda.is_available():
        if read_launcher().rank == 0:
            say(f"--gpu {gpu}: there is no CUDA device; running on the CPU")
        return "cpu"
    # Under a launcher each process takes the GPU of its own number.
    return "cuda" if read_launcher().size > 1 else f"cuda:{gpu}"


def find_epoch(config_name: str, epoch: str | None) -> Path:
    """The weights that training wrote for a configuration after `epoch`, or after the last one.

    Raises InputError that says how to get weights where there are none.
    """
    folder = run_folder(Path("checkpoints"), Path(config_name).stem)
    path = epoch_path(folder, epoch or next(iter(epochs_in(folder).values()), "*"))
    if not path.is_file():
        raise InputError(
            f"checkpoint {path}: no such file; make it with train_video.py --config {config_name}, "
            "put the authors' there (README), or give --checkpoint FILE (`small`: the network that "
            "comes with the project; `random`: untrained)"
        )
    return path
