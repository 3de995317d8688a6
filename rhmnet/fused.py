"""Convolutions of the tracking network with what follows them in one pass: norm, addition, ReLU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import FrozenBatchNorm2d


class FusedConv(nn.Module):
    """A convolution with its frozen norm folded in, for use without gradients.

    On the CPU it runs through oneDNN's fused operators where this build of PyTorch has them, with
    weights kept in oneDNN's own layout: no pass over the feature map of its own for ReLU and
    addition, no reordering of weights in every frame. Elsewhere the same in single steps.
    """

    def __init__(
        self, conv: nn.Conv2d, norm: FrozenBatchNorm2d, dtype: torch.dtype, fused: bool
    ) -> None:
        super().__init__()
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        weight = conv.weight * scale[:, None, None, None]
        bias = norm.bias - norm.running_mean * scale
        self._geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
        self._weight = weight.to(dtype, memory_format=torch.channels_last)
        self._bias = bias.to(dtype)
        self._fused = fused and has_fused_operators(self._weight)
        self._packed_for: torch.Size | None = None

    def forward(self, x: Tensor, relu: bool = True) -> Tensor:
        """x: [B, C, H, W]."""
        if self._fused:
            unary = "relu" if relu else "none"
            return torch.ops.mkldnn._convolution_pointwise(
                x, self._pack(x.shape), self._bias, *self._geometry, unary, [], ""
            )
        out = self._convolve(x)
        return out.relu_() if relu else out

    def add_relu_(self, x: Tensor, other: Tensor) -> Tensor:
        """ReLU of the convolution of x plus `other`, which is overwritten."""
        if self._fused:
            weight = self._pack(x.shape)
            return torch.ops.mkldnn._convolution_pointwise_.binary(
                other, x, weight, self._bias, *self._geometry, "add", None, "relu", [], ""
            )
        return other.add_(self._convolve(x)).relu_()

    def _pack(self, shape: torch.Size) -> Tensor:
        """The weights in the layout that oneDNN chooses for an input of this shape."""
        if self._packed_for != shape:
            weight = self._weight if self._weight.is_mkldnn else self._weight.to_mkldnn()
            self._weight = torch._C._nn.mkldnn_reorder_conv2d_weight(
                weight, *self._geometry, list(shape)
            )
            self._packed_for = shape
        return self._weight

    def _convolve(self, x: Tensor) -> Tensor:
        padding, stride, dilation, groups = self._geometry
        return functional.conv2d(x, self._weight, self._bias, stride, padding, dilation, groups)


class FusedBlock(nn.Module):
    """A residual block of torchvision's ResNet, basic or bottleneck.

    Overwrites its input unless it has a `downsample`, as the first block of every stage that
    follows another one has: so the features that a stage hands out stay whole.
    """

    def __init__(self, block: nn.Module, dtype: torch.dtype, fused: bool) -> None:
        super().__init__()
        numbers = (n for n in (1, 2, 3) if hasattr(block, f"conv{n}"))
        *first, self.last = (
            FusedConv(getattr(block, f"conv{n}"), getattr(block, f"bn{n}"), dtype, fused)
            for n in numbers
        )
        self.first = nn.ModuleList(first)
        self.downsample = block.downsample and FusedConv(*block.downsample, dtype, fused)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, C, H, W]."""
        identity = x if self.downsample is None else self.downsample(x, relu=False)
        for conv in self.first:
            x = conv(x)
        return self.last.add_relu_(x, identity)


def fuse_backbone(backbone: nn.ModuleDict, dtype: torch.dtype, fused: bool = True) -> None:
    """Replace the stem's convolution and the blocks of a frozen-norm ResNet, in place.

    fused: use oneDNN's operators where they are; without them the result can be compiled.
    """
    backbone["conv1"] = FusedConv(backbone["conv1"], backbone["bn1"], dtype, fused)
    backbone["bn1"], backbone["relu"] = nn.Identity(), nn.Identity()
    for name, stage in backbone.items():
        if name.startswith("layer"):
            backbone[name] = nn.Sequential(*(FusedBlock(block, dtype, fused) for block in stage))


def has_fused_operators(weight: Tensor) -> bool:
    """Whether oneDNN has fused operators for this device and precision."""
    ops = torch.ops.mkldnn
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if not hasattr(ops, "_convolution_pointwise"):
        return False
    if weight.dtype == torch.bfloat16:
        return ops._is_mkldnn_bf16_supported()
    return weight.dtype == torch.float32 or ops._is_mkldnn_fp16_supported()
