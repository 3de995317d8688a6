"""Check one label map by itself, and against the image that it lies on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from rhmnet.errors import InputError
from rhmnet.files.images import image_size, is_whole_jpeg
from rhmnet.files.label_maps import read_labels
from rhmnet.labels import BACKGROUND
from rhmnet.tools.scribbles.check.report import Report

_FRINGE_SHARE = 0.4  # of strokes' borders; where strokes merely touch, it is a few per cent
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
_CONVERT = "scripts/convert_scribbles.py"


def check_map(path: Path, image: Path | None, report: Report) -> np.ndarray | None:
    """Report what is wrong with a scribble file; returns its labels, None if they are no use.

    image: the frame that it lies on; its size must be the same.
    """
    labels = _read(path, report)
    if labels is None:
        return None
    size = _image_size(image, report)
    if size is not None and size != labels.shape:
        shape = f"{labels.shape[1]}x{labels.shape[0]}"
        report.error(
            path,
            f"size {shape} differs from its image's, {size[1]}x{size[0]}",
            "draw it on the image as it is, or resize it with nearest neighbours",
        )
    if not labels.any():
        report.error(path, "empty: no stroke in it", "draw at least one stroke")
        return None
    if _is_blended(labels):
        report.error(
            path,
            "anti-aliased edges: labels in between run along the strokes",
            "draw and resize without anti-aliasing (nearest neighbours)",
        )
        return None
    if (labels == BACKGROUND).any():
        report.error(
            path,
            "255 in it: background strokes have the label N + 1 on disk",
            f"make it 0 where it means void; {_CONVERT} --to bmp makes it N + 1, for background",
        )
        return None
    return labels


def check_gaps(path: Path, found: set[int], largest: int, report: Report) -> None:
    """Report labels of 1..largest that are missing among those found."""
    missing = [value for value in range(1, largest + 1) if value not in found]
    if missing:
        names = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        report.error(
            path,
            f"labels have gaps: {names} missing of 1..{largest}",
            "renumber the labels, or draw the strokes that are missing",
        )


def check_order(folder: Path, names: Sequence[str], report: Report) -> None:
    """Report frame names whose alphabetical order is not that of their numbers."""
    numbers = [re.findall(r"\d+", name) for name in sorted(names)]
    if not all(numbers):
        return
    last = [int(parts[-1]) for parts in numbers]
    if last != sorted(last):
        first = next(i for i in range(1, len(last)) if last[i] < last[i - 1])
        before, after = sorted(names)[first - 1 : first + 1]
        report.error(
            folder,
            f"names do not sort: {before} comes before {after}",
            "rename the frames with leading zeros, as in 00002, images and scribbles alike",
        )


def _read(path: Path, report: Report) -> np.ndarray | None:
    try:
        with Image.open(path) as image:
            mode = image.mode
    except _UNREADABLE:
        mode = "unreadable"  # read_labels says how
    if mode in ("RGB", "RGBA", "CMYK", "YCbCr"):
        report.error(
            path,
            f"{mode} where a label map should be",
            f"save label values, or {_CONVERT} --to bmp where it has the colours of DAVIS' palette",
        )
        return None
    try:
        return read_labels(path)
    except InputError as error:
        what = str(error).removeprefix(f"{path}: ")
        report.error(path, what, "save it again as 8-bit BMP or PNG")
        return None


def _image_size(image: Path | None, report: Report) -> tuple[int, int] | None:
    """H, W of an image, from its header; its pixels are not decoded, but its end must be there."""
    if image is None:
        return None
    try:
        if not is_whole_jpeg(image):
            report.error(image, "is cut off", "replace the file")
        return image_size(image)
    except InputError as error:
        report.error(image, str(error).removeprefix(f"{image}: "), "replace the file")
        return None


def _is_blended(labels: np.ndarray) -> bool:
    """Whether steps from stroke to nothing pass through labels in between.

    They do where strokes were anti-aliased, or resized by interpolation: hardly any label above
    the lowest then lies directly beside 0.
    """
    square = np.ones((3, 3), np.uint8)
    by_nothing = (labels > 0) & (cv2.erode(labels, square) == 0)
    between = by_nothing & (cv2.dilate(labels, square) > labels)
    direct = by_nothing & ~between & (labels > labels[labels > 0].min())
    fringe = np.count_nonzero(between)
    return fringe > 8 and fringe > _FRINGE_SHARE * (fringe + np.count_nonzero(direct))
