"""The names of weights: the authors' and ours, those of wrappers, and what a misfit comes from."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from rhmnet.errors import InputError

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
_WRAPPERS = {  # of DistributedDataParallel, torch.compile, FSDP, activation checkpointing
    *("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"),
}


def translate_keys(state: Mapping[str, Tensor], source: str = "state_dict") -> dict[str, Tensor]:
    """Weights under our names, whoever wrote them and whatever the model was wrapped in.

    Raises InputError, naming `source`, where two keys become one.
    """
    bare: dict[str, Tensor] = {}
    for key, value in state.items():
        name = unwrapped(key)
        if name in bare:
            raise InputError(f"{source}: {name} is there twice, as {key!r} too; keep one")
        bare[name] = value
    if not is_authors(state):
        return bare
    return {
        _our_name(key): value for key, value in bare.items() if not key.startswith(_HEAD_COPIES)
    }


def unwrapped(key: str) -> str:
    """A key without the names that wrappers put into it, at its beginning or further in."""
    return ".".join(part for part in key.split(".") if part not in _WRAPPERS)


def is_authors(state: Mapping[str, Tensor]) -> bool:
    return any(unwrapped(key).startswith("transformer.") for key in state)


def _our_name(key: str) -> str:
    if key.startswith("transformer.decoders."):
        parts = key.removeprefix("transformer.decoders.").split(".", 2)
        if len(parts) < 3 or parts[1] not in _STEP_PARTS:
            return key
        step, part, rest = parts
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


def mismatch(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str | None:
    """Which weights are missing, unexpected or misshapen, and the likely reason; None if none."""
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
    shown = ", ".join(key[:80] for key in keys[:3])
    return shown + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
