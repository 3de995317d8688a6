"""Checkpoints: what their files are called, and how they are found, read, written and rebuilt.

The authors' `.pth.tar` and ours are told apart by looking. Both are a dict of tensors and plain
values: {"epoch", "state_dict"}, ours with {"config"} too, so that the model can be rebuilt from the
file alone: `rhmnet.load_model`. Nothing in a file is ever run.
"""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rhmnet.config import (
    MOST_SIDE,
    STRIDE,
    Config,
    DataConfig,
    ModelConfig,
    check_config,
    from_dict,
    load_config,
    override,
    to_dict,
)
from rhmnet.config_yaml import as_yaml
from rhmnet.errors import InputError, say, short
from rhmnet.files.reading import read_torch_file
from rhmnet.files.writing import write_torch
from rhmnet.model import RHMNet
from rhmnet.state_dict import check_weights, fitting_weights, is_state

SMALL = "small"
"""Names the network that comes with the project, wherever a checkpoint is named."""
DEFAULT_CONFIG = "video_training"
"""Of files that carry none, as the authors'."""
_SMALL_FILE = "rhmnet_small.pth.tar"
_PACKAGE = Path(__file__).resolve().parent
_SMALL_PLACES = (_PACKAGE / "weights", _PACKAGE.parent / "checkpoints")  # installed; a checkout
_RUN_FOLDER = "pretrain_weights_"
_EPOCH_FILE = "pretrain_checkpoint_{}.pth.tar"
_STATE_FILE = "state_{}.pth.tar"
_DEEPEST = 8  # lists in lists in a configuration
_MOST_EPOCHS = 10**9
_HOW = (
    "the authors announce theirs in the README of github.com/mkg1204/RHMNet-for-SSVOS, behind "
    f"file-sharing links; train_video.py makes your own; {SMALL!r} names the network that comes "
    "with the project"
)


def run_folder(checkpoints: Path, config_name: str) -> Path:
    """Where training puts a configuration's states and weights, named as the release does."""
    return checkpoints / f"{_RUN_FOLDER}{config_name}"


def run_name(folder: Path) -> str | None:
    """Of which configuration a `run_folder` is; None for other folders."""
    return folder.name.removeprefix(_RUN_FOLDER) if folder.name.startswith(_RUN_FOLDER) else None


def epoch_path(folder: Path, epoch: int | str) -> Path:
    """The weights after `epoch` finished epochs, named as the release does."""
    return folder / _EPOCH_FILE.format(epoch)


def best_path(folder: Path) -> Path:
    """The weights of the best validation score."""
    return folder / "best.pth.tar"


def state_path(folder: Path, iteration: int) -> Path:
    """The state from which a run goes on after so many iterations."""
    return folder / _STATE_FILE.format(f"{iteration:08d}")


def epochs_in(folder: Path) -> dict[Path, int]:
    """The weights in a folder and their epochs, the newest first."""
    return _numbered(folder, _EPOCH_FILE)


def states_in(folder: Path) -> dict[Path, int]:
    """The states in a folder and their iterations, the newest first."""
    return _numbered(folder, _STATE_FILE)


