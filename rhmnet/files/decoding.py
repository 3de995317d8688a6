"""Bytes of image files, checked and decoded; what is wrong becomes one line that names the file.

Decoders trust their input more than is good: Pillow skips the check sums of PNG pixels, and what
its plugins raise on damaged bytes is anything. OpenCV fills what a truncated JPEG lacks with grey
and says nothing. So all of it is dealt with here, once. Also what EXIF says of how a camera was
held, as every viewer applies it.
"""

from __future__ import annotations

import functools
import io
import mmap
import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from rhmnet.errors import InputError
from rhmnet.files.reading import broken

JPEG_MAGIC, PNG_MAGIC, BMP_MAGIC = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM"
MAX_PIXELS = 1 << 27
"""Pixels of the largest image that is decoded (16384x8192); a header may say anything."""
_FORMATS = {"AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP"}
"""No format is among them that runs a program to be read (EPS), or that holds no pixels."""
_REDUCED_OR_MASK = 1 | 4  # bits of TIFF's NewSubfileType: a page that shows another one
_NEW_SUBFILE_TYPE = 254
_MOST_INFLATED = 1032  # bytes that deflate makes of one, at most
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""{colour type: samples a pixel}"""
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
"""Of compressed pixels, FF is followed by 00 or a restart mark; so any other one ends them."""
_END, _EXIF_SEGMENT, _STANDALONE = 0xD9, 0xE1, (0x01, 0xD8)
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_EXIF = b"Exif\0\0"
_UPRIGHT = 1
_TURN_RIGHT, _TURN_LEFT, _HALF = (
    cv2.ROTATE_90_CLOCKWISE,
    cv2.ROTATE_90_COUNTERCLOCKWISE,
    cv2.ROTATE_180,
)


def open_pillow(path: str | Path, data: bytes, wanted: str) -> Image.Image:
    """A Pillow image whose pixels are loaded, so that a cut-off file has shown itself.

    Raises InputError for damage, and for a file of several frames.
    """
    refuse_damaged_png(path, data, wanted)
    with decoding(path, wanted):
        image = open_header(path, io.BytesIO(data), wanted)
        refuse_several(path, image)
        image.load()
    return image


def open_header(path: str | Path, file: io.BufferedIOBase, wanted: str) -> Image.Image:
    """A Pillow image whose pixels are not loaded yet. Inside `decoding`."""
    _silence_pillow()
    image = Image.open(file)
    if image.format not in _FORMATS:
        raise broken(path, wanted, f"it is {image.format}")
    check_pixels(path, wanted, image.size[::-1])
    if image.format == "TIFF" and image.info.get("compression") == "raw":
        pixels, length = image.width * image.height, file.seek(0, os.SEEK_END)
        if pixels > 8 * length:  # one bit each, at least
            raise broken(path, wanted, "it is cut off")
    return image


@functools.cache
def _silence_pillow() -> None:
    """What its warnings tell of a file is an error here, or of no interest, as of odd metadata."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


def check_pixels(
    path: str | Path, wanted: str, size: tuple[int, int], most: int = MAX_PIXELS
) -> None:
    """Refuse a size (H, W) that no frame has, before memory is taken for it."""
    if size[0] * size[1] > most:
        raise broken(
            path, wanted, f"its header says {size[1]}x{size[0]} pixels, {most} are the most"
        )


def pages_of(image: Image.Image) -> list[int]:
    """Numbers of the frames in a file: TIFF stacks and animations have several.

    Pages of a TIFF that show another one smaller, or mask it, are none.
    """
    count = getattr(image, "n_frames", 1)
    if image.format != "TIFF" or count == 1:
        return list(range(count if image.format != "MPO" else 1))
    pages = []
    for page in range(count):
        image.seek(page)
        if not int(image.tag_v2.get(_NEW_SUBFILE_TYPE, 0)) & _REDUCED_OR_MASK:
            pages.append(page)
    image.seek(0)
    return pages or [0]


def refuse_several(path: str | Path, image: Image.Image) -> None:
    """Raise InputError where a file holds several frames. Inside `decoding`."""
    count = len(pages_of(image))
    if count > 1:
        raise InputError(
            f"{path}: holds {count} frames, expected one image a file; save each frame as a file "
            "of its own (only scripts/segment.py takes such a file, alone, as a video)"
        )


