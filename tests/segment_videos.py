"""Little videos as phones and cameras make them: numbered frames, turned, of varying rate."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np

from rhmnet.files.source import Source

_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}


def write_video(path: Path, frames: int, size: tuple[int, int] = (48, 64), code: str = "mp4v"):
    """A video whose frame i is told by `number_of`; size: H, W."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 25, size[::-1])
    for index in range(frames):
        writer.write(numbered(index, size))
    writer.release()
    return path


def numbered(index: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """uint8 [H, W, 3]: eight blocks, bright where a bit of the number is set; lowest at left."""
    bits = np.array([(index >> bit) & 1 for bit in range(8)]).repeat(size[1] // 8)
    row = np.pad(bits, (0, size[1] - len(bits))) * 200 + 20
    return np.broadcast_to(row[None, :, None], (*size, 3)).astype(np.uint8)


def number_of(image: np.ndarray) -> int:
    """The number of a frame, whatever compression did to it."""
    blocks = image[..., 0].mean(0)[: image.shape[1] // 8 * 8].reshape(8, -1).mean(1)
    return int(sum(1 << bit for bit in range(8) if blocks[bit] > 120))


def numbers(source: Source, start: int, backward: bool = False) -> list[int]:
    """The numbers of the frames that a source hands out."""
    read = source.backward if backward else source.forward
    return [number_of(image) for image in read(start, source.size)]


def turn(path: Path) -> None:
    """Say in an mp4's track header that it is to be shown turned by 90 degrees, as phones do."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: the matrix comes after 40 bytes
    data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def begin_at(path: Path, first: int) -> None:
    """Say in an mp4's edit list that it begins with a frame after its first one, as cutters do."""
    data = bytearray(path.read_bytes())
    count, length = struct.unpack_from(">II", data, data.index(b"stts") + 12)  # frames, of each
    at = data.index(b"elst") + 12  # version 0, one entry: duration, where it begins, rate
    (duration,) = struct.unpack_from(">I", data, at)
    struct.pack_into(">Ii", data, at, duration * (count - first) // count, first * length)
    path.write_bytes(data)


def vary_rate(path: Path, stretch: dict[int, int]) -> None:
    """Show some frames of an mp4 for longer. stretch: {frame: how many times as long}."""
    path.write_bytes(_rewrite(path.read_bytes(), stretch))


def _rewrite(data: bytes, stretch: dict[int, int]) -> bytes:
    """Boxes one after the other, the table of durations replaced by a longer one."""
    out, at = b"", 0
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + length]
        if kind in _CONTAINERS:
            body = _rewrite(body, stretch)
        elif kind == b"stts":
            (count, duration) = struct.unpack_from(">II", body, 8)
            shares = [stretch.get(i, 1) for i in range(count)]  # of the length as it was
            entries = [(1, count * duration * share // sum(shares)) for share in shares]
            body = struct.pack(">II", 0, count) + b"".join(struct.pack(">II", *e) for e in entries)
        out += struct.pack(">I4s", len(body) + 8, kind) + body
        at += length
    return out
