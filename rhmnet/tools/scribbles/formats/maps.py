"""Label maps: BMP, PNG with DAVIS' palette, and the 0, 1, 2 of saliency sets."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from rhmnet.errors import InputError
from rhmnet.files.legend import PaintOptions
from rhmnet.files.scribble_file import read_strokes_file
from rhmnet.files.writing import write_picture
from rhmnet.labels import BACKGROUND, MAX_OBJECTS, to_disk
from rhmnet.tools.scribbles.drawing import guess_num_objects
from rhmnet.visualize import davis_palette

SALIENCY_BACKGROUND = 2
_HEAD = 54  # bytes before a BMP's colours


class Map(NamedTuple):
    """Labels of a file, and how they were understood."""

    labels: np.ndarray
    """uint8 [H, W], as on disk: N + 1 is the background's."""
    num_objects: int
    how: str | None
    """One line, for strokes painted in colours."""
    sure: bool
    """False where the largest label was taken for the background's, and nothing said so."""


def read(path: Path, paint: PaintOptions, saliency: bool) -> Map:
    """A label map, or strokes painted in colours; 255 becomes N + 1, the background's label.

    paint: how to understand colours, and N; None guesses it. saliency: values are 0 unlabelled,
    1 foreground, 2 background.
    Raises InputError that names the file.
    """
    labels, how, _ = read_strokes_file(path, paint)
    if saliency:
        if labels.max(initial=0) > SALIENCY_BACKGROUND:
            raise InputError(
                f"{path}: label {labels.max()} found; expected 0 unlabelled, 1 foreground, "
                "2 background"
            )
        return Map(labels, 1, how, True)
    largest = int(labels[labels < BACKGROUND].max(initial=0))
    count = paint.num_objects
    if count is None:
        count = largest if how else guess_num_objects(labels)
    if largest > count + 1 or count > MAX_OBJECTS:
        raise InputError(
            f"{path}: label {largest} found; expected at most {min(count, MAX_OBJECTS) + 1}, the "
            "background's; renumber the labels or give another --num-objects"
        )
    sure = bool(how) or paint.num_objects is not None or count == largest
    return Map(to_disk(labels, count), count, how, sure)


def write_map(path: Path, labels: np.ndarray) -> None:
    """Write a uint8 [H, W] label map as 8-bit BMP, complete or not at all."""
    write_picture(path, Image.fromarray(labels), "BMP")


def is_cut_off(path: Path) -> bool:
    """Whether a BMP has fewer bytes than it says, as where a disk was full."""
    with open(path, "rb") as file:
        head = file.read(_HEAD)
    said = int.from_bytes(head[2:6], "little") if head.startswith(b"BM") else 0
    return len(head) < _HEAD or path.stat().st_size < said


def write_palette_map(path: Path, labels: np.ndarray) -> None:
    """Write a uint8 [H, W] label map as PNG in the colours of DAVIS, complete or not at all."""
    image = Image.fromarray(labels)
    image.putpalette(davis_palette().tobytes())
    write_picture(path, image, "PNG")
