"""Checkpoints: the authors' `.pth.tar` and ours, told apart by looking; safe to read and to write.

Both are a dict of tensors and plain values: {"epoch", "state_dict"}, ours with {"config"} too, so
that the model can be rebuilt from the file alone: `rhmnet.load_model`. Nothing in a file is ever
run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from rhmnet.bounds import short
from rhmnet.checkpoint_keys import is_authors, mismatch, translate_keys
from rhmnet.checkpoint_values import COUNT, not_finite, unusable
from rhmnet.config import STRIDE, Config, ModelConfig, check_config, from_dict, to_dict
from rhmnet.errors import InputError
from rhmnet.files.torch_file import read_torch_file
from rhmnet.files.writing import write_torch
from rhmnet.model import RHMNet

SMALL = "small"
"""Names the network that comes with the project, wherever a checkpoint is named."""
_SMALL_FILE = "rhmnet_small.pth.tar"
_PACKAGE = Path(__file__).resolve().parent
_SMALL_PLACES = (_PACKAGE / "weights", _PACKAGE.parent / "checkpoints")  # installed; a checkout
_DEEPEST = 8  # lists in lists in a configuration
_MOST_EPOCHS = 10**9
_HOW = (
    "the authors announce theirs in the README of github.com/mkg1204/RHMNet-for-SSVOS, behind "
    f"file-sharing links; train_video.py makes your own; {SMALL!r} names the network that comes "
    "with the project"
)


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


def fitting_weights(
    wanted: Mapping[str, Tensor], content: Mapping[str, Any], model: ModelConfig, path: str | Path
) -> dict[str, Tensor]:
    """A file's weights by the names of `wanted`, the state of a model that they fit.

    wanted: may lie on the meta device, where nothing but shapes is looked at. Raises InputError.
    """
    state = translate_keys(content["state_dict"], str(path))
    if is_authors(content["state_dict"]) and not model.bg_prototype:
        # their network may hold the background's embedding without reading it
        state.pop("label_embedding.background", None)
    for key, value in wanted.items():  # some files leave these out
        if key.endswith(COUNT):
            state.setdefault(key, value)
    if problem := mismatch(wanted, state):
        raise InputError(f"{path}: does not fit the model: {problem}")
    for key, value in state.items():
        if wanted[key].is_meta or value.is_meta:
            continue
        if kind := not_finite(value, wanted[key].dtype):
            raise InputError(
                f"{path}: {key} holds {kind}: its training diverged or the file is damaged; take "
                "an earlier one"
            )
    return state


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
        f"{name} is {_plain(theirs)} in the file, {_plain(ours)} here"
        for name, theirs, ours in pairs
        if theirs != ours
    ]


def carried_config(content: Mapping[str, Any], path: str | Path) -> Config:
    """The configuration in a `read_checkpoint`; the defaults for what it does not state."""
    return from_dict(content.get("config", {}), source=str(path))


def read_config(path: str | Path) -> Config:
    """The configuration that a checkpoint of ours carries."""
    content = read_checkpoint(path)
    if "config" not in content:
        raise InputError(f"{path}: holds no configuration (the authors' file?); pass --config")
    return carried_config(content, path)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The whole file, tensors on the CPU: a dict with `state_dict`, `epoch` (0 where it has none)
    and what else it holds, as `config`.

    Raises InputError for a missing, damaged or foreign file, for a pickle with anything but tensors
    and plain values, which is refused unread, and for weights, an epoch or a configuration of
    another kind. Whether weights are finite, `load_checkpoint` looks when it knows their shapes.
    """
    path = find_checkpoint(path)
    content = read_torch_file(path)
    if isinstance(content, Mapping) and "state_dict" not in content and _is_state(content):
        content = {"state_dict": content}
    state = content.get("state_dict") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not _is_state(state):
        raise InputError(f"{path}: not a checkpoint; expected a dict with a state_dict of tensors")
    for key, value in state.items():
        if problem := unusable(key, value):
            raise InputError(
                f"{path}: {key[:200]!r} is {problem}; expected floating-point weights, dense ones "
                "(float32, float16, bfloat16 or float64)"
            )
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
    content = {
        "epoch": _epoch(epoch, path),
        "state_dict": model.state_dict(),
        "config": to_dict(config),
        **extra,
    }
    write_torch(path, content)


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
        shown = (
            repr(value)[:60].partition("\n")[0] if not isinstance(value, int) else "out of range"
        )
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


def _plain(value: Any) -> Any:
    """A value as YAML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return list(value) if isinstance(value, tuple) else value


def _is_state(state: Mapping) -> bool:
    return bool(state) and all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()
    )
