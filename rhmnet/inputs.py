"""What users hand to the tracker: images and strokes, checked."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from rhmnet.errors import InputError
from rhmnet.labels import BACKGROUND, MAX_OBJECTS, from_disk


def check_image(image: np.ndarray | Tensor, size: tuple[int, int] | None = None) -> np.ndarray:
    """An RGB frame as uint8 [H, W, 3]. size: height and width of the video's other frames."""
    image = _to_numpy(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(
            f"image of {image.dtype} {list(image.shape)}; expected uint8 [H, W, 3], RGB"
        )
    if size is not None and image.shape[:2] != size:
        raise InputError(
            f"frame of size {_text(image.shape)} in a video of {_text(size)}; "
            "expected frames of one size"
        )
    return image


def check_scribble(
    scribble: np.ndarray | Tensor, size: tuple[int, int], num_objects: int | None
) -> tuple[np.ndarray, int]:
    """Strokes uint8 [H, W] as in memory (background 255), and the number of objects.

    size: the frame's height and width. num_objects: N, or None for the largest in the scribble.
    """
    scribble = _to_numpy(scribble)
    if scribble.dtype != np.uint8 or scribble.ndim != 2:
        raise InputError(
            f"scribble of {scribble.dtype} {list(scribble.shape)}; expected uint8 [H, W]"
        )
    if scribble.shape != size:
        raise InputError(
            f"scribble of size {_text(scribble.shape)} on a frame of {_text(size)}; "
            "expected the frame's size"
        )
    if num_objects is None:
        num_objects = int(scribble[scribble != BACKGROUND].max(initial=0))
        if num_objects == 0:
            raise InputError(EMPTY)
    if not 1 <= num_objects <= MAX_OBJECTS:
        raise InputError(f"num_objects={num_objects}: expected 1..{MAX_OBJECTS}")
    try:
        return from_disk(scribble, num_objects), num_objects
    except ValueError as error:
        raise InputError(f"scribble: {error}; num_objects in start sets the range") from None


EMPTY = "scribble is empty: expected a stroke (value 1, 2, ...) on an object"


def objects_in(strokes: np.ndarray, num_objects: int) -> np.ndarray:
    """bool [O]: the objects that have a stroke in a map as in memory."""
    return np.bincount(strokes.ravel(), minlength=BACKGROUND + 1)[1 : num_objects + 1] > 0


def _to_numpy(array: np.ndarray | Tensor) -> np.ndarray:
    return array.cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)


def _text(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} x {shape[1]}"
