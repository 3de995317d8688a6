"""Pictures upright: what EXIF says of how a camera was held, as every viewer applies it."""

from __future__ import annotations

import struct

import cv2
import numpy as np

UPRIGHT = 1
_ORIENTATION, _SHORT = 0x0112, 3
_TURN_RIGHT, _TURN_LEFT, _HALF = (
    cv2.ROTATE_90_CLOCKWISE,
    cv2.ROTATE_90_COUNTERCLOCKWISE,
    cv2.ROTATE_180,
)


def exif_orientation(tiff: bytes) -> int:
    """The orientation, 1..8, in an EXIF block; 1 where it says none, or nothing sensible."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return UPRIGHT
    try:
        (entries,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, entries)
        for entry in range(entries + 2, entries + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", tiff, entry)
            if tag == _ORIENTATION:
                form = f"{order}{'H' if kind == _SHORT else 'I'}"
                (value,) = struct.unpack_from(form, tiff, entry + 8)
                return value if 1 <= value <= 8 else UPRIGHT
    except struct.error:
        pass
    return UPRIGHT


def swaps_sides(orientation: int) -> bool:
    """Whether an orientation makes width of height."""
    return orientation >= 5


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn uint8 [H, W] or [H, W, 3] as an orientation says; 1 gives back the same array."""
    turns = {3: _HALF, 4: _HALF, 5: _TURN_RIGHT, 6: _TURN_RIGHT, 7: _TURN_LEFT, 8: _TURN_LEFT}
    if orientation in turns:
        pixels = cv2.rotate(pixels, turns[orientation])
    if orientation in (2, 4, 5, 7):  # mirrored
        pixels = cv2.flip(pixels, 1)
    return pixels
