"""A copy of the network made for tracking: same numbers, less work."""

from __future__ import annotations

import copy

import torch
from torch import nn

from rhmnet.attention import attends_in_parts
from rhmnet.config import AUTO, Config, override
from rhmnet.fused import fuse_backbone
from rhmnet.model import RHMNet
from rhmnet.processor import fastest_precision


def settle_precision(config: Config, device: torch.device) -> Config:
    """The configuration with `test.precision=auto` replaced by what this machine is fastest in.

    For commands, before they note what masks depend on: a run that goes on elsewhere must not mix.
    """
    if config.test.precision != AUTO:
        return config
    return override(config, [f"test.precision={fastest_precision(device)}"])


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def prepare_for_tracking(model: RHMNet, precision: str, compile: bool = False) -> RHMNet:
    """Copy a network with frozen norms folded into convolutions, channels last, one precision.

    On the CPU its banks share tokens in the first step.

    precision: `auto`, `float32`, or `bfloat16` / `float16` for all but the soft aggregation and the
    similarity to the initial scribble, which stay in float32.
    compile: `torch.compile` the feature extractor, on CUDA into graphs that are replayed. What it
    returns is read within its frame, before the next one overwrites it.
    """
    dtype = DTYPES[fastest_precision(model.device) if precision == AUTO else precision]
    net = copy.deepcopy(model).eval().requires_grad_(False)
    fuse_backbone(net.feature_extractor.backbone, dtype, fused=not compile)
    net.to(dtype=dtype, memory_format=torch.channels_last)
    for name in ("mean", "std"):  # pixels are normalised in float32
        setattr(net.feature_extractor, name, getattr(model.feature_extractor, name))
    net.shares_tokens = attends_in_parts(model.device)
    if compile:
        mode = "reduce-overhead" if model.device.type == "cuda" else "default"
        net.feature_extractor.compile(mode=mode, dynamic=False)
    return net


def weights_version(model: nn.Module) -> tuple:
    """A value that changes when weights do: by an optimizer, a checkpoint or a move."""
    tensors = (*model.parameters(), *model.buffers())
    return tuple((x.data_ptr(), x._version) for x in tensors)
