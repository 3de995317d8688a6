"""State dicts as files hold them: whose names those are, and whether they fit a model or optimizer.

The authors' names and those of wrappers become ours; the backbone's come from torchvision's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from rhmnet.config import STRIDE, ModelConfig
from rhmnet.errors import FINITE, InputError, Several, is_whole_number
from rhmnet.feature_extractor import FeatureExtractor
from rhmnet.files.reading import read_torch_file

COUNT = "num_batches_tracked"  # of batch norm: the one integer; evaluation never reads it
_MOMENTS = {"step", "exp_avg", "exp_avg_sq"}
_SETTINGS = ("lr", "betas", "eps", "weight_decay")
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_POSITIONS = ("position_embedding.row_embed", "position_embedding.col_embed")
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


def is_state(state: Any) -> bool:
    """Whether a value is a mapping of names to tensors, and not an empty one."""
    return (
        isinstance(state, Mapping)
        and bool(state)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items())
    )


def check_weights(state: Mapping[str, Tensor], path: str | Path) -> None:
    """Raise InputError, naming the file, for a tensor that is no weight."""
    for key, value in state.items():
        if problem := unusable(key, value):
            raise InputError(
                f"{path}: {key[:200]!r} is {problem}; expected floating-point weights, dense ones "
                "(float32, float16, bfloat16 or float64)"
            )


def unusable(key: str, value: Tensor) -> str | None:
    """What keeps a tensor from being a weight; None where nothing does."""
    if value.is_sparse or value.layout != torch.strided:
        return "sparse"
    for name in ("is_quantized", "is_nested", "is_meta", "is_complex"):
        found = getattr(value, name)
        if found() if callable(found) else found:
            return name.removeprefix("is_")
    if type(value) not in (Tensor, nn.Parameter):
        return f"a {type(value).__name__}"
    counts = key.endswith(COUNT) and value.dtype == torch.int64
    if value.dtype not in _FLOATS and not counts:
        return str(value.dtype).removeprefix("torch.")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return "a view that repeats its values"
    return None


def not_finite(value: Tensor, dtype: torch.dtype = torch.float32) -> str | None:
    """What a tensor holds that is no number in `dtype`; None where all are."""
    if not value.is_floating_point() or value.to(dtype).isfinite().all():
        return None
    return "NaN" if value.isnan().any() else "infinite values"


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


def resize_positions(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], str | None]:
    """Weights whose position embedding is as long as that of `wanted`, a model's state; a note
    where it was resized.

    The first and the last vector stay the first and the last.
    """
    keys = {unwrapped(key).removesuffix(".weight"): key for key in state}  # the authors' have one
    resized, sides = dict(state), []
    for name in _POSITIONS:
        table = state.get(keys.get(name))
        if table is None or table.dim() != 2 or not len(table):
            return dict(state), None  # `fitting_weights` says what is wrong
        sides.append((len(table), len(wanted[name])))
        resized[keys[name]] = _resized(table, len(wanted[name]))
    if all(old == new for old, new in sides):
        return dict(state), None
    was, now = ("x".join(str(side[i] * STRIDE) for side in sides) for i in (0, 1))
    note = f"its position embedding is resized: from crops of {was} to {now} (height x width)"
    return resized, note


def _resized(table: Tensor, length: int) -> Tensor:
    """[length, C] of [L, C], linear between neighbours, in float32."""
    if len(table) == length:
        return table
    columns = table.float().T[None]
    fitted = functional.interpolate(columns, length, mode="linear", align_corners=True)
    return fitted[0].T.contiguous()


def load_backbone(extractor: FeatureExtractor, backbone: str, source: str) -> None:
    """Fill the backbone from ImageNet (`imagenet`, through torchvision) or a file of its keys.

    Raises InputError where there is no network, no file, a damaged one, or one of another
    architecture.
    """
    state = _imagenet(backbone) if source == "imagenet" else _read(backbone, source)
    wanted = extractor.backbone.state_dict()
    wrong = [k for k, v in wanted.items() if getattr(state.get(k), "shape", None) != v.shape]
    if wrong:
        raise InputError(
            f"model.pretrained={source}: {wrong[0]} and {len(wrong) - 1} more keys are missing or "
            f"of another shape; expected the weights of torchvision's {backbone}"
        )
    for key, value in wanted.items():
        if kind := unusable(key, state[key]) or not_finite(state[key], value.dtype):
            raise InputError(
                f"model.pretrained={source}: {key} is {kind}; expected finite numbers, as in "
                f"torchvision's file of {backbone}"
            )
    extractor.backbone.load_state_dict({key: state[key] for key in wanted})


def _imagenet(backbone: str) -> Mapping[str, Tensor]:
    weights = torchvision.models.get_model_weights(backbone).IMAGENET1K_V1
    try:
        return weights.get_state_dict(progress=True, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise InputError(
            f"model.pretrained=imagenet: cannot download {weights.url} ({error}); download it "
            "elsewhere and set model.pretrained=FILE, or model.pretrained=none to start from "
            "random weights"
        ) from None


def _read(backbone: str, source: str) -> Mapping[str, Any]:
    try:
        state = read_torch_file(source)
    except InputError as error:
        raise InputError(
            f"model.pretrained: {error}; set `imagenet`, `none` or a file of torchvision's "
            f"{backbone} weights"
        ) from None
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(
            f"model.pretrained={source}: holds no weights by name; expected those of torchvision's "
            f"{backbone}"
        )
    return state


def optimizer_misfit(saved: Any, optimizer: torch.optim.Optimizer) -> str | None:
    """What keeps an optimizer's saved state from being one of `optimizer`; None if nothing does."""
    groups = saved.get("param_groups") if isinstance(saved, Mapping) else None
    moments = saved.get("state") if isinstance(saved, Mapping) else None
    if not isinstance(groups, list) or not isinstance(moments, Mapping):
        return "optimizer is no optimizer's state"
    if len(groups) != len(optimizer.param_groups):
        return f"its optimizer has {len(groups)} groups for {len(optimizer.param_groups)}"
    shapes: dict[int, torch.Size] = {}
    for group, own in zip(groups, optimizer.param_groups, strict=True):
        numbers = group.get("params") if isinstance(group, Mapping) else None
        if not isinstance(numbers, list) or not all(is_whole_number(n, 0) for n in numbers):
            return "optimizer.param_groups is no list of groups"
        if len(numbers) != len(own["params"]):
            return f"its optimizer has {len(numbers)} weights for {len(own['params'])} in a group"
        if any(not _settings_like(group.get(name), own[name]) for name in _SETTINGS):
            return f"optimizer.param_groups lacks one of {', '.join(_SETTINGS)}"
        shapes |= {n: p.shape for n, p in zip(numbers, own["params"], strict=True)}
    if len(shapes) != sum(len(group["params"]) for group in groups):
        return "optimizer.param_groups names a weight twice"
    for number, entry in moments.items():
        if number not in shapes or not isinstance(entry, Mapping) or entry.keys() != _MOMENTS:
            return f"optimizer.state has no moments of a weight at {str(number)[:20]}"
        for name, value in entry.items():
            shape = torch.Size([]) if name == "step" else shapes[number]
            if problem := _misshapen(value, shape, least=None if name == "exp_avg" else 0):
                return f"optimizer.state: {name} of weight {number} {problem}"
    return None


def _misshapen(value: Any, shape: torch.Size, least: float | None) -> str | None:
    if not isinstance(value, Tensor) or unusable("", value):
        return "is no dense tensor of floating-point numbers"
    if value.shape != shape:
        return f"has the shape {list(value.shape)}, expected {list(shape)}"
    if kind := not_finite(value):
        return f"holds {kind}"
    return "is negative" if least is not None and value.numel() and value.min() < least else None


def _settings_like(value: Any, own: Any) -> bool:
    rule = Several(FINITE, len(own), len(own)) if isinstance(own, (tuple, list)) else FINITE
    return rule.holds(value)
