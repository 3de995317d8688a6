"""Read images; whatever is wrong with a file becomes one line that names it.

OpenCV fills the missing part of a truncated JPEG with grey and says nothing, so the end-of-image
marker is looked for first.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from rhmnet.files.decoding import JPEG_MAGIC, broken, open_pillow, read_bytes

_START_OF_SCAN, _END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"


def read_image(path: str | Path) -> np.ndarray:
    """Read a JPEG, PNG or other picture as uint8 [H, W, 3], RGB, as stored (EXIF turns nothing).

    Raises InputError that names the file if it is missing, not an image, or cut off.
    """
    data = read_bytes(path, "an image")
    if not data.startswith(JPEG_MAGIC):
        with open_pillow(path, data, "an image") as image:
            return np.array(image.convert("RGB"))
    # Neither marker can occur inside compressed pixels, so a whole file has an end after its last
    # scan; the ends of embedded thumbnails come before it.
    if data.rfind(_END_OF_IMAGE) < data.rfind(_START_OF_SCAN):
        raise broken(path, "an image", "it is cut off")
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if bgr is None:
        raise broken(path, "an image", "it cannot be decoded")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr)
