"""Result masks: palette PNGs that other tools read, and the zip that the server takes."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from rhmnet.files.writing import new_file, write_picture
from rhmnet.visualize import davis_palette


def write_mask(path: str | Path, labels: np.ndarray) -> None:
    """Write a label map as a PNG of indices with the DAVIS palette, moved into place when whole.

    labels: uint8 [H, W], 0 background, 1..N objects.
    """
    image = Image.fromarray(labels, mode="P")
    image.putpalette(davis_palette().tobytes())
    # Level 1: label maps shrink to a few kilobytes at any level, and higher ones take longer.
    write_picture(path, image, "PNG", compress_level=1)


def write_zip(path: str | Path, folder: Path, masks: Iterable[Path]) -> None:
    """Pack masks, by their names inside `folder`; the same masks give the same bytes.

    Moved into place when whole.
    """
    # PNGs don't shrink any further.
    with new_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for mask in sorted(masks):
            name = mask.relative_to(folder).as_posix()
            entry = zipfile.ZipInfo(name)  # dated 1980, whenever the mask was written
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, mask.read_bytes())
