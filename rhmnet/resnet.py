"""ResNet's residual blocks up to `layer3`, with torchvision's names of weights, batch norm frozen.

torchvision has the same, but importing it takes a second and 160 MB: as much as tracking takes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STEM = ("conv1", "bn1", "relu", "maxpool")
STAGES = ("layer1", "layer2", "layer3")


class FrozenBatchNorm2d(nn.Module):
    """Batch norm by statistics and weights that stay as they are."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    eps = 1e-5

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            self.register_buffer(name, torch.full((channels,), float(value)))

    def _load_from_state_dict(self, state: dict, prefix: str, *args: object) -> None:
        state.pop(f"{prefix}num_batches_tracked", None)  # of batch norm that is not frozen
        super()._load_from_state_dict(state, prefix, *args)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, C, H, W]."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale[:, None, None] + shift[:, None, None]


class Block(nn.Module):
    """A residual block; of two 3 x 3 convolutions, or, as a bottleneck, of 1 x 1, 3 x 3, 1 x 1."""

    def __init__(self, channels: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        out, downsample = 4 * width if bottleneck else width, None
        if stride > 1 or channels != out:
            downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), FrozenBatchNorm2d(out)
            )
        if bottleneck:
            self._add(1, channels, width, 1, 1)
            self._add(2, width, width, 3, stride)
            self._add(3, width, out, 1, 1)
        else:
            self._add(1, channels, width, 3, stride)
            self._add(2, width, out, 3, 1)
        self.count = 3 if bottleneck else 2
        self.downsample = downsample

    def _add(self, number: int, channels: int, out: int, side: int, stride: int) -> None:
        conv = nn.Conv2d(channels, out, side, stride, side // 2, bias=False)
        self.add_module(f"conv{number}", conv)
        self.add_module(f"bn{number}", FrozenBatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, C, H, W]."""
        out = x
        for number in range(1, self.count + 1):
            out = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(out))
            if number < self.count:
                out = functional.relu(out, inplace=True)
        out += x if self.downsample is None else self.downsample(x)
        return functional.relu(out, inplace=True)


DEPTHS = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
}
"""Blocks of each stage, and whether they are bottlenecks."""


def build_resnet(name: str) -> nn.ModuleDict:
    """Stem and stages with random weights (He's), each stage at twice the stride of the one before.

    name: one of DEPTHS. Weights are drawn as torchvision draws them, those of its last stage and
    classifier too, which are dropped: so a seed gives the network that it gave with torchvision.
    """
    depths, bottleneck = DEPTHS[name]
    parts: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        "bn1": FrozenBatchNorm2d(64),
        "relu": nn.ReLU(inplace=True),
        "maxpool": nn.MaxPool2d(3, 2, 1),
    }
    channels = 64
    for index, (stage, depth) in enumerate(zip((*STAGES, "layer4"), depths, strict=True)):
        width, blocks = 64 * 2**index, []
        for number in range(depth):
            stride = 2 if index and number == 0 else 1
            blocks.append(Block(channels, width, stride, bottleneck))
            channels = 4 * width if bottleneck else width
        parts[stage] = nn.Sequential(*blocks)
    parts["fc"] = nn.Linear(channels, 1000)
    network = nn.ModuleDict(parts)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    del network["layer4"], network["fc"]
    return network
