"""The network that is evaluated, and what tells its masks from another's."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import torch

from rhmnet.checkpoint import DEFAULT_CONFIG, Loaded, open_model, run_name, size_of
from rhmnet.config import Config, load_config
from rhmnet.evaluation.command import RANDOM, find_epoch
from rhmnet.model import RHMNet, build_model


class Network(NamedTuple):
    """What is evaluated."""

    model: RHMNet
    config: Config
    name: str
    """Of the configuration and the epoch, as the release names its results."""
    checkpoint: Path | None
    """None: untrained."""
    which: str

    def describe(self, device: torch.device) -> str:
        """One line: which network runs, where, at which size, and how to name another."""
        size = size_of(self.config)
        return f"network: {self.which}, {size} on {device}; --checkpoint FILE names another"


def choose_network(args: argparse.Namespace, small: bool = False) -> Network:
    """The network that --checkpoint, --ckpt_num, --config and settings name.

    small: without any of the first two it is the one that comes with the project; otherwise it is
    the last epoch of --config's training, as in the release. `random` names the untrained one.
    """
    if args.checkpoint in RANDOM:
        config = load_config(args.config or DEFAULT_CONFIG, args.overrides)
        stem = Path(args.config or DEFAULT_CONFIG).stem
        return Network(build_untrained(config), config, f"{stem}_random", None, "untrained")
    path = args.checkpoint
    if path is None and (args.ckpt_num is not None or not small):
        path = find_epoch(args.config or DEFAULT_CONFIG, args.ckpt_num)
    found = open_model(path, args.overrides, args.config)
    name = f"{_name(args.config, found)}_{found.epoch}"
    return Network(found.model, found.config, name, found.path, found.which())


def _name(config: str | None, found: Loaded) -> str:
    """What masks of a network are called: by its configuration, or else by its file."""
    if config is not None:
        return Path(config).stem
    if (run := run_name(found.path.parent)) is not None:
        return run
    return found.path.name.split(".")[0] if found.carries_config else DEFAULT_CONFIG


def build_untrained(config: Config) -> RHMNet:
    """The network before training: the same one every time."""
    torch.manual_seed(config.train.seed)
    return build_model(config)
