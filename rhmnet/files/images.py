"""Read images as they are shown, 8-bit RGB and upright, and label maps as the values they hold.

JPEG is decoded by OpenCV, which is what training's loaders spend their time on, BMP with a palette
here (Pillow takes a grey palette for grey values, and then fails on those of less than 8 bits;
OpenCV gives colours, no indices), all else by Pillow.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from rhmnet.errors import InputError
from rhmnet.files.decoding import (
    BMP_MAGIC,
    JPEG_MAGIC,
    PNG_MAGIC,
    check_pixels,
    decoding,
    inspect_jpeg,
    open_header,
    open_pillow,
    refuse_damaged_png,
    refuse_several,
    stored_orientation,
    swaps_sides,
    upright,
)
from rhmnet.files.reading import broken, check_file, read_bytes
from rhmnet.files.writing import picture_bytes, write_bytes, write_picture
from rhmnet.labels import davis_palette

_WANTED = "an image"
_WANTED_LABELS = "a label map (BMP or PNG with a palette, or 8-bit grey)"
_MOST_OVERSHOOT = 0.1  # of floats beyond 0..1, as resizing leaves
_PIXELS_PER_BYTE = 1024  # of the emptiest JPEG: of 64 pixels, one bit at least is stored
_PNG_BITS = 24  # place of the byte that says how many bits a sample has
_FILE_HEADER, _OS2_HEADER, _INFO_HEADER = 14, 12, 40  # bytes of a BMP's
SUSPECT, CERTAIN = 0.4, 0.55
"""Shares of strokes' borders; where strokes merely touch, it is a few per cent."""
_PLATEAU_SHARE = 0.25  # of a patch's pixels that have its label, where it was drawn with one


def read_image(path: str | Path) -> np.ndarray:
    """Read a JPEG, PNG or other picture as uint8 [H, W, 3], RGB, turned as EXIF says.

    Grey is repeated, 16 bits are divided by 256, floats of 0..1 multiplied by 255, alpha dropped.
    Raises InputError that names the file if it is missing, no image, cut off, damaged, too large,
    or holds several frames.
    """
    data = read_bytes(path, _WANTED)
    if data.startswith(JPEG_MAGIC):
        return _read_jpeg(path, data)
    indexed = read_indexed_bmp(path, data) if data.startswith(BMP_MAGIC) else None
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
            header = inspect_jpeg(data, size_only=True)
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
    return not data.startswith(JPEG_MAGIC) or inspect_jpeg(data).whole


def to_rgb(path: str | Path, image: Image.Image) -> np.ndarray:
    """The pixels of a loaded Pillow image as uint8 [H, W, 3]. Raises InputError."""
    with decoding(path, _WANTED):
        if image.mode == "F" or image.mode.startswith("I"):
            grey = _to_bytes(path, np.array(image))
            return np.repeat(grey[..., None], 3, axis=2)
        return np.array(image.convert("RGB"))


def _read_jpeg(path: str | Path, data: bytes) -> np.ndarray:
    header = inspect_jpeg(data)
    height, width = header.size
    check_pixels(path, _WANTED, header.size)
    if not header.whole or height * width > _PIXELS_PER_BYTE * len(data):
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


def read_labels(path: str | Path) -> np.ndarray:
    """Read a scribble or mask as uint8 [H, W]: palette indices, or the values of grey of
    up to 8 bits (0 and 1, of one bit).

    Turned as EXIF says, like the image that it lies on.
    Raises InputError that names the file if it is missing, cut off, damaged, holds several frames,
    or is not such a map (RGB, say).
    """
    data = read_bytes(path, _WANTED_LABELS)
    indexed = read_indexed_bmp(path, data) if data.startswith(BMP_MAGIC) else None
    if indexed is not None:
        return indexed[0]
    if data.startswith(JPEG_MAGIC):  # grey, perhaps, but no longer the values that were saved
        raise InputError(f"{path}: expected {_WANTED_LABELS}, found a JPEG, which changes values")
    with open_pillow(path, data, _WANTED_LABELS) as image:
        if image.mode not in ("P", "L", "1"):
            raise InputError(
                f"{path}: expected {_WANTED_LABELS}, found mode {image.mode}; save values, not "
                "colours"
            )
        labels = np.array(image).astype(np.uint8)
        if image.mode == "L" and data.startswith(PNG_MAGIC) and data[_PNG_BITS] < 8:
            labels //= 255 // (2 ** data[_PNG_BITS] - 1)  # Pillow spreads them over 0..255
        return upright(labels, stored_orientation(data))


def write_mask(path: str | Path, labels: np.ndarray, compress_level: int = 1) -> None:
    """Write a label map as a PNG of indices with the DAVIS palette, moved into place when whole.

    labels, compress_level: as of `mask_bytes`.
    """
    write_bytes(path, mask_bytes(labels, compress_level))


def mask_bytes(labels: np.ndarray, compress_level: int = 1) -> memoryview:
    """What a mask's file holds: a PNG of indices with the DAVIS palette.

    labels: uint8 [H, W], 0 background, 1..N objects. compress_level: 1 to 9; label maps shrink to a
    few kilobytes at any, and higher ones take longer.
    """
    image = Image.fromarray(labels, mode="P")
    image.putpalette(davis_palette().tobytes())
    return picture_bytes(image, "PNG", compress_level=compress_level)


