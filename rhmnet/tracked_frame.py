"""What the tracker says of a frame: computed at the frame's size when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from rhmnet.inputs import Size
from rhmnet.segmentation_head import resize


class FrameMaps(NamedTuple):
    """One frame's probabilities at the network's size."""

    entire: Tensor
    """float32 [O + 1, h, w], objects 1..O, background last."""
    reliable: Tensor
    """float32 [O + 1, h, w], the same of the reliable region."""


class Geometry(NamedTuple):
    """How frames of a video come to the network and back."""

    size: Size
    """H, W of the frames, pixels."""
    network: Size
    """H, W at which the network sees them."""
    padding: tuple[int, int, int, int]
    """Left, right, top, bottom, in the network's pixels."""


class TrackedFrame:
    """What the tracker says of one frame, on the model's device, at the frame's own size.

    Each of the maps is made when it is first asked for: at full size they take time and memory.
    """

    def __init__(
        self,
        entire: Tensor,
        reliable: Tensor,
        channels: Sequence[int] | None,
        geometry: Geometry,
    ) -> None:
        """entire, reliable: [1, L, H', W'], probabilities of the padded frame, at any stride.

        channels: which of the L belongs to each of objects 1..O and background; None: L = O + 1.
        """
        self._entire, self._reliable = entire, reliable
        self._channels, self._geometry = channels, geometry

    @cached_property
    def labels(self) -> Tensor:
        """uint8 [H, W], 0 background, 1..O."""
        entire = self._crop(self._entire)
        if self._channels is None:
            return labels_at(entire, self._geometry.size)
        labels = labels_at(entire, self._geometry.size)
        numbers = {channel: o for o, channel in reversed([*enumerate(self._channels[:-1], 1)])}
        table = [0, *(numbers[channel] for channel in range(len(entire) - 1))]
        return labels.new_tensor(table)[labels.int()]

    @cached_property
    def probabilities(self) -> Tensor:
        """float32 [O + 1, H, W], objects 1..O, then background: softmax over all K channels."""
        return self._full(self._entire)

    @cached_property
    def reliable(self) -> Tensor:
        """float32 [O + 1, H, W], the same of the reliable region."""
        return self._full(self._reliable)

    @cached_property
    def maps(self) -> FrameMaps:
        """Probabilities at the network's size, where `test.short_side` makes it another."""
        return FrameMaps(*(self._spread(self._crop(p)) for p in (self._entire, self._reliable)))

    def _crop(self, prob: Tensor) -> Tensor:
        """[1, L, H', W'] of a padded frame, at any stride -> [L, h, w]."""
        (left, right, top, bottom) = self._geometry.padding
        height, width = self._geometry.network
        full = resize(prob, (top + height + bottom, left + width + right))
        return full[0, :, top : top + height, left : left + width]

    def _spread(self, prob: Tensor) -> Tensor:
        """[L, h, w] -> [O + 1, h, w]."""
        return prob if self._channels is None else prob[list(self._channels)]

    def _full(self, prob: Tensor) -> Tensor:
        """[1, L, H', W'] -> [O + 1, H, W]."""
        cropped = self._crop(prob)
        if cropped.shape[1:] != self._geometry.size:
            cropped = _enlarge(cropped, self._geometry.size)
        return self._spread(cropped)


def labels_at(prob: Tensor, size: Size) -> Tensor:
    """Labels of the likeliest channel after resizing probabilities, bilinear, to H, W.

    prob: [O + 1, h, w], background last. Returns uint8 [H, W], 0 background; the first channel
    where several are equal. One channel at a time: memory does not grow with the number of objects,
    and torch's argmax over the leading dimension takes as long as a stage of the backbone (CPU).
    """
    best, labels = None, None
    for channel, single in enumerate(prob):
        if single.shape != size:
            single = _enlarge(single[None], size)[0]
        label = (channel + 1) % len(prob)
        if best is None:
            best, labels = single, torch.full_like(single, label, dtype=torch.uint8)
            continue
        labels.masked_fill_(single > best, label)
        best = torch.maximum(best, single)
    return labels


def _enlarge(prob: Tensor, size: Size) -> Tensor:
    return functional.interpolate(prob[None], size, mode="bilinear", align_corners=False)[0]
