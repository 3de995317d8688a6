"""The command line that both training stages share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

from rhmnet.checkpoint import run_folder
from rhmnet.config import Config, load_config
from rhmnet.runtime.command import CommandParser


class Options(NamedTuple):
    """What a training run is told from outside."""

    config: Config
    name: str
    """Of the configuration; checkpoints and logs lie in folders named after it."""
    resume: str
    """auto, none or a file."""
    init: str | None
    """none or a file; None for what the configuration says."""
    checkpoints: Path
    runs: Path
    device: str

    @property
    def checkpoint_folder(self) -> Path:
        """Where states and weights of this run lie, named as the release does."""
        return run_folder(self.checkpoints, self.name)

    @property
    def log_folder(self) -> Path:
        """Where log.txt, metrics.jsonl and TensorBoard's events lie."""
        return self.runs / self.name


def parse_options(description: str, default_config: str) -> Options:
    """Read the command line. description: the script's docstring, shown by --help."""
    parser = CommandParser(settings=True, description=description)
    parser.add_argument(
        "--config",
        default=default_config,
        help="a name under configs/ or a YAML file (default: %(default)s)",
    )
    parser.add_argument(
        "--resume",
        default="auto",
        metavar="auto|none|FILE",
        help="go on from the newest whole state (auto, the default), begin anew (none), or go on "
        "from a state_*.pth.tar",
    )
    parser.add_argument(
        "--init",
        metavar="none|small|FILE",
        help="weights that a new run starts from; `small`: those of the network that comes with "
        "the project (default: as the configuration says)",
    )
    parser.add_argument(
        "--checkpoints",
        type=Path,
        default=Path("checkpoints"),
        metavar="DIR",
        help="states and weights go to DIR/pretrain_weights_CONFIG (default: %(default)s)",
    )
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="logs and TensorBoard events go to DIR/CONFIG (default: %(default)s)",
    )
    parser.add_argument(
        "--device", default="auto", help="auto (the default), cpu, cuda, cuda:N or mps"
    )
    # python -m torch.distributed.launch passes it; the environment says the same
    parser.add_argument("--local-rank", "--local_rank", help=argparse.SUPPRESS)
    given = parser.parse_args()
    return Options(
        load_config(given.config, given.overrides),
        Path(given.config).stem,
        given.resume,
        given.init,
        given.checkpoints,
        given.runs,
        given.device,
    )
