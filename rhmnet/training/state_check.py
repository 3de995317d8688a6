"""Whether a resume state is one: all its parts of the right kind, shape and range.

Checksums tell bytes that changed. Here are the states whose bytes are as they were written and that
no run could go on from: fields of another kind, moments of other weights, numbers that are none.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rhmnet.checkpoint import carried_config, fitting_weights
from rhmnet.errors import InputError
from rhmnet.model import RHMNet
from rhmnet.state_dict import not_finite, unusable
from rhmnet.structures import REDRAW_REASONS
from rhmnet.training.optimizer import build_optimizer

_MOMENTS = {"step", "exp_avg", "exp_avg_sq"}
_SETTINGS = ("lr", "betas", "eps", "weight_decay")
_SCALER = {"scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker"}


def damage(state: Mapping[str, Any], path: Path) -> str | None:
    """What keeps a `read_checkpoint` that has all keys of a state from being one; None if nothing.

    It is looked at by itself, not against a run: its moments against the network of its own
    configuration.
    """
    iterations = state["iterations_per_epoch"]
    if not _whole(iterations, 1) or not _whole(state["iteration"], 0, iterations):
        return "iteration or iterations_per_epoch is no number of iterations"
    if state["best_score"] is not None and not _number(state["best_score"]):
        return "best_score is no number"
    if problem := _processes(state["processes"]) or _scaler(state["scaler"]):
        return problem
    try:
        config = carried_config(state, path)
        with torch.device("meta"):
            model = RHMNet(config)
        weights = fitting_weights(model.state_dict(), state, config.model, path)
    except InputError as error:
        return str(error).removeprefix(f"{path}: ")
    for key, value in weights.items():
        if not value.is_meta and (kind := not_finite(value)):
            return f"{key} holds {kind}"
    return optimizer_misfit(state["optimizer"], build_optimizer(model, config.train))


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
        if not isinstance(numbers, list) or not all(_whole(n, 0) for n in numbers):
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
    if isinstance(own, (tuple, list)):
        return (
            isinstance(value, (tuple, list)) and len(value) == len(own) and all(map(_real, value))
        )
    return _real(value)


def _processes(everyone: Any) -> str | None:
    """Of each process: the state of its random generators, and its meter's."""
    for number, process in enumerate(everyone):
        try:
            _try_random(process["random"])
        except Exception:  # each generator has its own way to refuse a state
            return f"processes[{number}].random is no state of random generators"
        if not _is_meter(process["meter"]):
            return f"processes[{number}].meter is no state of a meter"
    return None


def _try_random(state: Mapping[str, Any]) -> None:
    """Put the states into generators of their own; whatever they raise, it is not for them."""
    version, keys, gauss = state["python"]
    random.Random().setstate((version, tuple(keys), gauss))
    keys, *rest = state["numpy"]
    np.random.RandomState().set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))
    torch.Generator().set_state(state["torch"])
    for name in ("cuda", "mps"):
        if state[name] is not None and state[name].dtype != torch.uint8:
            raise TypeError(name)


def _is_meter(meter: Any) -> bool:
    if not isinstance(meter, Mapping) or not {"names", "sums", "count", "redraws"} <= meter.keys():
        return False
    names, sums, redraws = meter["names"], meter["sums"], meter["redraws"]
    counts = isinstance(redraws, Tensor) and redraws.dtype == torch.int64
    if not isinstance(names, list) or not _whole(meter["count"], 0) or not counts:
        return False
    summed = sums is None or (isinstance(sums, Tensor) and sums.shape == (len(names),))
    return summed and redraws.shape == (len(REDRAW_REASONS),)


def _scaler(scaler: Any) -> str | None:
    if not isinstance(scaler, Mapping):
        return "scaler is no state of a loss scaler"
    if scaler and not (scaler.keys() >= _SCALER and all(_real(scaler[k]) for k in _SCALER)):
        return f"scaler lacks one of {', '.join(sorted(_SCALER))}"
    return None


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _real(value: Any) -> bool:
    return _number(value) and math.isfinite(value)


def _whole(value: Any, least: int, most: int = 2**62) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
