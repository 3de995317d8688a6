"""A JPEG's segments: size, EXIF, and whether its end is there.

OpenCV fills what a truncated JPEG lacks with grey and says nothing. Bytes after the end are no
fault: phones append a film to a photo, cameras their notes.
"""

from __future__ import annotations

import mmap
import re
import struct
from typing import NamedTuple

from rhmnet.files.orientation import UPRIGHT, exif_orientation

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
"""Of compressed pixels, FF is followed by 00 or a restart mark; so any other one ends them."""
_END, _EXIF_SEGMENT, _STANDALONE = 0xD9, 0xE1, (0x01, 0xD8)
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_EXIF = b"Exif\0\0"
PIXELS_PER_BYTE = 1024
"""More than the emptiest JPEG has: of 64 pixels, one bit at least is stored."""


class JpegHeader(NamedTuple):
    """What the segments say."""

    size: tuple[int, int]
    """H, W as stored; zeros where no segment says."""
    orientation: int
    """EXIF's, 1..8."""
    whole: bool
    """Whether the end was found; False, too, if the search ended at the size."""


def inspect(data: bytes | mmap.mmap, size_only: bool = False) -> JpegHeader:
    """Walk through the segments up to the end, or up to the one with the size."""
    size, turn, place = (0, 0), UPRIGHT, 2
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
        elif code == _EXIF_SEGMENT and data[place + 2 : place + 8] == _EXIF and turn == UPRIGHT:
            turn = exif_orientation(bytes(data[place + 8 : place + length]))
        place += max(length, 2)
    return JpegHeader(size, turn, whole=False)
