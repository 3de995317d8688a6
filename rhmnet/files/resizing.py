"""Tracking at another size than the frames': down and back."""

from __future__ import annotations

import cv2
import numpy as np

Size = tuple[int, int]
"""H, W in pixels."""


def capped_size(size: Size, width: int | None) -> Size:
    """The size at which frames are tracked: not wider than `width`, of the same shape."""
    if width is None or size[1] <= width:
        return size
    return max(1, round(size[0] * width / size[1])), width


def resize_image(image: np.ndarray, size: Size) -> np.ndarray:
    """Shrink uint8 [H, W, 3] by averaging the pixels that fall together."""
    if image.shape[:2] == size:
        return image
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)


def resize_labels(labels: np.ndarray, size: Size) -> np.ndarray:
    """Resize a label map uint8 [H, W]: each pixel takes the value of the nearest one."""
    if labels.shape == size:
        return labels
    return cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
