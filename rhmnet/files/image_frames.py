"""Frames as images: files in an order, or one file that holds several (TIFF stack, animation)."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
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
from rhmnet.files.images import image_size, read_image, to_rgb
from rhmnet.files.reading import check_file, read_bytes
from rhmnet.files.video_file import file_identity

_WANTED = "a stack of frames"
_MAX_PIXELS = MAX_PIXELS // 4  # of a frame: an animation's decoder holds several


class ImageSequence:
    """A reader (see `Source`) of image files in a given order.

    Raises InputError for sizes that differ, and for two files whose masks would have one name.
    """

    note = None
    each_alone = True

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self.stems = [path.stem for path in paths]
        last = {path.stem: index for index, path in enumerate(paths)}
        if len(last) < len(paths):
            twice = next(p for i, p in enumerate(paths) if last[p.stem] != i)
            raise InputError(
                f"{twice}: another frame has the same name but for the suffix, and so would its "
                f"mask; pick one kind by a pattern, as in '{twice.parent}/*{twice.suffix}'"
            )
        self.size = image_size(paths[0])
        for path in paths:  # headers alone: better now than after an hour
            if image_size(path) != self.size:
                raise InputError(
                    f"{path}: {_text(image_size(path))} pixels, but {paths[0].name} has "
                    f"{_text(self.size)}; expected frames of one size"
                )

    def count(self) -> int:
        return len(self._paths)

    def count_exactly(self) -> int:
        return len(self._paths)

    def fps(self) -> None:
        """Images do not say."""

    def read(self, begin: int, end: int | None = None) -> Iterator[np.ndarray]:
        """Frames begin, begin + 1, ... before `end`, or up to the last; uint8 [H, W, 3] RGB."""
        for path in self._paths[begin:end]:
            yield read_image(path)

    def identity(self) -> dict[str, object]:
        digest = hashlib.sha256()
        for path in self._paths:
            digest.update(f"{path.name} {path.stat().st_size}\n".encode("utf-8", "surrogateescape"))
        return {"images": len(self._paths), "names and sizes": digest.hexdigest()}


class ImageStack:
    """A reader (see `Source`) of one image file. The file is held in memory, its frames are not.

    Of an animation a frame is what the frames before it left, so that an earlier one is reached
    from the beginning. Raises InputError for a file that is damaged, and for frames of several
    sizes.
    """

    note = None
    stems = None
    each_alone = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._data = read_bytes(path, _WANTED)
        refuse_damaged_png(path, self._data, _WANTED)
        self._orientation = stored_orientation(self._data)
        self._lock = threading.Lock()
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
        self._spare: Image.Image | None = None  # idle, on the page that was read last

    def count(self) -> int:
        return len(self._pages)

    def count_exactly(self) -> int:
        return len(self._pages)

    def fps(self) -> float | None:
        """The mean that an animation says."""
        milliseconds = 0.0
        with decoding(self._path, _WANTED), self._open() as image:
            for page in self._pages if image.format != "TIFF" else ():
                image.seek(page)
                image.load()
                milliseconds += image.info.get("duration", 0)
        return 1000 * len(self._pages) / milliseconds if milliseconds > 0 else None

    def read(self, begin: int, end: int | None = None) -> Iterator[np.ndarray]:
        """Frames begin, begin + 1, ... before `end`, or up to the last; uint8 [H, W, 3] RGB."""
        pages = self._pages[begin:end]
        with self._lock:
            image, self._spare = self._spare, None
        if image is None or not pages or image.tell() > pages[0]:  # Pillow fails to rewind an APNG
            image = self._open()
        for page in pages:
            yield self._decode(image, page)
        with self._lock:
            self._spare = image

    def identity(self) -> dict[str, object]:
        return file_identity(self._path)

    def _decode(self, image: Image.Image, page: int) -> np.ndarray:
        """uint8 [H, W, 3] of a page."""
        with decoding(self._path, f"{_WANTED} (frame {page})"):
            image.seek(page)
            image.load()
        return upright(to_rgb(self._path, image), self._orientation)

    def _open(self) -> Image.Image:
        with decoding(self._path, _WANTED):
            return open_header(self._path, io.BytesIO(self._data), _WANTED)


def count_frames(path: Path) -> int:
    """The number of frames in an image file. Raises InputError if it is none."""
    check_file(path, "an image")
    with decoding(path, "an image"), open(path, "rb") as file:
        return len(pages_of(open_header(path, file, "an image")))


def _text(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