@contextmanager
def decoding(path: str | Path, wanted: str) -> Iterator[None]:
    """Whatever a decoder raises inside becomes an InputError that names the file."""
    try:
        yield
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise broken(path, wanted, f"its header says more than {MAX_PIXELS} pixels") from None
    except UnidentifiedImageError:
        raise broken(path, wanted, "it is no image of a kind known here (PNG is)") from None
    except MemoryError:
        raise broken(path, wanted, "there is not enough memory for it") from None
    except Exception as error:  # of damaged bytes: KeyError, TypeError, struct.error, ...
        said = " ".join(str(error).split()).replace("<_io.", "<")
        raise broken(path, wanted, said or type(error).__name__) from None


def refuse_damaged_png(path: str | Path, data: bytes, wanted: str) -> None:
    """Raise InputError for a PNG that is cut off, or whose chunks do not fit their check sums."""
    fault = _png_fault(data) if data.startswith(PNG_MAGIC) else None
    if fault:
        raise broken(path, wanted, fault)


def _png_fault(data: bytes) -> str | None:
    view = memoryview(data)
    for kind, begin, end in _png_chunks(data):
        if end + 4 > len(data):
            break
        if zlib.crc32(view[begin - 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return f"its chunk {kind.decode('ascii', 'backslashreplace')} is damaged (CRC)"
        if kind == b"IHDR" and end - begin == 13:
            width, height, bits, colour = struct.unpack_from(">IIBB", data, begin)
            row = 1 + width * bits * _CHANNELS.get(colour, 1) // 8
            if row * height > _MOST_INFLATED * len(data):
                return f"it is cut off: {len(data)} bytes are too few for {width}x{height} pixels"
        if kind == b"IEND":
            return None
    return "it is cut off"


def _png_exif(data: bytes | mmap.mmap) -> bytes:
    """The content of the eXIf chunk; empty where there is none."""
    for kind, begin, end in _png_chunks(data):
        if kind == b"eXIf":
            return bytes(data[begin:end])
    return b""


def _png_chunks(data: bytes | mmap.mmap) -> Iterator[tuple[bytes, int, int]]:
    """(kind, begin and end of the content) of each chunk up to IEND, the last perhaps cut off."""
    place, kind = len(PNG_MAGIC), b""
    while kind != b"IEND" and place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        yield kind, place + 8, place + 8 + length
        place += 12 + length


class JpegHeader(NamedTuple):
    """What the segments say."""

    size: tuple[int, int]
    """H, W as stored; zeros where no segment says."""
    orientation: int
    """EXIF's, 1..8."""
    whole: bool
    """Whether the end was found; False, too, if the search ended at the size."""


def inspect_jpeg(data: bytes | mmap.mmap, size_only: bool = False) -> JpegHeader:
    """Walk through the segments up to the end, or up to the one with the size."""
    size, turn, place = (0, 0), _UPRIGHT, 2
    while match := _MARKER.search(data, place):
        place = match.end()
        code = data[place - 1]
        if code == _END:
            return JpegHeader(size, turn, whole=True)
        if code in _STANDALONE:
            continue
        if place + 7 > len(data):
            break
        length = struct.unpack_from(">H", data, place)[0]
        if code in _FRAMES and size == (0, 0):
            size = struct.unpack_from(">HH", data, place + 3)
            if size_only:
                break
        elif code == _EXIF_SEGMENT and data[place + 2 : place + 8] == _EXIF and turn == _UPRIGHT:
            turn = _exif_orientation(bytes(data[place + 8 : place + length]))
        place += max(length, 2)
    return JpegHeader(size, turn, whole=False)


def stored_orientation(data: bytes | mmap.mmap) -> int:
    """What EXIF says in a PNG or WebP; 1 for others: Pillow turns TIFF itself."""
    if data[:8] == PNG_MAGIC:
        return _exif_orientation(_png_exif(data))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _exif_orientation(_webp_exif(data))
    return _UPRIGHT


def _webp_exif(data: bytes | mmap.mmap) -> bytes:
    place = 12
    while place + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, place)
        if kind == b"EXIF":
            return bytes(data[place + 8 : place + 8 + length])
        place += 8 + length + length % 2
    return b""


def _exif_orientation(tiff: bytes) -> int:
    """The orientation, 1..8, in an EXIF block; 1 where it says none, or nothing sensible."""
    _silence_pillow()
    exif = Image.Exif()
    try:
        exif.load(tiff)
        value = exif.get(ExifTags.Base.Orientation)
    except Exception:  # of damaged bytes Pillow raises anything
        return _UPRIGHT
    return value if value in range(1, 9) else _UPRIGHT


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
