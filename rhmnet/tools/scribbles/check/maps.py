"""Check one label map by itself, and against the image that it lies on."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rhmnet.errors import InputError
from rhmnet.files.images import SUSPECT, image_size, is_blended, is_whole_jpeg, read_image
from rhmnet.files.scribble_file import read_strokes_file
from rhmnet.labels import BACKGROUND, to_disk
from rhmnet.tools.scribbles.check.report import Report

_CONVERT = "scripts/convert_scribbles.py"


def check_map(
    path: Path, image: Path | None, report: Report, painted: bool = False
) -> np.ndarray | None:
    """Report what is wrong with a scribble file; returns its labels, None if they are no use.

    image: the frame that it lies on; its size must be the same. painted: whether strokes painted
    in colours may stay so; loaders of training read label maps alone.
    """
    labels = _read(path, image, report, painted)
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


def _read(path: Path, image: Path | None, report: Report, painted: bool) -> np.ndarray | None:
    """Labels as on disk."""
    frame = None if image is None else functools.partial(_frame, image)
    try:
        labels, how, blended = read_strokes_file(path, report.paint_options(frame))
        blended |= how is None and is_blended(labels, SUSPECT)
    except InputError as error:
        what = str(error).removeprefix(f"{path}: ")
        report.error(path, what, "save it again as 8-bit BMP or PNG")
        return None
    if blended:
        report.error(
            path,
            "anti-aliased edges: labels in between run along the strokes",
            "draw and resize without anti-aliasing (nearest neighbours)",
        )
        return None
    if how is None:
        return labels
    if painted:
        report.note(
            path, how, "if that is wrong, paint in plainer colors, or give --background-color"
        )
    else:
        report.error(
            path,
            f"RGB where a label map should be ({how})",
            f"save label values; {_CONVERT} --to bmp makes them of such colours",
        )
    count = report.painted[path] = int(labels[labels < BACKGROUND].max(initial=0))
    return to_disk(labels, count)


def _frame(image: Path) -> np.ndarray | None:
    try:
        return read_image(image)
    except InputError:  # told of the image itself
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
