"""Bytes of image files, and what is wrong with them: one line that names the file."""

from __future__ import annotations

import io
import struct
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from rhmnet.errors import InputError

JPEG_MAGIC, BMP_MAGIC, PNG_MAGIC = b"\xff\xd8\xff", b"BM", b"\x89PNG\r\n\x1a\n"


def read_bytes(path: str | Path, wanted: str) -> bytes:
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected {wanted}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected {wanted}") from None
    if not data:
        raise broken(path, wanted, "it is empty")
    return data


def open_pillow(path: str | Path, data: bytes, wanted: str) -> Image.Image:
    """A Pillow image whose pixels are loaded, so that a cut-off file has shown itself."""
    if data.startswith(PNG_MAGIC) and b"IEND" not in data:
        raise broken(path, wanted, "it is cut off")
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except UnidentifiedImageError:
        raise broken(path, wanted, "it is no image") from None
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise broken(path, wanted, " ".join(str(error).split()).replace("<_io.", "<")) from None
    return image


def broken(path: str | Path, wanted: str, why: str) -> InputError:
    return InputError(f"{path}: cannot be read as {wanted}: {why}; replace the file")
