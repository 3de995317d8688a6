"""Feature extractor: torchvision's ResNet up to `layer3`, batch norm frozen, and a bottleneck."""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from rhmnet.structures import FrameFeatures

STEM = ("conv1", "bn1", "relu", "maxpool")
STAGES = ("layer1", "layer2", "layer3")


class FeatureExtractor(nn.Module):
    """RGB frames to features at stride 4, 8 and 16 (docs/method.md, section 1)."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: str, hidden_dim: int) -> None:
        super().__init__()
        resnet = torchvision.models.get_model(backbone, norm_layer=FrozenBatchNorm2d)
        self.backbone = nn.ModuleDict({name: getattr(resnet, name) for name in (*STEM, *STAGES)})
        self.channels = tuple(_out_channels(self.backbone[stage]) for stage in STAGES)
        self.bottleneck = nn.Sequential(
            nn.Conv2d(self.channels[-1], hidden_dim, kernel_size=1), nn.GroupNorm(32, hidden_dim)
        )
        # ImageNet's statistics of RGB in [0, 255]; no part of a checkpoint
        mean = torch.tensor([0.485, 0.456, 0.406]) * 255
        std = torch.tensor([0.229, 0.224, 0.225]) * 255
        self.register_buffer("mean", mean[:, None, None], persistent=False)
        self.register_buffer("std", std[:, None, None], persistent=False)
        damp_residuals(self.backbone)

    def normalize(self, frames: Tensor) -> Tensor:
        """float32 [..., 3, H, W] with ImageNet's mean and deviation, from uint8 RGB."""
        return (frames - self.mean).div_(self.std)

    def forward(self, images: Tensor) -> FrameFeatures:
        """images: normalised [B, 3, H, W], H and W multiples of 16."""
        x = images
        for name in STEM:
            x = self.backbone[name](x)
        s4 = self.backbone["layer1"](x)
        s8 = self.backbone["layer2"](s4)
        s16 = self.backbone["layer3"](s8)
        return FrameFeatures(s4, s8, s16, self.bottleneck(s16))


def damp_residuals(backbone: nn.Module) -> None:
    """Scale each residual branch's last norm to 0.2, for training from random weights.

    With frozen identity norms every residual block would double the variance of its input.
    """
    for block in backbone.modules():
        last = getattr(block, "bn3", getattr(block, "bn2", None))
        if last is not None:
            last.weight.fill_(0.2)


def _out_channels(stage: nn.Module) -> int:
    last = stage[-1]
    return getattr(last, "conv3", last.conv2).out_channels
