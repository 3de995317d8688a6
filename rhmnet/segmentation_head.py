"""Segmentation heads and soft aggregation (docs/method.md, section 5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from rhmnet.arithmetic import in_float32
from rhmnet.labels import num_channels
from rhmnet.structures import SkipFeatures

HEAD_STRIDE = 4
"""Pixels per cell of a head's output."""
PROB_EPS = 1e-7
"""Probabilities are clamped to [1e-7, 1 - 1e-7] before aggregation."""


class SegmentationHead(nn.Module):
    """Tokens of an object and its frame's features to logits at stride 4.

    channels: of the features at s4, s8, s16. dim: C. norm: `gn` (8 groups) or `bn`.
    """

    def __init__(self, channels: tuple[int, ...], dim: int, out_channels: int, norm: str) -> None:
        super().__init__()
        half = dim // 2
        self.conv_in = _ConvNorm(dim, dim, 1, norm)
        self.conv_s16 = _ConvNorm(dim, dim, 3, norm)
        self.conv_s8 = _ConvNorm(dim, half, 3, norm)
        self.conv_s4 = _ConvNorm(half, half, 3, norm)
        self.adapter_s16 = nn.Conv2d(channels[2], dim, 1)
        self.adapter_s8 = nn.Conv2d(channels[1], dim, 1)
        self.adapter_s4 = nn.Conv2d(channels[0], half, 1)
        self.conv_out = nn.Conv2d(half, out_channels, 1)

    def adapt(self, s4: Tensor, s8: Tensor, s16: Tensor) -> SkipFeatures:
        """The 1 x 1 adapters of a frame's features [B, ..., H/s, W/s]."""
        return SkipFeatures(self.adapter_s4(s4), self.adapter_s8(s8), self.adapter_s16(s16))

    def forward(self, tokens: Tensor, skips: SkipFeatures) -> Tensor:
        """tokens [B * O, N, C], skips of B frames -> logits [B * O, out_channels, H/4, W/4]."""
        x = tokens.transpose(1, 2).unflatten(-1, skips.s16.shape[-2:])
        x = self.add_skip(self.conv_in(x), skips.s16)
        x = self.add_skip(_resize(self.conv_s16(x), skips.s8), skips.s8)
        x = self.add_skip(_resize(self.conv_s8(x), skips.s4), skips.s4)
        return self.conv_out(self.conv_s4(x))

    @staticmethod
    def add_skip(x: Tensor, skip: Tensor) -> Tensor:
        """Add a frame's feature [B, ...] to that of each of its objects [B * O, ...]."""
        return (x.unflatten(0, (len(skip), -1)) + skip.unsqueeze(1)).flatten(0, 1)


class _ConvNorm(nn.Module):
    def __init__(self, channels: int, out_channels: int, kernel_size: int, norm: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.norm = nn.BatchNorm2d(out_channels) if norm == "bn" else nn.GroupNorm(8, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(self.conv(x)), inplace=True)


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return resize(x, like.shape[-2:])


def resize(x: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Bilinear, corners aligned: [B, L, H, W] to `size`."""
    if x.shape[-2:] == tuple(size):
        return x
    return functional.interpolate(x, size, mode="bilinear", align_corners=True)


@in_float32  # at 1 - 1e-7 half precision would divide by zero
def channel_odds(prob: Tensor, valid: Tensor) -> Tensor:
    """Odds p / (1 - p) of the K channels that hold something: exp of their logits.

    prob: [B, O, H, W], each object on its own. valid: bool [B, O].
    Returns float32 [B, O + 1, H, W], background last.
    """
    prob = prob * valid[:, :, None, None]
    background = (1 - prob).prod(dim=1, keepdim=True)
    prob = torch.cat([prob, background], dim=1).clamp(PROB_EPS, 1 - PROB_EPS)
    return prob / (1 - prob)


def channel_softmax(odds: Tensor, absent: int = 0) -> Tensor:
    """Softmax over all K channels, float32 [B, O + 1, H, W], of `channel_odds`.

    Channels that hold nothing have probability 1e-7 before the softmax, all the same, so they only
    enter its sum. absent: objects besides the O, whose channels hold nothing and which K counts.
    """
    count = odds.shape[1]
    num_unused = num_channels(count - 1 + absent) - count
    return odds / (odds.sum(dim=1, keepdim=True) + num_unused * unused_odds())


def reliable_region(logits: Tensor, valid: Tensor, absent: int = 0) -> Tensor:
    """Probabilities of all channels, [B, O + 1, H/4, W/4], of the head's logits [B, O, H/4, W/4].

    absent: as `channel_softmax` takes it.
    """
    return channel_softmax(channel_odds(logits.float().sigmoid(), valid), absent)


def entire_target(
    logits: Tensor, valid: Tensor, upsample: bool, absent: int = 0
) -> tuple[Tensor, Tensor]:
    """Probabilities of all channels from the entire-target head's logits [B * O, 2, H/4, W/4].

    First as memory takes them, then at full size: the same where each object's logits are resized
    (`upsample_logits`); without, at stride 4, and with the K channels' logits resized.
    absent: as `channel_softmax` takes it.
    """
    logits = logits.float()
    logits = logits[:, :1] - logits[:, 1:]  # softmax over two channels is the sigmoid of that
    size = tuple(HEAD_STRIDE * side for side in logits.shape[-2:])
    if upsample:
        logits = resize(logits, size)
    odds = channel_odds(logits.sigmoid().view(*valid.shape, *logits.shape[2:]), valid)
    prob = channel_softmax(odds, absent)
    # channels that hold nothing have the same logit everywhere, so resizing leaves them alone
    if upsample:
        return prob, prob
    return prob, channel_softmax(resize(odds.log(), size).exp(), absent)


def unused_odds() -> float:
    """Odds of a channel that holds nothing."""
    return PROB_EPS / (1 - PROB_EPS)
