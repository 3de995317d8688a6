"""Read label maps: palette indices, which OpenCV would turn into colours, and values of grey."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from rhmnet.errors import InputError
from rhmnet.files.decoding import BMP_MAGIC, PNG_MAGIC, broken, open_pillow, read_bytes


def read_labels(path: str | Path) -> np.ndarray:
    """Read a scribble or mask as uint8 [H, W]: palette indices, or the values of 8-bit grey.

    Raises InputError that names the file if it is missing, cut off, or not such a map (RGB, say).
    """
    wanted = "a label map (BMP or PNG with a palette, or 8-bit grey)"
    data = read_bytes(path, wanted)
    if data.startswith(BMP_MAGIC):
        labels = _plain_bmp(path, data)
        if labels is not None:
            return labels
    with open_pillow(path, data, wanted) as image:
        shallow = data.startswith(PNG_MAGIC) and image.mode != "P" and data[24] != 8
        if image.mode not in ("P", "L") or shallow:
            found = f"mode {image.mode}"
            raise InputError(f"{path}: expected {wanted}, found {found}; save values, not colours")
        return np.array(image)


def _plain_bmp(path: str | Path, data: bytes) -> np.ndarray | None:
    """The indices of an uncompressed 8-bit BMP, or None for any other kind.

    It is what scribbles are stored as; reading it here takes a quarter of Pillow's time, and keeps
    indices whatever the palette (Pillow reads a two-colour one as black and white).
    """
    if len(data) < 54:
        raise broken(path, "a BMP", "it is cut off")
    offset, header, width, height, _, bits, compression = struct.unpack_from("<IIiiHHI", data, 10)
    if header < 40 or bits != 8 or compression != 0 or width <= 0 or height == 0:
        return None
    stride = (width + 3) // 4 * 4
    rows = abs(height)
    if len(data) < offset + stride * rows:
        raise broken(path, "a BMP", "it is cut off")
    pixels = np.frombuffer(data, np.uint8, stride * rows, offset).reshape(rows, stride)[:, :width]
    return np.ascontiguousarray(pixels[::-1] if height > 0 else pixels)
