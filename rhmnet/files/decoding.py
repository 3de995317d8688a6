"""Bytes of image files, checked and decoded; what is wrong becomes one line that names the file.

Decoders trust their input more than is good: Pillow skips the check sums of PNG pixels, and what
its plugins raise on damaged bytes is anything. So both are dealt with here, once.
"""

from __future__ import annotations

import functools
import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from rhmnet.bounds import short
from rhmnet.errors import InputError
from rhmnet.files import png

JPEG_MAGIC, BMP_MAGIC = b"\xff\xd8\xff", b"BM"
MAX_PIXELS = 1 << 27
"""Pixels of the largest image that is decoded (16384x8192); a header may say anything."""
_FORMATS = {"AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP"}
"""No format is among them that runs a program to be read (EPS), or that holds no pixels."""
_MAX_BYTES = 1 << 31
_REDUCED_OR_MASK = 1 | 4  # bits of TIFF's NewSubfileType: a page that shows another one
_NEW_SUBFILE_TYPE = 254


def read_bytes(path: str | Path, wanted: str) -> bytes:
    """A file's content. Raises InputError that names it and says that it was to be `wanted`."""
    check_file(path, wanted)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected {wanted}") from None


def check_file(path: str | Path, wanted: str) -> None:
    """Raise InputError unless a path is that of a file that may be read into memory."""
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"{short(path)}: expected the path of a file: {wanted}")
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected {wanted}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected {wanted}") from None
    except ValueError:  # a NUL in the name
        raise InputError(f"{str(path)!r}: no name of a file; expected {wanted}") from None
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for, a device never ends
        kind = "is a folder" if stat.S_ISDIR(status.st_mode) else "is no regular file"
        raise InputError(f"{path}: cannot be read, it {kind}; expected {wanted}")
    if status.st_size == 0:
        raise broken(path, wanted, "it is empty")
    if status.st_size > _MAX_BYTES:
        raise broken(path, wanted, f"it has {status.st_size} bytes")


def open_pillow(path: str | Path, data: bytes, wanted: str) -> Image.Image:
    """A Pillow image whose pixels are loaded, so that a cut-off file has shown itself.

    Raises InputError for damage, and for a file of several frames.
    """
    if data.startswith(png.MAGIC):
        fault = png.find_fault(data)
        if fault:
            raise broken(path, wanted, fault)
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


def broken(path: str | Path, wanted: str, why: str) -> InputError:
    """The error for a file that cannot be used."""
    return InputError(f"{path}: cannot be read as {wanted}: {why}; replace the file")
