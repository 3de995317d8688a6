"""Result masks: palette PNGs that other DAVIS tools read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from rhmnet.visualize import davis_palette


def write_mask(path: str | Path, labels: np.ndarray) -> None:
    """Write a label map as a PNG of indices with the DAVIS palette, moved into place when whole.

    labels: uint8 [H, W], 0 background, 1..N objects.
    """
    path = Path(path)
    image = Image.fromarray(labels, mode="P")
    image.putpalette(davis_palette().tobytes())
    temporary = path.with_name(path.name + ".partial")
    # Level 1: label maps shrink to a few kilobytes at any level, and higher ones take longer.
    image.save(temporary, format="PNG", compress_level=1)
    os.replace(temporary, path)
