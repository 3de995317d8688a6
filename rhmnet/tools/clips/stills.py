"""Stills with label maps: where they lie, and how one is read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import cv2
import numpy as np

from rhmnet.errors import InputError
from rhmnet.files.images import read_image
from rhmnet.files.names import FRAME_SUFFIXES, MAP_SUFFIXES, is_hidden
from rhmnet.tools.scribbles.sources.coco import CocoJob, coco_jobs
from rhmnet.tools.scribbles.sources.maps import VOID, MapJob

MAX_OBJECTS = 10
"""Labelled in a still, the largest."""
MIN_AREA = 100.0
"""Pixels at 480p: smaller COCO objects are nobody's."""


class Picture(NamedTuple):
    """A still as it is worked with."""

    image: np.ndarray
    """uint8 [H, W, 3], RGB."""
    labels: np.ndarray
    """uint8 [H, W]: 0 background, 1..N objects, 255 nobody's."""


@dataclass(frozen=True)
class Still:
    """An image and where its objects' outlines are; small, so that it travels to a worker."""

    image: Path
    masks: CocoJob | MapJob

    def read(self, short_side: int) -> Picture | None:
        """Read it, shrunk to a short side (a smaller one stays); None where it shows no object.

        Raises InputError that names the file for what cannot be read, or does not fit together.
        """
        scene = next(iter(self.masks.scenes()), None)
        if scene is None:
            return None
        labels = np.where(scene.avoid, np.uint8(VOID), scene.labels)
        labels[labels > MAX_OBJECTS] = VOID
        if not ((labels > 0) & (labels < VOID)).any():
            return None
        image = read_image(self.image)
        if image.shape[:2] != labels.shape:
            height, width = labels.shape
            raise InputError(
                f"{self.image}: {image.shape[1]}x{image.shape[0]} pixels, but its masks have "
                f"{width}x{height}; give masks of the image's size"
            )
        factor = short_side / min(labels.shape)
        if factor < 1:
            size = tuple(max(1, round(side * factor)) for side in labels.shape[::-1])
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
        return Picture(image, labels)


def coco_stills(annotations: Path, images: Path) -> list[Still]:
    """The stills of a COCO instance file that lie in `images`, in the file's order."""
    if not images.is_dir():
        raise InputError(f"{images}: no such folder; --images names the folder of the pictures")
    jobs = coco_jobs(annotations, images, MAX_OBJECTS, MIN_AREA)
    return [Still(images / job.image.file_name, job) for job in jobs if job.image.instances]


def map_stills(masks: Path, images: Path) -> list[Still]:
    """The stills whose label maps lie in `masks`, by name; the pictures in `images`, as named."""
    for folder, option in ((masks, "--masks"), (images, "--images")):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; {option} names it")
    pictures = _by_stem(images, FRAME_SUFFIXES)
    maps = _by_stem(masks, MAP_SUFFIXES)
    names = sorted(maps.keys() & pictures.keys())
    if not names:
        raise InputError(
            f"{masks}: none of its {len(maps)} label maps is named like one of the {len(pictures)} "
            f"pictures in {images}; expected NAME.png for NAME.jpg"
        )
    return [Still(pictures[name], MapJob((maps[name],), (name,))) for name in names]


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Files in and below a folder, by path without suffix; hidden ones are left out."""
    found: dict[str, Path] = {}
    for place, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(place) / name
            if path.suffix.lower() in suffixes and not is_hidden(name):
                stem = PurePosixPath(path.relative_to(folder).as_posix()).with_suffix("")
                found.setdefault(str(stem), path)
    return found
