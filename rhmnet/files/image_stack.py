"""Frames in one image file: a TIFF stack, an animated GIF, PNG or WebP."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from rhmnet.errors import InputError
from rhmnet.files.decoding import (
    MAX_PIXELS,
    check_pixels,
    decoding,
    open_header,
    pages_of,
    refuse_damaged_png,
    stored_orientation,
    swaps_sides,
    upright,
)
from rhmnet.files.image_sequence import DEFAULT_FPS, Frames
from rhmnet.files.images import to_rgb
from rhmnet.files.reading import check_file, read_bytes
from rhmnet.files.video_file import file_identity, frames_at_once
from rhmnet.inputs import resize_image

_WANTED = "a stack of frames"
_MAX_PIXELS = MAX_PIXELS // 4  # of a frame: an animation's decoder holds several


def count_frames(path: Path) -> int:
    """The number of frames in an image file. Raises InputError if it is none."""
    check_file(path, "an image")
    with decoding(path, "an image"), open(path, "rb") as file:
        return len(pages_of(open_header(path, file, "an image")))


class ImageStack:
    """A `Source` of one image file. The file is held in memory, its frames are not.

    Raises InputError for a file that is damaged, and for frames of several sizes.
    """

    def __init__(self, path: Path, fps: float | None = None) -> None:
        self.name = path.stem
        self.note = None
        self._path = path
        self._wanted_fps = fps
        self._data = read_bytes(path, _WANTED)
        refuse_damaged_png(path, self._data, _WANTED)
        self._orientation = stored_orientation(self._data)
        with decoding(path, _WANTED), self._open() as image:
            self._pages = pages_of(image)
            size = image.size[::-1]
            check_pixels(path, _WANTED, size, _MAX_PIXELS)
            for page in self._pages if image.format == "TIFF" else ():  # others have one canvas
                image.seek(page)
                if image.size[::-1] != size:
                    raise InputError(
                        f"{path}: frame {page} has {image.size[0]}x{image.size[1]} pixels, the "
                        f"first {size[1]}x{size[0]}; expected frames of one size"
                    )
        self.size = size[::-1] if swaps_sides(self._orientation) else size

    def count(self) -> int:
        return len(self._pages)

    def count_exactly(self) -> int:
        return len(self._pages)

    def frame_number(self, stem: str) -> int | None:
        return int(stem) if stem.isdecimal() else None

    def frame_name(self, index: int) -> str:
        return f"{index:05d}"

    def fps(self) -> float:
        """What was asked for; else the mean that an animation says; else that of images."""
        if self._wanted_fps:
            return self._wanted_fps
        milliseconds = 0.0
        with decoding(self._path, _WANTED), self._open() as image:
            for page in self._pages if image.format != "TIFF" else ():
                image.seek(page)
                image.load()
                milliseconds += image.info.get("duration", 0)
        return 1000 * len(self._pages) / milliseconds if milliseconds > 0 else DEFAULT_FPS

    def forward(self, start: int, size: tuple[int, int]) -> Frames:
        yield from self._read(start, len(self._pages), size)

    def backward(self, start: int, size: tuple[int, int]) -> Frames:
        """Decodes forward in chunks of bounded size, the last one first; each comes reversed."""
        chunk = frames_at_once(size)
        for end in range(start + 1, 0, -chunk):
            images = list(self._read(max(0, end - chunk), end, size))
            while images:
                yield images.pop()

    def identity(self) -> dict[str, object]:
        return file_identity(self._path)

    def _read(self, begin: int, end: int, size: tuple[int, int]) -> Frames:
        with self._open() as image:
            for page in self._pages[begin:end]:
                yield resize_image(self._decode(image, page), size)

    def _decode(self, image: Image.Image, page: int) -> np.ndarray:
        """uint8 [H, W, 3] of a page."""
        with decoding(self._path, f"{_WANTED} (frame {page})"):
            image.seek(page)
            image.load()
        return upright(to_rgb(self._path, image), self._orientation)

    def _open(self) -> Image.Image:
        with decoding(self._path, _WANTED):
            return open_header(self._path, io.BytesIO(self._data), _WANTED)
