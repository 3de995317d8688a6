"""BMP with a palette: indices and colours apart.

Pillow takes a grey palette for grey values, and then fails on those of less than 8 bits.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from rhmnet.files.decoding import broken, check_pixels, open_pillow

_FILE_HEADER, _OS2_HEADER, _INFO_HEADER = 14, 12, 40
_WANTED = "a BMP"


def read_indexed(path: str | Path, data: bytes) -> tuple[np.ndarray, np.ndarray] | None:
    """Indices uint8 [H, W] and colours uint8 [256, 3], RGB; None for a BMP without a palette.

    Raises InputError that names the file if it is damaged.
    """
    if len(data) < _FILE_HEADER + _OS2_HEADER:
        raise broken(path, _WANTED, "it is cut off")
    pixels, header = struct.unpack_from("<II", data, 10)
    palette = _FILE_HEADER + header
    if header == _OS2_HEADER:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression, step, colours = 0, 3, 1 << min(bits, 8)
    elif header >= _INFO_HEADER:
        if len(data) < palette:
            raise broken(path, _WANTED, "it is cut off")
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
        step, colours = 4, struct.unpack_from("<I", data, 46)[0] or 1 << min(bits, 8)
    else:
        return None
    if bits not in (1, 4, 8) or width <= 0 or height == 0:
        return None
    check_pixels(path, _WANTED, (abs(height), width))
    colours = min(colours, 256)
    if not palette + step * colours <= pixels <= len(data):
        raise broken(path, _WANTED, "its palette and its pixels overlap, or it is cut off")
    table = np.zeros((256, 3), np.uint8)
    stored = np.frombuffer(data, np.uint8, step * colours, palette).reshape(colours, step)
    table[:colours] = stored[:, 2::-1]
    if bits == 8 and compression == 0:
        return _plain(path, data, pixels, (height, width)), table
    # a palette that begins with no grey, so that Pillow gives indices
    changed = data[:palette] + b"\1\2\3" + data[palette + 3 :]
    with open_pillow(path, changed, _WANTED) as image:
        return np.array(image), table


def _plain(path: str | Path, data: bytes, pixels: int, size: tuple[int, int]) -> np.ndarray:
    """What scribbles are stored as; reading it here takes a quarter of Pillow's time."""
    height, width = size
    stride = (width + 3) // 4 * 4
    rows = abs(height)
    if len(data) < pixels + stride * rows:
        raise broken(path, _WANTED, "it is cut off")
    indices = np.frombuffer(data, np.uint8, stride * rows, pixels).reshape(rows, stride)[:, :width]
    return np.ascontiguousarray(indices[::-1] if height > 0 else indices)
