"""Label maps: palette indices, which OpenCV would turn into colours, and values of grey."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from rhmnet.errors import InputError
from rhmnet.files import png
from rhmnet.files.bmp import read_indexed
from rhmnet.files.decoding import BMP_MAGIC, JPEG_MAGIC, open_pillow, read_bytes
from rhmnet.files.images import stored_orientation
from rhmnet.files.orientation import upright
from rhmnet.files.writing import write_picture
from rhmnet.labels import davis_palette

_WANTED = "a label map (BMP or PNG with a palette, or 8-bit grey)"
_BMP_HEAD = 54  # bytes before a BMP's colours
_PNG_BITS = 24  # place of the byte that says how many bits a sample has


def read_labels(path: str | Path) -> np.ndarray:
    """Read a scribble or mask as uint8 [H, W]: palette indices, or the values of grey of
    up to 8 bits (0 and 1, of one bit).

    Turned as EXIF says, like the image that it lies on.
    Raises InputError that names the file if it is missing, cut off, damaged, holds several frames,
    or is not such a map (RGB, say).
    """
    data = read_bytes(path, _WANTED)
    indexed = read_indexed(path, data) if data.startswith(BMP_MAGIC) else None
    if indexed is not None:
        return indexed[0]
    if data.startswith(JPEG_MAGIC):  # grey, perhaps, but no longer the values that were saved
        raise InputError(f"{path}: expected {_WANTED}, found a JPEG, which changes values")
    with open_pillow(path, data, _WANTED) as image:
        if image.mode not in ("P", "L", "1"):
            found = f"mode {image.mode}"
            raise InputError(f"{path}: expected {_WANTED}, found {found}; save values, not colours")
        labels = np.array(image).astype(np.uint8)
        if image.mode == "L" and data.startswith(png.MAGIC) and data[_PNG_BITS] < 8:
            labels = labels // (
                255 // (2 ** data[_PNG_BITS] - 1)
            )  # Pillow spreads them over 0..255
        return upright(labels, stored_orientation(data))


def write_mask(path: str | Path, labels: np.ndarray, compress_level: int = 1) -> None:
    """Write a label map as a PNG of indices with the DAVIS palette, moved into place when whole.

    labels: uint8 [H, W], 0 background, 1..N objects. compress_level: 1 to 9; label maps shrink to a
    few kilobytes at any, and higher ones take longer.
    """
    image = Image.fromarray(labels, mode="P")
    image.putpalette(davis_palette().tobytes())
    write_picture(path, image, "PNG", compress_level=compress_level)


def write_map(path: str | Path, labels: np.ndarray) -> None:
    """Write a uint8 [H, W] label map as 8-bit BMP, complete or not at all."""
    write_picture(path, Image.fromarray(labels), "BMP")


def is_cut_off(path: Path) -> bool:
    """Whether a BMP has fewer bytes than it says, as where a disk was full."""
    with open(path, "rb") as file:
        head = file.read(_BMP_HEAD)
    said = int.from_bytes(head[2:6], "little") if head.startswith(b"BM") else 0
    return len(head) < _BMP_HEAD or path.stat().st_size < said
