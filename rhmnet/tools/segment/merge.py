"""What two passes say of the frames between strokes, made one; and what is told of a frame.

The forward pass knows an object from its first stroke on, the backward pass up to its last one.
Between two strokes of an object the nearer one counts more: a frame's probability is the mean of
both passes', weighted linearly with the distance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from rhmnet.structures import FrameMaps


def forward_shares(
    frames_of: Mapping[int, Sequence[int]], numbers: Sequence[int], frame: int
) -> np.ndarray:
    """float32 [O]: how much the forward pass counts for each of these objects on a frame, 0 to 1.

    frames_of: {frame: objects with a stroke on it}. With strokes on frames a <= frame < b it is
    (b - frame) / (b - a); before an object's first stroke 0, from its last one on 1.
    """
    shares = np.ones(len(numbers), np.float32)
    for index, number in enumerate(numbers):
        stroked = [f for f, numbers in frames_of.items() if number in numbers]
        before = [f for f in stroked if f <= frame]
        after = [f for f in stroked if f > frame]
        if not after:
            continue
        a, b = max(before, default=None), min(after)
        shares[index] = 0 if a is None else (b - frame) / (b - a)
    return shares


def to_bytes(maps: FrameMaps) -> np.ndarray:
    """The objects' probabilities in 8 bits, uint8 [2 * O, h, w]: entire targets, then regions."""
    objects = torch.cat([maps.entire[:-1], maps.reliable[:-1]])
    return (objects * 255).round().to(torch.uint8).cpu().numpy()


def merge(forward: np.ndarray, backward: FrameMaps, shares: np.ndarray) -> FrameMaps:
    """The weighted mean of both passes, per object; background is what no object is.

    forward: as `to_bytes` made it. shares: float32 [O], of the forward pass. Background is the
    product of 1 - p over the objects; then all channels are divided by their sum (as in the
    docs/method.md's soft aggregation, which gives background the same product).
    """
    device = backward.entire.device
    share = torch.from_numpy(shares).to(device)[:, None, None]
    halves = (torch.from_numpy(forward).to(device).float() / 255).chunk(2)
    return FrameMaps(*(_merge(f, b, share) for f, b in zip(halves, backward, strict=True)))


def measure(maps: FrameMaps, threshold: float) -> Tensor:
    """float32 [2, O]: mean probability and reliability of each object, NaN without a pixel.

    With M the pixels where the object is the likeliest, p its probability and r that of its
    reliable region: mean probability = sum_M p / |M|, and reliability = the sum of p over M where
    r > threshold, divided by the sum of p over all of M.
    threshold: `model.refine_threshold[0]`, above which the memory takes the region as reliable.
    """
    objects, reliable = maps.entire[:-1], maps.reliable[:-1]
    likeliest = maps.entire.argmax(0)
    own = likeliest == torch.arange(len(objects), device=likeliest.device)[:, None, None]
    inside = objects * own
    pixels, mass = own.sum((1, 2)), inside.sum((1, 2))
    carried = (inside * (reliable > threshold)).sum((1, 2))
    return torch.stack([mass / pixels, carried / mass])


def _merge(forward: Tensor, backward: Tensor, share: Tensor) -> Tensor:
    """[O, h, w] and [O + 1, h, w] -> [O + 1, h, w]."""
    objects = share * forward + (1 - share) * backward[:-1]
    prob = torch.cat([objects, (1 - objects).prod(0, keepdim=True)])
    return prob / prob.sum(0)
