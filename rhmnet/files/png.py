"""PNG chunks: their check sums, which decoders skip, and what EXIF says in one."""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator

MAGIC = b"\x89PNG\r\n\x1a\n"
_MOST_INFLATED = 1032  # bytes that deflate makes of one, at most
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""{colour type: samples a pixel}"""


def find_fault(data: bytes) -> str | None:
    """What is wrong with a PNG, in words: cut off, or a chunk that its check sum does not fit."""
    view = memoryview(data)
    for kind, begin, end in chunks(data):
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


def find_exif(data: bytes | mmap.mmap) -> bytes:
    """The content of the eXIf chunk; empty where there is none."""
    for kind, begin, end in chunks(data):
        if kind == b"eXIf":
            return bytes(data[begin:end])
    return b""


def chunks(data: bytes | mmap.mmap) -> Iterator[tuple[bytes, int, int]]:
    """(kind, begin and end of the content) of each chunk up to IEND, the last perhaps cut off."""
    place, kind = len(MAGIC), b""
    while kind != b"IEND" and place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        yield kind, place + 8, place + 8 + length
        place += 12 + length
