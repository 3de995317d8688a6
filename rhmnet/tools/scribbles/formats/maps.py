"""Label maps: BMP, PNG with DAVIS' palette, and the 0, 1, 2 of saliency sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from rhmnet.errors import InputError
from rhmnet.files.label_maps import read_labels
from rhmnet.labels import BACKGROUND, MAX_OBJECTS, to_disk
from rhmnet.tools.scribbles.drawing import guess_num_objects
from rhmnet.tools.scribbles.placing import replacing
from rhmnet.visualize import davis_palette

SALIENCY_BACKGROUND = 2


def read(
    path: Path, num_objects: int | None, saliency: bool, notes: list[str]
) -> tuple[np.ndarray, int]:
    """Labels (uint8 [H, W], as on disk) and N of a map; 255 becomes N + 1, the background's label.

    Colours of DAVIS' palette are taken for labels; others are dropped, and `notes` say so.
    num_objects: N; None guesses it. saliency: values are 0 unlabelled, 1 foreground, 2 background.
    Raises InputError that names the file.
    """
    colours = _colours(path)
    labels = read_labels(path) if colours is None else _colours_to_labels(path, colours, notes)
    if saliency:
        if labels.max(initial=0) > SALIENCY_BACKGROUND:
            raise InputError(
                f"{path}: label {labels.max()} found; expected 0 unlabelled, 1 foreground, "
                "2 background"
            )
        return labels, 1
    count = guess_num_objects(labels) if num_objects is None else num_objects
    largest = int(labels[labels < BACKGROUND].max(initial=0))
    if largest > count + 1 or count > MAX_OBJECTS:
        raise InputError(
            f"{path}: label {largest} found; expected at most {min(count, MAX_OBJECTS) + 1}, the "
            "background's; renumber the labels or give another --num-objects"
        )
    return to_disk(labels, count), count


def write_map(path: Path, labels: np.ndarray) -> None:
    """Write a uint8 [H, W] label map as 8-bit BMP, complete or not at all."""
    with replacing(path) as partial:
        Image.fromarray(labels).save(partial, format="BMP")


def write_palette_map(path: Path, labels: np.ndarray) -> None:
    """Write a uint8 [H, W] label map as PNG in the colours of DAVIS, complete or not at all."""
    image = Image.fromarray(labels)
    image.putpalette(davis_palette().tobytes())
    with replacing(path) as partial:
        image.save(partial, format="PNG")


def _colours(path: Path) -> np.ndarray | None:
    """uint8 [H, W, 3] of a picture with colours; None for any other file."""
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB")) if image.mode in ("RGB", "RGBA") else None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None  # read_labels says what is wrong with it


def _colours_to_labels(path: Path, colours: np.ndarray, notes: list[str]) -> np.ndarray:
    codes = colours.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    palette = davis_palette().astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    order = np.argsort(palette)
    place = order[np.searchsorted(palette, codes, sorter=order).clip(max=255)]
    known = palette[place] == codes
    if not (known & (place > 0)).any():
        raise InputError(f"{path}: none of its colours is in DAVIS' palette; save a label map")
    unknown = int(np.count_nonzero(~known))
    if unknown:
        notes.append(f"{unknown} pixels of colours between labels (anti-aliasing)")
    return np.where(known, place, 0).astype(np.uint8)
