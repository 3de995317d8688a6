"""From a file to a network that is ready to track: the one way, of every command and of Python."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch

from rhmnet.checkpoint import (
    SMALL,
    carried_config,
    differences,
    fill,
    find_checkpoint,
    fitting_weights,
    read_checkpoint,
)
from rhmnet.config import Config, load_config, override
from rhmnet.errors import InputError, say
from rhmnet.model import RHMNet

DEFAULT_CONFIG = "video_training"
"""Of files that carry none, as the authors'."""


class Loaded(NamedTuple):
    """A network, and what it came from."""

    model: RHMNet
    config: Config
    epoch: int
    """Finished epochs of its training."""
    path: Path
    named: bool
    """Whether the file was asked for; otherwise it is the one that comes with the project."""
    carries_config: bool

    def which(self) -> str:
        """The file, or that it is the network that comes with the project."""
        return str(self.path) if self.named else f"{SMALL}, which comes with the project"

    def describe(self, size: str, how: str) -> str:
        """One line: which network, at which size, and how to name another.

        size: as in `at 320 pixels a side`. how: what names another, as `--checkpoint FILE`.
        """
        return f"network: {self.which()}, {size}; {how} names another"


def load_model(
    path: str | Path | None = None,
    overrides: Iterable[str] = (),
    config: Config | str | Path | None = None,
) -> tuple[RHMNet, Config]:
    """A network with a file's weights, in evaluation mode, and its configuration.

    path: a checkpoint, ours or the authors'; `small`, or none, for the network that comes with the
        project (which of them runs is then said on stderr).
    overrides: `group.field=value`, as `test.precision=bfloat16`; they have the last word, but for
        what makes the network.
    config: a configuration, its name or path, for files that carry none (without it they are of
        `video_training`). Of a file that carries one, `model.*` and `data.crop_size` hold: where
        `config` or `overrides` differ from them, InputError names the fields and both values.

    `test.*` is that of `overrides`, else of `config`, else of the file. Nothing is downloaded.
    """
    loaded = open_model(path, overrides, config)
    if not loaded.named:
        say(loaded.describe(size_of(loaded.config), "load_model(FILE)"), sys.stderr)
    return loaded.model, loaded.config


def open_model(
    path: str | Path | None = None,
    overrides: Iterable[str] = (),
    config: Config | str | Path | None = None,
) -> Loaded:
    """`load_model` for commands, which say themselves what runs; see there."""
    file = find_checkpoint(path)
    content = read_checkpoint(file)
    if config is not None:
        wanted = config if isinstance(config, Config) else load_config(config)
    elif "config" in content:
        wanted = carried_config(content, file)
    else:
        wanted = load_config(DEFAULT_CONFIG)
    wanted = override(wanted, overrides)
    if found := differences(content, file, wanted.model, wanted.data.crop_size):
        raise InputError(
            f"{file}: is of another network than the configuration or the settings given: "
            f"{'; '.join(found)}; leave those out: what the file carries holds"
        )
    with torch.device("meta"):  # no memory is taken for a network that the weights do not fit
        fitting_weights(RHMNet(wanted).state_dict(), content, wanted.model, file)
    model = RHMNet(wanted)
    fill(model, content, file)
    carries = "config" in content
    return Loaded(model.eval(), wanted, content["epoch"], file, path is not None, carries)


def size_of(config: Config) -> str:
    """The size at which a network sees frames of any video, in words."""
    side = config.test.short_side
    return f"at a short side of {side} pixels at most" if side else "at the frames' own size"
