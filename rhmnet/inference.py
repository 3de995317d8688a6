"""A copy of the network made for tracking: same numbers, less work."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from rhmnet.model import RHMNet

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def prepare_for_tracking(model: RHMNet, precision: str) -> RHMNet:
    """Copy a network with frozen norms folded into convolutions, channels last, one precision.

    precision: `float32`, or `bfloat16` / `float16` for all but the soft aggregation and the
    similarity to the initial scribble, which stay in float32.
    """
    net = copy.deepcopy(model).eval().requires_grad_(False)
    fold_frozen_norms(net.feature_extractor.backbone)
    return net.to(dtype=DTYPES[precision], memory_format=torch.channels_last)


def fold_frozen_norms(module: nn.Module) -> None:
    """Merge each FrozenBatchNorm2d into the convolution that stands right before it, in place."""
    previous = None
    for name, child in module.named_children():
        if isinstance(child, FrozenBatchNorm2d):
            _fold(previous, child)
            setattr(module, name, nn.Identity())
        else:
            fold_frozen_norms(child)
        previous = child


@torch.no_grad()
def _fold(conv: nn.Conv2d, norm: FrozenBatchNorm2d) -> None:
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    conv.weight.mul_(scale[:, None, None, None])
    conv.bias = nn.Parameter(norm.bias - norm.running_mean * scale, requires_grad=False)


def weights_version(model: nn.Module) -> tuple:
    """A value that changes when weights do: by an optimizer, a checkpoint or a move."""
    tensors = (*model.parameters(), *model.buffers())
    return tuple((x.data_ptr(), x._version) for x in tensors)
