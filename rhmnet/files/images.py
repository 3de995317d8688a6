"""Read images as they are shown: 8-bit RGB, upright.

JPEG is decoded by OpenCV, which is what training's loaders spend their time on, all else by Pillow.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from rhmnet.errors import InputError
from rhmnet.files import jpeg, png
from rhmnet.files.bmp import read_indexed
from rhmnet.files.decoding import (
    BMP_MAGIC,
    JPEG_MAGIC,
    broken,
    check_file,
    check_pixels,
    decoding,
    open_header,
    open_pillow,
    read_bytes,
    refuse_several,
)
from rhmnet.files.orientation import UPRIGHT, exif_orientation, swaps_sides, upright

_WANTED = "an image"
_MOST_OVERSHOOT = 0.1  # of floats beyond 0..1, as resizing leaves


def read_image(path: str | Path) -> np.ndarray:
    """Read a JPEG, PNG or other picture as uint8 [H, W, 3], RGB, turned as EXIF says.

    Grey is repeated, 16 bits are divided by 256, floats of 0..1 multiplied by 255, alpha dropped.
    Raises InputError that names the file if it is missing, no image, cut off, damaged, too large,
    or holds several frames.
    """
    data = read_bytes(path, _WANTED)
    if data.startswith(JPEG_MAGIC):
        return _read_jpeg(path, data)
    indexed = read_indexed(path, data) if data.startswith(BMP_MAGIC) else None
    if indexed is not None:
        indices, colours = indexed
        return colours[indices]
    with open_pillow(path, data, _WANTED) as image:
        return upright(to_rgb(path, image), stored_orientation(data))


def image_size(path: str | Path) -> tuple[int, int]:
    """H, W of the image that `read_image` gives, of its header alone; its pixels may be damaged."""
    check_file(path, _WANTED)
    with (
        decoding(path, _WANTED),
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        if data[:3] == JPEG_MAGIC:
            header = jpeg.inspect(data, size_only=True)
            size, turn = header.size, header.orientation
            check_pixels(path, _WANTED, size)
        else:
            with open_header(path, file, _WANTED) as image:
                refuse_several(path, image)
                size, turn = image.size[::-1], stored_orientation(data)
    if 0 in size:
        raise broken(path, _WANTED, "it says no size")
    return size[::-1] if swaps_sides(turn) else size


def is_whole_jpeg(path: Path) -> bool:
    """False for a JPEG that is cut off; True for one with its end, and for any other file."""
    data = read_bytes(path, _WANTED)
    return not data.startswith(JPEG_MAGIC) or jpeg.inspect(data).whole


def to_rgb(path: str | Path, image: Image.Image) -> np.ndarray:
    """The pixels of a loaded Pillow image as uint8 [H, W, 3]. Raises InputError."""
    with decoding(path, _WANTED):
        if image.mode == "F" or image.mode.startswith("I"):
            grey = _to_bytes(path, np.array(image))
            return np.repeat(grey[..., None], 3, axis=2)
        return np.array(image.convert("RGB"))


def stored_orientation(data: bytes | mmap.mmap) -> int:
    """What EXIF says in a PNG or WebP; 1 for others: Pillow turns TIFF itself."""
    if data[:8] == png.MAGIC:
        return exif_orientation(png.find_exif(data))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return exif_orientation(_webp_exif(data))
    return UPRIGHT


def _read_jpeg(path: str | Path, data: bytes) -> np.ndarray:
    header = jpeg.inspect(data)
    height, width = header.size
    check_pixels(path, _WANTED, header.size)
    if not header.whole or height * width > jpeg.PIXELS_PER_BYTE * len(data):
        raise broken(path, _WANTED, "it is cut off")
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    with decoding(path, _WANTED):
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if bgr is None:
        raise broken(path, _WANTED, "it cannot be decoded")
    return upright(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr), header.orientation)


def _to_bytes(path: str | Path, values: np.ndarray) -> np.ndarray:
    """Grey of 16 bits, or floats of 0..1, as uint8 of the same shape."""
    least, most = values.min(), values.max()
    if values.dtype.kind == "f":
        if least >= -_MOST_OVERSHOOT and most <= 1 + _MOST_OVERSHOOT:  # NaN is neither
            return (values.clip(0, 1) * 255).round().astype(np.uint8)
        expected = "floats of 0..1"
    else:
        if least >= 0 and most < 1 << 16:
            return (values >> 8).astype(np.uint8)
        expected = "whole numbers of 0..65535"
    raise InputError(
        f"{path}: grey values from {least:g} to {most:g}, expected {expected}; scale them, or save "
        "8 bits"
    )


def _webp_exif(data: bytes | mmap.mmap) -> bytes:
    place = 12
    while place + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, place)
        if kind == b"EXIF":
            return bytes(data[place + 8 : place + 8 + length]).removeprefix(b"Exif\0\0")
        place += 8 + length + length % 2
    return b""
