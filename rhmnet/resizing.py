"""Frames, strokes and masks at another size: down for the network, and back."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import torch
from torch import Tensor

from rhmnet.labels import UNLABELLED

Size = tuple[int, int]
"""H, W in pixels."""


def network_size(size: Size, short_side: int) -> Size:
    """H, W shrunk so that the shorter side is at most `short_side` pixels (0: as it is)."""
    if short_side == 0 or min(size) <= short_side:
        return size
    scale = short_side / min(size)
    return round(size[0] * scale), round(size[1] * scale)


def capped_size(size: Size, width: int | None) -> Size:
    """H, W not wider than `width`, of the same shape."""
    if width is None or size[1] <= width:
        return size
    return max(1, round(size[0] * width / size[1])), width


def resize_image(image: np.ndarray, size: Size) -> np.ndarray:
    """Shrink uint8 [H, W, 3] by averaging the pixels that fall together."""
    return shrink(torch.from_numpy(image), size).numpy()


def resize_labels(labels: np.ndarray, size: Size) -> np.ndarray:
    """Resize a label map uint8 [H, W]: each pixel takes the value of the nearest one."""
    if labels.shape == size:
        return labels
    return cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def resize_strokes(labels: np.ndarray, size: Size) -> np.ndarray:
    """As `shrink_strokes`, of an array. Enlarging repeats pixels."""
    if size[0] > labels.shape[0]:
        return cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST)
    return shrink_strokes(torch.from_numpy(labels), size).numpy()


def shrink(pixels: Tensor, size: Size) -> Tensor:
    """Shrink uint8 or float32 [H, W] or [H, W, C] where it lies: each pixel the mean of its area.

    On the CPU by OpenCV; elsewhere by products with the shares in which pixels fall together.
    """
    if tuple(pixels.shape[:2]) == size:
        return pixels
    if pixels.device.type == "cpu":
        return torch.from_numpy(
            cv2.resize(pixels.numpy(), size[::-1], interpolation=cv2.INTER_AREA)
        )
    rows, columns = (
        _shares(old, new, pixels.device) for old, new in zip(pixels.shape, size, strict=False)
    )
    mean = torch.einsum("hy,yx...,wx->hw...", rows, pixels.float(), columns)
    return mean if pixels.is_floating_point() else mean.round().to(pixels.dtype)


def shrink_strokes(labels: Tensor, size: Size) -> Tensor:
    """Shrink strokes so that thin ones survive: a pixel takes the label that covers most of it.

    labels: uint8 [H, W]. Pixels that no stroke touches stay 0, and every label keeps a pixel.
    """
    if tuple(labels.shape) == size:
        return labels
    small = torch.zeros(size, dtype=torch.uint8, device=labels.device)
    most = torch.zeros(size, device=labels.device)
    covers = {}
    for value in torch.unique(labels).tolist():
        if value != UNLABELLED:
            cover = covers[value] = shrink((labels == value).float(), size)
            small.masked_fill_(cover > most, value)
            most = torch.maximum(most, cover)
    kept = set(torch.unique(small).tolist())
    for value, cover in covers.items():
        if value not in kept:  # others cover more of each of its pixels
            best = cover.argmax()
            small.view(-1)[best] = value
            for other in covers.values():
                other.view(-1)[best] = 0
    return small


@cache
def _shares(old: int, new: int, device: torch.device) -> Tensor:
    """float32 [new, old]: how much of each new cell each old pixel covers, rows of sum 1."""
    edges = torch.arange(new + 1, dtype=torch.float64) * (old / new)
    pixels = torch.arange(old, dtype=torch.float64)
    upper = torch.minimum(edges[1:, None], pixels + 1)
    overlap = (upper - torch.maximum(edges[:-1, None], pixels)).clamp(min=0)
    return (overlap * (new / old)).float().to(device)