def find_checkpoint(path: str | Path | None) -> Path:
    """The file that is named: a path; `small`, or None, for the one that comes with the project.

    Raises InputError where there is no such file.
    """
    if path is None or str(path) == SMALL:
        for folder in _SMALL_PLACES:
            if (folder / _SMALL_FILE).is_file():
                return folder / _SMALL_FILE
        raise InputError(
            f"checkpoint {SMALL!r}: {_SMALL_FILE} is not under {_SMALL_PLACES[-1]}; get it back "
            "(`git checkout checkpoints`, or install again), or name another file"
        )
    if not isinstance(path, (str, os.PathLike)) or not str(path):
        raise InputError(f"checkpoint {short(path)}: expected the path of a file; {_HOW}")
    try:
        there = Path(path).exists()
    except (OSError, ValueError) as error:  # too long a name, a NUL in it
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"checkpoint {str(path)[:200]!r}: {reason}; {_HOW}") from None
    if not there:
        raise InputError(f"checkpoint {path}: no such file; {_HOW}")
    return Path(path)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The whole file, tensors on the CPU: a dict with `state_dict`, `epoch` (0 where it has none)
    and what else it holds, as `config`.

    Raises InputError for a missing, damaged or foreign file, for a pickle with anything but tensors
    and plain values, which is refused unread, and for weights, an epoch or a configuration of
    another kind. Whether weights are finite, `load_checkpoint` looks when it knows their shapes.
    """
    path = find_checkpoint(path)
    content = read_torch_file(path)
    if isinstance(content, Mapping) and "state_dict" not in content and is_state(content):
        content = {"state_dict": content}
    if not isinstance(content, Mapping) or not is_state(content.get("state_dict")):
        raise InputError(f"{path}: not a checkpoint; expected a dict with a state_dict of tensors")
    check_weights(content["state_dict"], path)
    config = content.get("config", {})
    if not isinstance(config, Mapping) or not _is_plain(config):
        raise InputError(
            f"{path}: its configuration is no mapping of plain values "
            f"({type(config).__name__}); remove it and pass --config, or take another file"
        )
    return {**content, "epoch": _epoch(content.get("epoch"), path)}


def save_checkpoint(
    path: str | Path, model: nn.Module, config: Config, epoch: int, **extra: Any
) -> None:
    """Write weights, configuration and epoch, and whatever plain values and tensors `extra` holds.

    The file is whole or is the one before. Raises InputError where it cannot be written.
    """
    check_config(config, "save_checkpoint")
    if not isinstance(model, nn.Module):
        raise InputError(
            f"save_checkpoint: {type(model).__name__} in place of a network; expected "
            "save_checkpoint(path, model, config, epoch)"
        )
    content = {"state_dict": model.state_dict(), "config": to_dict(config), **extra}
    write_torch(path, {"epoch": _epoch(epoch, path), **content})


def load_checkpoint(model: RHMNet, path: str | Path) -> int:
    """Load weights from the authors' file or ours into a model; returns the epoch they are of.

    Strict: raises InputError where the file carries another `model.*` than the model's, with both
    values, and where weights are missing, unexpected, misshapen or not finite, with the likely
    reason. The model is untouched then.
    """
    if not isinstance(model, RHMNet):
        raise InputError(
            f"load_checkpoint: {type(model).__name__} in place of a network; expected what "
            "rhmnet.build_model or rhmnet.load_model returns (of a wrapper, its `module`)"
        )
    path = find_checkpoint(path)
    content = read_checkpoint(path)
    if found := differences(content, path, model.config, _crop_size(model)):
        raise InputError(
            f"{path}: is of another network: {'; '.join(found)}; build the model from the file's "
            "configuration, as rhmnet.load_model does"
        )
    fill(model, content, path)
    return content["epoch"]


def fill(model: RHMNet, content: Mapping[str, Any], path: str | Path) -> None:
    """Put the weights of a `read_checkpoint` into a model, or raise InputError and leave it."""
    wanted = model.state_dict()
    model.load_state_dict(fitting_weights(wanted, content, model.config, path))


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
    overrides: `group.field=value`, the last word on all but what makes the network.
    config: a configuration, its name or path, for files that carry none (without it they are of
        `video_training`). Of a file that carries one, `model.*` and `data.crop_size` hold: where
        `config` or `overrides` state others, InputError names the fields and both values.

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
    carries = "config" in content
    wanted = carried_config(content, file) if carries else load_config(DEFAULT_CONFIG)
    if isinstance(config, Config):
        wanted = config
    elif config is not None:
        wanted = load_config(config, base=_base(wanted) if carries else None)
    any_crop = dataclasses.replace(wanted.data, short_side=MOST_SIDE)  # another is told as such
    asked = override(dataclasses.replace(wanted, data=any_crop), overrides)
    if found := differences(content, file, asked.model, asked.data.crop_size):
        raise InputError(
            f"{file}: is of another network than the configuration or the settings given: "
            f"{'; '.join(found)}; leave those out: what the file carries holds"
        )
    wanted = override(wanted, overrides)
    with torch.device("meta"):  # no memory is taken for a network that the weights do not fit
        fitting_weights(RHMNet(wanted).state_dict(), content, wanted.model, file)
    model = RHMNet(wanted)
    fill(model, content, file)
    return Loaded(model.eval(), wanted, content["epoch"], file, path is not None, carries)


def size_of(config: Config) -> str:
    """The size at which a network sees frames of any video, in words."""
    side = config.test.short_side
    return f"at a short side of {side} pixels at most" if side else "at the frames' own size"


def differences(
    content: Mapping[str, Any], path: str | Path, model: ModelConfig, crop_size: tuple[int, ...]
) -> list[str]:
    """Fields that make another network, and differ from those that a file carries: both values.

    Those are `model.*`, but for where the backbone's weights once came from, and `data.crop_size`,
    which is the position embedding's size. What a file does not state does not differ.
    """
    stated, carried = content.get("config", {}), carried_config(content, path)
    pairs = [
        (f"model.{name}", getattr(carried.model, name), getattr(model, name))
        for name in stated.get("model") or ()
        if name != "pretrained"
    ]
    if "crop_size" in (stated.get("data") or ()):
        pairs.append(("data.crop_size", carried.data.crop_size, tuple(crop_size)))
    return [
        f"{name} is {as_yaml(theirs)} in the file, {as_yaml(ours)} here"
        for name, theirs, ours in pairs
        if theirs != ours
    ]


def carried_config(content: Mapping[str, Any], path: str | Path) -> Config:
    """The configuration in a `read_checkpoint`; the defaults for what it does not state."""
    return from_dict(content.get("config", {}), source=str(path))


def _base(carried: Config) -> Config:
    """What holds where a YAML file beside a checkpoint says nothing: its network and tracking."""
    crop = carried.data.crop_size
    data = DataConfig(crop_size=crop, short_side=max(DataConfig.short_side, *crop))
    return Config(model=carried.model, data=data, test=carried.test)


def read_config(path: str | Path) -> Config:
    """The configuration that a checkpoint of ours carries."""
    content = read_checkpoint(path)
    if "config" not in content:
        raise InputError(f"{path}: holds no configuration (the authors' file?); pass --config")
    return carried_config(content, path)


def _crop_size(model: RHMNet) -> tuple[int, int]:
    """data.crop_size of the model's configuration, which its position embedding tells."""
    position = model.position_embedding
    return len(position.row_embed) * STRIDE, len(position.col_embed) * STRIDE


def _epoch(value: Any, path: Path) -> int:
    """The number of finished epochs; 0 where a file states none."""
    if value is None:
        return 0
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_meta:
        value = value.item()
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= _MOST_EPOCHS or value != int(value):
        shown = "out of range" if isinstance(value, int) else repr(value)[:60].split("\n")[0]
        raise InputError(
            f"{path}: its epoch is {shown}; expected a whole number of at least 0, or none"
        )
    return int(value)


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Whether a value is made of numbers, texts, lists and mappings alone, not too deep."""
    if depth > _DEEPEST:
        return False
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and _is_plain(v, depth + 1) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item, depth + 1) for item in value)
    return value is None or isinstance(value, (bool, int, float, str))


def _numbered(folder: Path, name: str) -> dict[Path, int]:
    """Files of a name and the number in it, the largest first."""
    pattern = re.compile(re.escape(name).replace(r"\{\}", r"(\d+)"))
    found = {p: int(m[1]) for p in folder.glob("*") if (m := pattern.fullmatch(p.name))}
    return dict(sorted(found.items(), key=lambda item: item[1], reverse=True))
