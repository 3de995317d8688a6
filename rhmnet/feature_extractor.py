"""Feature extractor: torchvision's ResNet up to `layer3`, batch norm frozen, and a bottleneck."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from rhmnet.errors import InputError
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


def load_backbone(extractor: FeatureExtractor, backbone: str, source: str) -> None:
    """Fill the backbone from ImageNet (`imagenet`, through torchvision) or a file of its keys.

    Raises InputError where there is no network, no file, or another architecture's file.
    """
    if source == "imagenet":
        weights = torchvision.models.get_model_weights(backbone).IMAGENET1K_V1
        try:
            state = weights.get_state_dict(progress=True, check_hash=True)
        except (URLError, OSError, RuntimeError) as error:
            raise InputError(
                f"model.pretrained=imagenet: cannot download {weights.url} ({error}); download it "
                "elsewhere and set model.pretrained=FILE, or model.pretrained=none to start from "
                "random weights"
            ) from None
    else:
        path = Path(source)
        if not path.is_file():
            raise InputError(
                f"model.pretrained={source}: no such file; expected `imagenet`, `none` or a file "
                f"of torchvision's {backbone} weights"
            )
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises whatever the damaged file makes it raise
            reason = str(error).partition("\n")[0]
            raise InputError(f"{path}: not a file of torchvision weights: {reason}") from None
    wanted = extractor.backbone.state_dict()
    wrong = [k for k, v in wanted.items() if k not in state or state[k].shape != v.shape]
    if wrong:
        raise InputError(
            f"model.pretrained={source}: {wrong[0]} and {len(wrong) - 1} more keys are missing or "
            f"of another shape; expected the weights of torchvision's {backbone}"
        )
    extractor.backbone.load_state_dict({key: state[key] for key in wanted})


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
