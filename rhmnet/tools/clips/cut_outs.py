"""Stills with label maps: where they lie, how one is read, and objects cut out of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import cv2
import numpy as np

from rhmnet.errors import InputError
from rhmnet.files import FRAME_SUFFIXES, MAP_SUFFIXES, is_hidden
from rhmnet.files.images import read_image
from rhmnet.tools.scribbles.masks import VOID, CocoJob, MapJob, coco_jobs

MAX_OBJECTS = 10
"""Labelled in a still, the largest."""
MIN_AREA = 100.0
"""Pixels at 480p: smaller COCO objects are nobody's."""
MARGIN = 3  # pixels of a cut-out around its object, for soft edges
MOST_OF_GROUND = 3  # objects of the ground that count; its smaller ones are nobody's
LEAST_SHARE = 0.012  # of its still, that an object worth cutting out covers
MOST_SHARE = 0.7


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


class CutOut(NamedTuple):
    """An object without its surroundings."""

    pixels: np.ndarray
    """uint8 [h, w, 4], RGB premultiplied by alpha."""


def keep_largest(picture: Picture) -> tuple[Picture, int]:
    """The picture with its largest objects numbered from 1 on, the rest nobody's; their number."""
    counts = np.bincount(picture.labels.ravel(), minlength=256)
    counts[0] = counts[VOID] = 0
    kept = [int(v) for v in np.argsort(-counts, kind="stable")[:MOST_OF_GROUND] if counts[v]]
    table = np.full(256, VOID, np.uint8)
    table[0] = 0
    table[kept] = np.arange(1, len(kept) + 1)
    return Picture(picture.image, cv2.LUT(picture.labels, table)), len(kept)


def draw_cut_out(rng: np.random.Generator, picture: Picture) -> CutOut | None:
    """One of the picture's objects that is neither tiny nor all there is; None without any.

    Those that the border cuts off by much come last: moved elsewhere, they would show a straight
    edge.
    """
    counts = np.bincount(picture.labels.ravel(), minlength=256)
    shares = counts / picture.labels.size
    values = [v for v in range(1, VOID) if LEAST_SHARE <= shares[v] <= MOST_SHARE]
    if not values:
        return None
    tries = rng.permutation(values)
    border = np.concatenate([picture.labels[[0, -1]].ravel(), picture.labels[:, [0, -1]].ravel()])
    on_border = np.bincount(border, minlength=256)
    whole = [v for v in tries if on_border[v] < 0.6 * np.sqrt(counts[v])]
    return _cut_out(picture, int(whole[0] if whole else tries[0]))


def _cut_out(picture: Picture, value: int) -> CutOut:
    """Cut along the outline, a little inside it, with an edge as soft as a lens draws it."""
    mask = (picture.labels == value).astype(np.uint8)
    x, y, width, height = cv2.boundingRect(mask)
    window = np.s_[y : y + height, x : x + width]
    pad = [(MARGIN, MARGIN), (MARGIN, MARGIN)]
    mask = np.pad(mask[window], pad)
    image = np.pad(picture.image[window], [*pad, (0, 0)], mode="edge").astype(np.float32)
    inner = cv2.erode(mask, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
    if np.count_nonzero(inner) < 0.75 * np.count_nonzero(mask):
        inner = mask  # thin: nothing would be left of it
    sure = inner.astype(np.float32)
    # colours of the inside run on beyond the edge, so that none of the surroundings comes along
    spread = cv2.GaussianBlur(image * sure[..., None], (0, 0), 1.5)
    weight = cv2.GaussianBlur(sure, (0, 0), 1.5)[..., None]
    image = np.where(sure[..., None] > 0, image, spread / np.maximum(weight, 1e-3))
    alpha = cv2.GaussianBlur(sure, (0, 0), 0.8)[..., None]
    pixels = np.dstack([image.clip(0, 255) * alpha, 255 * alpha])
    return CutOut(pixels.round().astype(np.uint8))


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
