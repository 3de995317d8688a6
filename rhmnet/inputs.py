"""Frames and strokes on their way to the network, checked, at its size; masks on the way back."""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rhmnet.config import STRIDE
from rhmnet.errors import InputError, check_number
from rhmnet.labels import BACKGROUND, LEAST_RATIO, MAX_OBJECTS, UNLABELLED
from rhmnet.structures import Size

LEAST_WIDTH = 5
"""Pixels: a straight line of fewer may cover too little of every cell that it passes."""


def check_image(image: np.ndarray | Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """An RGB frame as uint8 [H, W, 3]. size: height and width of the video's other frames."""
    image = _to_tensor(image, "image")
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.numel():
        raise InputError(f"image of {_kind(image)}; expected uint8 [H, W, 3], RGB")
    if size is not None and tuple(image.shape[:2]) != size:
        raise InputError(
            f"frame of size {_text(image.shape)} in a video of {_text(size)}; "
            "expected frames of one size"
        )
    return image


def check_scribble(
    scribble: np.ndarray | Tensor, size: tuple[int, int], num_objects: int | None
) -> tuple[Tensor, int]:
    """Strokes uint8 [H, W] as in memory (background 255), and the number of objects.

    size: the frame's height and width. num_objects: N, or None for the largest in the scribble.
    """
    scribble = _to_tensor(scribble, "scribble")
    if scribble.dtype != torch.uint8 or scribble.ndim != 2:
        raise InputError(f"scribble of {_kind(scribble)}; expected uint8 [H, W]")
    if tuple(scribble.shape) != size:
        raise InputError(
            f"scribble of size {_text(scribble.shape)} on a frame of {_text(size)}; "
            "expected the frame's size"
        )
    found = values_in(scribble) - {0, BACKGROUND}
    if num_objects is None:
        num_objects = max(found, default=0)
        if num_objects == 0:
            raise InputError(EMPTY)
    num_objects = check_number(num_objects, "num_objects")
    if not 1 <= num_objects <= MAX_OBJECTS:
        raise InputError(f"num_objects={num_objects}: expected 1..{MAX_OBJECTS}")
    if max(found, default=0) > num_objects + 1:
        raise InputError(
            f"scribble: label {max(found)} is out of range: expected 0, 1..{num_objects} for "
            f"objects, {num_objects + 1} or 255 for background; num_objects in start sets the range"
        )
    return scribble.masked_fill(scribble == num_objects + 1, BACKGROUND), num_objects


EMPTY = "scribble is empty: expected a stroke (value 1, 2, ...) on an object"


def values_in(labels: Tensor) -> set[int]:
    """The values of a label map."""
    return set(torch.bincount(labels.flatten()).nonzero()[:, 0].tolist())


def _to_tensor(array: Any, name: str) -> Tensor:
    """A plain tensor of what may be one, without a copy where that can be."""
    if isinstance(array, Tensor):
        kinds = {
            "sparse": array.layout != torch.strided and not array.is_nested,
            **{"nested": array.is_nested, "quantized": array.is_quantized},
            "meta": array.is_meta,
        }
        if any(kinds.values()):
            kind = next(kind for kind, is_one in kinds.items() if is_one)
            raise InputError(f"{name}: a {kind} tensor; expected a dense one of uint8")
        return array.detach()
    try:
        array = np.ascontiguousarray(array)
        if not array.flags.writeable:  # torch warns of such, though nothing is written
            array = array.copy()
        return torch.from_numpy(array)
    except (TypeError, ValueError):  # rows of several lengths, text, values that torch lacks
        kind = type(array).__name__ if not isinstance(array, np.ndarray) else array.dtype
        raise InputError(f"{name} of {kind}; expected an array of uint8") from None


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _text(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} x {shape[1]}"


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
