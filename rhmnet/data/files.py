"""Read images and label maps; whatever is wrong with a file becomes one line that names it.

OpenCV fills the missing part of a truncated JPEG with grey and says nothing, so the end-of-image
marker is looked for first. Label maps keep palette indices, which OpenCV would turn into colours.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from rhmnet.errors import InputError

JPEG_MAGIC, BMP_MAGIC, PNG_MAGIC = b"\xff\xd8\xff", b"BM", b"\x89PNG\r\n\x1a\n"
_START_OF_SCAN, _END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"


def read_image(path: str | Path) -> np.ndarray:
    """Read a JPEG, PNG or other picture as uint8 [H, W, 3], RGB, as stored (EXIF turns nothing).

    Raises InputError that names the file if it is missing, not an image, or cut off.
    """
    data = _read_bytes(path, "an image")
    if not data.startswith(JPEG_MAGIC):
        with _opened(path, data, "an image") as image:
            return np.array(image.convert("RGB"))
    # Neither marker can occur inside compressed pixels, so a whole file has an end after its last
    # scan; the ends of embedded thumbnails come before it.
    if data.rfind(_END_OF_IMAGE) < data.rfind(_START_OF_SCAN):
        raise _broken(path, "an image", "it is cut off")
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if bgr is None:
        raise _broken(path, "an image", "it cannot be decoded")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr)


def read_labels(path: str | Path) -> np.ndarray:
    """Read a scribble or mask as uint8 [H, W]: palette indices, or the values of 8-bit grey.

    Raises InputError that names the file if it is missing, cut off, or not such a map (RGB, say).
    """
    wanted = "a label map (BMP or PNG with a palette, or 8-bit grey)"
    data = _read_bytes(path, wanted)
    if data.startswith(BMP_MAGIC):
        labels = _plain_bmp(path, data)
        if labels is not None:
            return labels
    with _opened(path, data, wanted) as image:
        shallow = data.startswith(PNG_MAGIC) and image.mode != "P" and data[24] != 8
        if image.mode not in ("P", "L") or shallow:
            found = f"mode {image.mode}"
            raise InputError(f"{path}: expected {wanted}, found {found}; save values, not colours")
        return np.array(image)


def _plain_bmp(path: str | Path, data: bytes) -> np.ndarray | None:
    """The indices of an uncompressed 8-bit BMP, or None for any other kind.

    It is what scribbles are stored as; reading it here takes a quarter of Pillow's time, and keeps
    indices whatever the palette (Pillow reads a two-colour one as black and white).
    """
    if len(data) < 54:
        raise _broken(path, "a BMP", "it is cut off")
    offset, header, width, height, _, bits, compression = struct.unpack_from("<IIiiHHI", data, 10)
    if header < 40 or bits != 8 or compression != 0 or width <= 0 or height == 0:
        return None
    stride = (width + 3) // 4 * 4
    rows = abs(height)
    if len(data) < offset + stride * rows:
        raise _broken(path, "a BMP", "it is cut off")
    pixels = np.frombuffer(data, np.uint8, stride * rows, offset).reshape(rows, stride)[:, :width]
    return np.ascontiguousarray(pixels[::-1] if height > 0 else pixels)


def _read_bytes(path: str | Path, wanted: str) -> bytes:
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected {wanted}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected {wanted}") from None
    if not data:
        raise _broken(path, wanted, "it is empty")
    return data


def _opened(path: str | Path, data: bytes, wanted: str) -> Image.Image:
    """A Pillow image whose pixels are loaded, so that a cut-off file has shown itself."""
    if data.startswith(PNG_MAGIC) and b"IEND" not in data:
        raise _broken(path, wanted, "it is cut off")
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except UnidentifiedImageError:
        raise _broken(path, wanted, "it is no image") from None
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise _broken(path, wanted, " ".join(str(error).split()).replace("<_io.", "<")) from None
    return image


def _broken(path: str | Path, wanted: str, why: str) -> InputError:
    return InputError(f"{path}: cannot be read as {wanted}: {why}; replace the file")
