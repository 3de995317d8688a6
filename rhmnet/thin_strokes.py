"""Strokes that are too thin for the network's cells, made broad enough to be seen."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from rhmnet.config import STRIDE
from rhmnet.labels import UNLABELLED
from rhmnet.memory_encoder import LEAST_RATIO

LEAST_WIDTH = 5
"""Pixels: a straight line of fewer may cover too little of every cell that it passes."""


def thicken(labels: Tensor) -> Tensor:
    """Broaden strokes thinner than LEAST_WIDTH, and those too small to mark any cell.

    A cell carries a label from a share of LEAST_RATIO on; thinner strokes would be lost without a
    word. labels: uint8 [H, W], multiples of STRIDE, as the network sees them. Strokes that are
    broad enough stay as they are, and none grows over another.
    """
    thick = labels.clone()
    for value in torch.unique(labels).tolist():
        if value == UNLABELLED:
            continue
        own = (thick == value).float()[None]
        free = own + (thick == UNLABELLED).float()
        for width in range(3, LEAST_WIDTH + 1, 2):
            broad = _dilate(_dilate(_erode(own, width), width), width + 2)
            own = _grown(own, own * (1 - broad), free)
        while not _marks_a_cell(own):
            before, own = own, _grown(own, own, free)
            if torch.equal(before, own):  # others are all around
                break
        thick.masked_fill_(own[0] > 0, value)
    return thick


def _marks_a_cell(mask: Tensor) -> bool:
    return bool((functional.avg_pool2d(mask, STRIDE) >= LEAST_RATIO).any())


def _grown(mask: Tensor, where: Tensor, free: Tensor) -> Tensor:
    """A mask, one pixel more around some of its pixels where others leave room; all [1, H, W]."""
    return torch.maximum(mask, _dilate(where, 3) * free)


def _dilate(mask: Tensor, width: int) -> Tensor:
    return functional.max_pool2d(mask, width, stride=1, padding=width // 2)


def _erode(mask: Tensor, width: int) -> Tensor:
    return -_dilate(-mask, width)
