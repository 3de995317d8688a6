"""COCO instance annotations as jobs, one an image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pycocotools import mask as rle_tools

from rhmnet.data.coco import CocoImage, Instance, checked_outline, read_instances
from rhmnet.errors import InputError
from rhmnet.tools.scribbles.sources.scene import Scene


@dataclass(frozen=True)
class CocoJob:
    """One image of a COCO annotation file."""

    image: CocoImage
    max_objects: int
    min_area: float

    @property
    def names(self) -> tuple[str, ...]:
        return (self.image.stem,)

    def scenes(self) -> Iterator[Scene]:
        """The image's largest objects, numbered from the largest on; none if none is left.

        Smaller objects lie on top. What is covered, below `min_area` (pixels at 480p), beyond
        `max_objects` or a crowd gets no label, and background strokes avoid it.
        """
        instances, rest = [], []
        for instance in self.image.instances:
            coded = self._encode(instance)
            if coded is not None:
                (rest if instance.crowd else instances).append(coded)
        instances.sort(key=lambda coded: -int(rle_tools.area(coded)))
        size = self.image.height, self.image.width
        least = max(1.0, self.min_area * (min(size) / 480) ** 2)
        labels = np.zeros(size, np.uint8)
        avoid = np.zeros(labels.shape, bool)
        kept = instances[: self.max_objects]
        rest += instances[self.max_objects :]
        if rest:
            avoid |= rle_tools.decode(rle_tools.merge(rest)) > 0
        for value, coded in enumerate(kept, start=1):
            labels[rle_tools.decode(coded) > 0] = value
        visible = np.bincount(labels.ravel(), minlength=len(kept) + 1)[1:] >= least
        avoid |= (labels > 0) & ~np.concatenate([[True], visible])[labels]
        numbers = np.concatenate([[0], np.where(visible, np.cumsum(visible), 0)])
        if visible.any():
            labels = numbers.astype(np.uint8)[labels]
            yield Scene(self.names[0], labels, int(visible.sum()), avoid)

    def _encode(self, instance: Instance) -> dict | None:
        """Run-length code of one annotation; None where it outlines nothing."""
        height, width = self.image.height, self.image.width
        try:
            outline = checked_outline(instance.outline, height, width)
            if outline is None:
                return None
            if isinstance(outline, list):
                return rle_tools.merge(rle_tools.frPyObjects(outline, height, width))
            if isinstance(outline["counts"], list):
                return rle_tools.frPyObjects(outline, height, width)
            return outline
        except ValueError as error:
            raise InputError(
                f"{self.image.source}: {self.image.file_name}: segmentation of annotation "
                f"{str(instance.number)[:40]} cannot be read: {error}; expected polygons, "
                f"[[x, y, ...], ...], or run lengths of {height}x{width}"
            ) from None


def coco_jobs(
    annotations: Path, images: Path | None, max_objects: int, min_area: float
) -> list[CocoJob]:
    """Jobs of a COCO instance file, in its order; with `images`, of the images found there.

    Raises InputError that names the file for anything but a COCO instance file.
    """
    listed = read_instances(annotations)
    if images is None:
        found = listed
    elif not (found := [image for image in listed if (images / image.file_name).is_file()]):
        first = f", the first of them {listed[0].file_name}" if listed else ""
        raise InputError(
            f"{images}: holds none of the {len(listed)} images that {annotations} lists{first}; "
            "name the folder that their names begin in"
        )
    return [CocoJob(image, max_objects, min_area) for image in found]
