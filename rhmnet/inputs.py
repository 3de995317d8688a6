"""What users hand to the tracker: images, strokes, numbers; checked, tensors where they lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rhmnet.bounds import check_number
from rhmnet.errors import InputError
from rhmnet.labels import BACKGROUND, MAX_OBJECTS


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


def objects_in(strokes: np.ndarray, num_objects: int) -> np.ndarray:
    """bool [O]: the objects that have a stroke in a map as in memory."""
    return np.bincount(strokes.ravel(), minlength=BACKGROUND + 1)[1 : num_objects + 1] > 0


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
