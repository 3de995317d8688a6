"""Tracking in less time, with the same numbers: nothing in this room belongs to the method.

The tracker runs without it too. A copy of the network has its norms folded into convolutions that
run with what follows them in one pass; banks lie in one buffer, or keep tokens that all objects
share once (`fast_memory`); objects are read and segmented a few at a time, those that are not there
not at all. PyTorch's private operators are used here alone, where this build has them.
"""

from __future__ import annotations

import copy
import time
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import FrozenBatchNorm2d

from rhmnet.accelerate.fast_memory import (
    STATE_CLASSES,
    CommonMemory,
    SharedEntry,
    TrackingAttention,
    TrackingBank,
    attends_in_parts,
    cpu_has,
)
from rhmnet.attention import MultiHeadAttention
from rhmnet.matching import MemoryReader
from rhmnet.model import RHMNet
from rhmnet.segmentation_head import SegmentationHead
from rhmnet.structures import EncodedFrame, MemoryEntry, Objects

__all__ = ["STATE_CLASSES", "fastest_precision", "prepare_for_tracking"]


def prepare_for_tracking(
    model: RHMNet, precision: str, compile: bool = False, objects_at_once: int | None = None
) -> RHMNet:
    """Copy a network with frozen norms folded into convolutions, channels last, one precision.

    precision: `float32`, or `bfloat16` / `float16` for all but the soft aggregation and the
    similarity to the initial scribble, which stay in float32.
    compile: `torch.compile` the feature extractor, on CUDA into graphs that are replayed. What it
    returns is read within its frame, before the next one overwrites it.
    objects_at_once: objects read and segmented together, to bound what many take; None: all.
    """
    dtype = getattr(torch, precision)
    net = copy.deepcopy(model).eval().requires_grad_(False)
    fuse_backbone(net.feature_extractor.backbone, dtype, fused=not compile)
    net.to(memory_format=torch.channels_last)
    net.set_precision(dtype)
    for module in net.modules():
        module.__class__ = _FASTER.get(type(module), type(module))
    net.objects_at_once = objects_at_once
    if compile:
        mode = "reduce-overhead" if model.device.type == "cuda" else "default"
        net.feature_extractor.compile(mode=mode, dynamic=False)
    return net


class TrackingNetwork(RHMNet):
    """The network, for one video at a time."""

    objects_at_once: int | None

    def new_bank(self, initial: list[MemoryEntry], max_length: int) -> TrackingBank:
        """As `RHMNet.new_bank`; on the CPU tokens are shared in the first step."""
        levels = 1 + self.config.scribble_memory_for_mask
        return TrackingBank(initial, max_length, levels, share=attends_in_parts(self.device))

    def read_and_segment(
        self,
        step: int,
        tokens: Tensor,
        frame: EncodedFrame,
        memory: MemoryEntry | SharedEntry,
        objects: Objects,
    ) -> tuple[Tensor, Tensor]:
        """As `RHMNet.read_and_segment`, some objects at a time.

        Logits of rows that are not live are zero; what they read is left out in the last step.
        """
        count, at_once, live = len(tokens), self.objects_at_once, objects.live
        last = step == self.config.refine_layers
        if last:
            tokens = tokens[live]
            memory = memory._replace(key=memory.key[live], value=memory.value[live])
        read = []
        for some, key, value in zip(
            *(x.split(at_once or len(tokens)) for x in (tokens, memory.key, memory.value)),
            strict=True,
        ):
            part = memory._replace(key=key, value=value)
            read.append(self.readers[step](some, frame.position, part))
        tokens = read[0] if len(read) == 1 else torch.cat(read)
        # a CPU segments them faster one by one: their feature maps stay small
        each = 1 if at_once and tokens.device.type == "cpu" else at_once or count
        head, skips = self.head(step, frame)
        some = tokens if last else tokens[live]
        logits = torch.cat([head(x, skips) for x in some.split(each)])
        if len(logits) < count:
            segmented, logits = logits, logits.new_zeros(count, *logits.shape[1:])
            logits[live] = segmented
        return tokens, logits


class TrackingReader(MemoryReader):
    """Reads what a `TrackingBank` hands out."""

    def read(self, tokens: Tensor, memory: MemoryEntry | SharedEntry) -> Tensor:
        """As `MemoryReader.read`; of a `SharedEntry` where the tokens of all objects are equal."""
        if not isinstance(memory, SharedEntry):
            return super().read(tokens, memory)
        (query,) = self.cross_attn.project(tokens[:1], 0, 1)
        parts = [*memory.common, CommonMemory(memory.key, memory.value)]
        return self.cross_attn.attend_in_parts(query, parts, len(tokens))


class TrackingHead(SegmentationHead):
    """A head without gradients."""

    @staticmethod
    def add_skip(x: Tensor, skip: Tensor) -> Tensor:
        """As `SegmentationHead.add_skip`, in place."""
        x.unflatten(0, (len(skip), -1)).add_(skip.unsqueeze(1))
        return x


_FASTER = {
    RHMNet: TrackingNetwork,
    MemoryReader: TrackingReader,
    MultiHeadAttention: TrackingAttention,
    SegmentationHead: TrackingHead,
}
"""What a module of the network becomes in the copy: the same weights, other steps."""


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


_CLEARLY = 0.8
"""Share of float32's time below which bfloat16 counts as faster, far from what was seen: a
seventh with AMX, twice the time on the same processor without."""


@cache
def fastest_precision(device: torch.device) -> str:
    """`bfloat16` where this process computes it faster than float32, else `float32`.

    On the CPU a convolution is measured, once in a process: that a processor has such products does
    not say that they are fast.
    """
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float32"
    if device.type != "cpu" or not (cpu_has("avx512_bf16") or cpu_has("amx_tile")):
        return "float32"
    seconds = {}
    for precision in ("float32", "bfloat16") * 4:  # in turn, so that both see the same machine
        spent = _convolution_seconds(getattr(torch, precision))
        seconds[precision] = min(spent, seconds.get(precision, spent))
    return "bfloat16" if seconds["bfloat16"] < _CLEARLY * seconds["float32"] else "float32"


def _convolution_seconds(dtype: torch.dtype) -> float:
    """Of one like those of the heads, the faster of two."""
    generator = torch.Generator().manual_seed(0)
    image, weight = (
        torch.randn(shape, generator=generator).to(dtype, memory_format=torch.channels_last)
        for shape in ((1, 64, 40, 72), (64, 64, 3, 3))
    )
    spent = []
    for _ in range(2):
        began = time.perf_counter()
        functional.conv2d(image, weight, padding=1)
        spent.append(time.perf_counter() - began)
    return min(spent)
