"""Checkpoints: the authors' `.pth.tar` and ours, told apart by looking; safe to read and to write.

Both are a dict of tensors and plain values: {"epoch", "state_dict"}, ours with {"config"} too, so
that the model can be rebuilt from the file alone. Nothing in a file is ever run.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rhmnet.config import Config, from_dict, to_dict
from rhmnet.errors import InputError
from rhmnet.files.writing import write_torch
from rhmnet.model import RHMNet

# (the authors' name, ours) of modules; longest match first where one begins another
_RENAMED = (
    ("backbone.layer0.0.", "feature_extractor.backbone.conv1."),
    ("backbone.layer0.1.", "feature_extractor.backbone.bn1."),
    ("backbone.", "feature_extractor.backbone."),
    ("bottleneck.", "feature_extractor.bottleneck."),
    ("position_embedding.row_embed.weight", "position_embedding.row_embed"),
    ("position_embedding.col_embed.weight", "position_embedding.col_embed"),
    ("hr_embed_obj.weight", "label_embedding.target"),
    ("hr_embed_bg.weight", "label_embedding.background"),
    ("scribble_predictor.", "reliable_head."),
    ("segmentors.", "entire_heads."),
)
_STEP_PARTS = {
    "self_attn": ("encoders", "self_attn"),
    "norm1": ("encoders", "norm"),
    "cross_attn": ("readers", "cross_attn"),
    "norm2": ("readers", "norm1"),
    "norm3": ("readers", "norm2"),
    "linear1": ("readers", "linear1"),
    "linear2": ("readers", "linear2"),
}
_HEAD_COPIES = ("transformer.segmentors.", "transformer.scribble_predictor.")


def load_checkpoint(model: RHMNet, path: str | Path) -> int:
    """Load weights from the authors' file or ours into a model; returns the epoch they are of.

    Strict: raises InputError that names what is missing, unexpected or misshapen and the likely
    reason. The model is untouched then.
    """
    content = read_checkpoint(path)
    state, wanted = translate_keys(content["state_dict"]), model.state_dict()
    if _is_authors(content["state_dict"]) and not model.config.bg_prototype:
        # their network may hold the background's embedding without reading it
        state.pop("label_embedding.background", None)
    for key in wanted:  # counts that evaluation never reads, and that some files leave out
        if key.endswith("num_batches_tracked"):
            state.setdefault(key, wanted[key])
    problem = _mismatch(wanted, state)
    if problem:
        raise InputError(f"{path}: does not fit the model: {problem}")
    model.load_state_dict(state)
    return int(content.get("epoch", 0))


def read_config(path: str | Path) -> Config:
    """The configuration that a checkpoint of ours carries."""
    content = read_checkpoint(path)
    if "config" not in content:
        raise InputError(f"{path}: holds no configuration (the authors' file?); pass --config")
    return from_dict(content["config"], source=str(path))


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The whole file, tensors on the CPU: a dict with at least `state_dict`.

    Raises InputError for a missing, cut-off or foreign file, and for a pickle with anything but
    tensors and plain values, which is refused unread.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"checkpoint {path}: no such file; train_pretrain.py and train_video.py make one, the "
            "README says where the authors' are announced"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of foreign pickles, which raise anyway
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error) or "unsupported" in str(error).lower():
            raise InputError(
                f"{path}: refused: it holds more than tensors and plain values, and loading it "
                "could run code; expected a dict with a state_dict of tensors"
            ) from None
        raise InputError(f"{path}: not a checkpoint: {_first_line(error)}") from None
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, zipfile.BadZipFile) as error:
        detail = f" ({_first_line(error)})" if " " in str(error) else ""
        raise InputError(
            f"{path}: cut off or not a checkpoint{detail}; expected a file written by torch.save"
        ) from None
    if isinstance(content, Mapping) and "state_dict" not in content and _is_state(content):
        content = {"state_dict": content}
    state = content.get("state_dict") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not _is_state(state):
        raise InputError(f"{path}: not a checkpoint; expected a dict with a state_dict of tensors")
    return dict(content)


def save_checkpoint(
    path: str | Path, model: nn.Module, config: Config, epoch: int, **extra: Any
) -> None:
    """Write weights, configuration and epoch, and whatever plain values and tensors `extra` holds.

    The file is whole or is the one before. Raises InputError where it cannot be written.
    """
    content = {
        "epoch": epoch,
        "state_dict": model.state_dict(),
        "config": to_dict(config),
        **extra,
    }
    write_torch(path, content)


def translate_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' keys in our names; ours pass as they are."""
    authors = _is_authors(state)
    state = {key.removeprefix("module."): value for key, value in state.items()}
    if not authors:
        return state
    return {
        _our_name(key): value for key, value in state.items() if not key.startswith(_HEAD_COPIES)
    }


def _is_authors(state: Mapping[str, Tensor]) -> bool:
    return any(key.removeprefix("module.").startswith("transformer.") for key in state)


def _our_name(key: str) -> str:
    if key.startswith("transformer.decoders."):
        step, part, rest = key.removeprefix("transformer.decoders.").split(".", 2)
        if part not in _STEP_PARTS:
            return key
        room, name = _STEP_PARTS[part]
        return f"{room}.{step}.{name}.{rest}"
    for theirs, ours in _RENAMED:
        if key.startswith(theirs):
            key = ours + key.removeprefix(theirs)
            break
    if key.startswith(("reliable_head.", "entire_heads.")):
        for stride in (4, 8, 16):
            key = key.replace(f"_{stride}x.", f"_s{stride}.")
    return key


def _mismatch(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str | None:
    missing = sorted(wanted.keys() - found.keys())
    unexpected = sorted(found.keys() - wanted.keys())
    misshapen = [k for k in wanted if k in found and found[k].shape != wanted[k].shape]
    if not (missing or unexpected or misshapen):
        return None
    parts = []
    if missing:
        parts.append(f"missing {_some(missing)}")
    if unexpected:
        parts.append(f"unexpected {_some(unexpected)}")
    if misshapen:
        key = misshapen[0]
        shapes = f"{list(found[key].shape)} where the model has {list(wanted[key].shape)}"
        parts.append(f"misshapen {_some(misshapen)}, {shapes}")
    reason = _likely_reason([*missing, *unexpected, *misshapen])
    return "; ".join(parts) + (f"; likely reason: {reason}" if reason else "")


def _likely_reason(keys: list[str]) -> str | None:
    """What most often makes these keys differ, told from their names, the most telling first."""
    reasons = (
        ("feature_extractor.backbone", "another backbone (model.backbone)"),
        ("encoders.", "other refine layers (model.refine_layers)"),
        ("entire_heads.", "shared against separate heads (model.separate_heads), or another norm"),
        ("running_mean", "another norm in the heads (model.norm)"),
        ("label_embedding.target", "model.level_embedding differs"),
        ("label_embedding.background", "model.bg_prototype differs"),
        ("position_embedding", "another crop (data.crop_size) or model.hidden_dim"),
    )
    if any("bottleneck.0.bias" in key for key in keys):
        return "another width (model.hidden_dim)"
    for part, reason in reasons:
        if any(part in key for key in keys):
            return reason
    return None


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(keys[:3]) + more


def _is_state(state: Mapping) -> bool:
    return bool(state) and all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()
    )


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]