def is_whole_mask(path: Path, size: tuple[int, int]) -> bool:
    """Whether a PNG of this H, W lies there whole, by its check sums; it is not decoded."""
    try:
        data = read_bytes(path, _WANTED_LABELS)
        refuse_damaged_png(path, data, _WANTED_LABELS)
    except InputError:
        return False
    return data.startswith(PNG_MAGIC) and struct.unpack(">II", data[16:24]) == size[::-1]


def write_map(path: str | Path, labels: np.ndarray) -> None:
    """Write a uint8 [H, W] label map as 8-bit BMP, complete or not at all."""
    write_picture(path, Image.fromarray(labels), "BMP")


def is_cut_off(path: Path) -> bool:
    """Whether a BMP has fewer bytes than it says, as where a disk was full."""
    length = _FILE_HEADER + _INFO_HEADER
    with open(path, "rb") as file:
        head = file.read(length)
    said = int.from_bytes(head[2:6], "little") if head.startswith(BMP_MAGIC) else 0
    return len(head) < length or path.stat().st_size < said


def read_indexed_bmp(path: str | Path, data: bytes) -> tuple[np.ndarray, np.ndarray] | None:
    """Indices uint8 [H, W] and colours uint8 [256, 3], RGB; None for a BMP without a palette.

    Raises InputError that names the file if it is damaged.
    """
    if len(data) < _FILE_HEADER + _OS2_HEADER:
        raise broken(path, "a BMP", "it is cut off")
    pixels, header = struct.unpack_from("<II", data, 10)
    palette = _FILE_HEADER + header
    if header == _OS2_HEADER:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression, step, colours = 0, 3, 1 << min(bits, 8)
    elif header >= _INFO_HEADER:
        if len(data) < palette:
            raise broken(path, "a BMP", "it is cut off")
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
        step, colours = 4, struct.unpack_from("<I", data, 46)[0] or 1 << min(bits, 8)
    else:
        return None
    if bits not in (1, 4, 8) or width <= 0 or height == 0:
        return None
    check_pixels(path, "a BMP", (abs(height), width))
    colours = min(colours, 256)
    if not palette + step * colours <= pixels <= len(data):
        raise broken(path, "a BMP", "its palette and its pixels overlap, or it is cut off")
    table = np.zeros((256, 3), np.uint8)
    stored = np.frombuffer(data, np.uint8, step * colours, palette).reshape(colours, step)
    table[:colours] = stored[:, 2::-1]
    if bits == 8 and compression == 0:
        return _uncompressed(path, data, pixels, (height, width)), table
    # a palette that begins with no grey, so that Pillow gives indices
    changed = data[:palette] + b"\1\2\3" + data[palette + 3 :]
    with open_pillow(path, changed, "a BMP") as image:
        return np.array(image), table


def _uncompressed(path: str | Path, data: bytes, pixels: int, size: tuple[int, int]) -> np.ndarray:
    """What scribbles are stored as; reading it here takes a quarter of Pillow's time."""
    height, width = size
    stride = (width + 3) // 4 * 4
    rows = abs(height)
    if len(data) < pixels + stride * rows:
        raise broken(path, "a BMP", "it is cut off")
    indices = np.frombuffer(data, np.uint8, stride * rows, pixels).reshape(rows, stride)[:, :width]
    return np.ascontiguousarray(indices[::-1] if height > 0 else indices)


def is_blended(labels: np.ndarray, share: float) -> bool:
    """Whether steps from stroke to nothing pass through labels in between.

    They do where strokes were anti-aliased, or resized by interpolation: hardly any label above
    the lowest then lies directly beside 0. labels: uint8 [H, W]; share: SUSPECT or CERTAIN.
    """
    square = np.ones((3, 3), np.uint8)
    by_nothing = (labels > 0) & (cv2.erode(labels, square) == 0)
    if not by_nothing.any():
        return False
    between = by_nothing & (cv2.dilate(labels, square) > labels)
    direct = by_nothing & ~between & (labels > labels[labels > 0].min())
    fringe = np.count_nonzero(between)
    return fringe > 8 and fringe > share * (fringe + np.count_nonzero(direct))


def join_blends(labels: np.ndarray) -> np.ndarray | None:
    """The map without its blends, where it is clear what they are of: uint8 [H, W]; else None.

    It is clear where every patch of strokes has one label, the largest in it, and much of it; the
    pixels that reach half of that label are the stroke's. Patches of two labels are not clear.
    """
    count, patches = cv2.connectedComponents((labels > 0).astype(np.uint8), connectivity=8)
    flat, values = patches.ravel(), labels.ravel()
    top = np.zeros(count, np.uint8)
    np.maximum.at(top, flat, values)
    top[0] = 0
    sizes = np.bincount(flat, minlength=count)
    reached = np.bincount(flat, values == top[flat], minlength=count)
    if count < 2 or not (reached[1:] >= _PLATEAU_SHARE * sizes[1:]).all():
        return None
    # a label of its own inside a patch, beside nothing: a second stroke that touches
    inner = (values > 0) & (values < top[flat])
    shades = np.bincount(values[inner], minlength=256)
    if (shades > _PLATEAU_SHARE * np.count_nonzero(values)).any():
        return None
    joined = np.where(2 * labels.astype(int) >= top[patches], top[patches], 0)
    return joined.astype(np.uint8)


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Shrink uint8 [H, W, 3] by averaging the pixels that fall together; itself if it fits."""
    if image.shape[:2] == size:
        return image
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
