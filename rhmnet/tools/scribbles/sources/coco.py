"""COCO instance annotations as jobs, one an image."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from pycocotools import mask as rle_tools
from pycocotools.coco import COCO

from rhmnet.errors import InputError
from rhmnet.files.names import check_name, from_windows
from rhmnet.tools.scribbles.sources.scene import Scene


@dataclass(frozen=True)
class CocoJob:
    """One image of a COCO annotation file."""

    file_name: str
    height: int
    width: int
    annotations: tuple[dict, ...]
    max_objects: int
    min_area: float

    @property
    def names(self) -> tuple[str, ...]:
        return (str(PurePosixPath(self.file_name).with_suffix("")),)

    def scenes(self) -> Iterator[Scene]:
        """The image's largest objects, numbered from the largest on; none if none is left.

        Smaller objects lie on top. What is covered, below `min_area` (pixels at 480p), beyond
        `max_objects` or a crowd gets no label, and background strokes avoid it.
        """
        instances, rest = [], []
        for annotation in self.annotations:
            coded = self._encode(annotation)
            if coded is not None:
                (rest if annotation.get("iscrowd") else instances).append(coded)
        instances.sort(key=lambda coded: -int(rle_tools.area(coded)))
        least = max(1.0, self.min_area * (min(self.height, self.width) / 480) ** 2)
        labels = np.zeros((self.height, self.width), np.uint8)
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

    def _encode(self, annotation: dict) -> dict | None:
        """Run-length code of one annotation; None where it outlines nothing."""
        outline = annotation.get("segmentation")
        try:
            if isinstance(outline, dict):
                coded = outline
                if isinstance(outline["counts"], list):
                    if sum(outline["counts"]) != self.height * self.width:
                        raise ValueError("its run lengths are not of all pixels")
                    coded = rle_tools.frPyObjects(outline, self.height, self.width)
                if list(coded["size"]) != [self.height, self.width]:
                    raise ValueError(f"its size is {coded['size']}")
                return coded
            # fewer than three corners enclose nothing (and four numbers would be read as a box)
            polygons = [polygon for polygon in outline or [] if len(polygon) >= 6]
            if not polygons:
                return None
            return rle_tools.merge(rle_tools.frPyObjects(polygons, self.height, self.width))
        except Exception as error:  # pycocotools raises bare Exceptions for malformed input
            raise InputError(
                f"{self.file_name}: segmentation of annotation {annotation.get('id')} cannot be "
                f"read ({error}); expected polygons or run lengths of {self.height}x{self.width}"
            ) from None


def coco_jobs(
    annotations: Path, images: Path | None, max_objects: int, min_area: float
) -> list[CocoJob]:
    """Jobs of a COCO instance file, in its order; with `images`, of the images found there.

    Raises InputError that names the file for anything but a COCO instance file.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # COCO() prints its progress
            coco = COCO(str(annotations))
        jobs = [
            CocoJob(
                _file_name(image["file_name"], f"{annotations}: images"),
                int(image["height"]),
                int(image["width"]),
                tuple(
                    {key: a.get(key) for key in ("id", "segmentation", "iscrowd")}
                    for a in coco.imgToAnns.get(image["id"], [])
                ),
                max_objects,
                min_area,
            )
            for image in coco.dataset["images"]
        ]
        if "annotations" not in coco.dataset:
            raise KeyError("annotations")
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{annotations}: no such file; expected instances_*.json") from None
    except (OSError, ValueError, KeyError, TypeError, AssertionError, AttributeError) as error:
        raise InputError(
            f"{annotations}: not a COCO instance file ({type(error).__name__}: {error}); "
            "expected instances_*.json with images and annotations"
        ) from None
    names: set[str] = set()
    for job in jobs:
        if job.height < 1 or job.width < 1:
            raise InputError(
                f"{annotations}: {job.file_name} is {job.width}x{job.height} pixels; "
                "expected at least 1x1"
            )
        if job.names[0] in names:
            raise InputError(f"{annotations}: two images are named {job.names[0]}; rename one")
        names.add(job.names[0])
    if images is not None:
        jobs = [job for job in jobs if (images / job.file_name).is_file()]
        if not jobs:
            raise InputError(f"{images}: holds none of the images that {annotations} lists")
    return jobs


def _file_name(name: object, where: str) -> str:
    return PurePosixPath(from_windows(check_name(name, where))).as_posix()
