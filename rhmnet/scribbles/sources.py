"""Where masks come from: COCO instances, annotated videos, folders of label maps.

Each source is listed as jobs. A job is small and travels to a worker process, which reads it as
scenes: dense label maps with what a hand must know to scribble on them.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from pycocotools import mask as rle_tools
from pycocotools.coco import COCO

from rhmnet.data.files import read_labels
from rhmnet.errors import InputError
from rhmnet.labels import MAX_OBJECTS

VOID = 255
"""Value of pixels that nobody labelled, unless a map holds no other: then it is the one object."""
MAP_SUFFIXES = (".png", ".bmp")


class Scene(NamedTuple):
    """One image to scribble on."""

    name: str
    """Of the scribble file, without suffix; it also seeds the strokes."""
    labels: np.ndarray
    """uint8 [H, W], 0 background, 1..N objects."""
    num_objects: int
    """N: the background's strokes get N + 1."""
    avoid: np.ndarray
    """bool [H, W], where background strokes must not go: what was annotated but has no label."""
    background: bool = True
    """Whether all objects in view are known, so that the rest can be called background."""


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


@dataclass(frozen=True)
class MapJob:
    """Label maps that share their object numbers: the frames of a video, or a single image."""

    maps: tuple[Path, ...]
    names: tuple[str, ...]
    num_objects: int | None = None
    """N; None takes the largest label in the maps."""
    appearing: bool = False
    """Scribble each object in the first map that shows it only, as YouTube-VOS evaluates."""

    def scenes(self) -> Iterator[Scene]:
        """One scene a map, in order; with `appearing`, one a map in which objects are new.

        Maps of nothing but 0 and 255 hold one object; elsewhere 255 is void.
        """
        maps = [read_labels(path) for path in self.maps]
        values = np.unique(np.concatenate([np.unique(labels) for labels in maps]))
        if values.max() == VOID and set(values) <= {0, VOID}:
            maps = [(labels == VOID).astype(np.uint8) for labels in maps]
            values = np.minimum(values, 1)
        found = int(values[values < VOID].max(initial=0))
        count = found if self.num_objects is None else self.num_objects
        if not found <= count <= MAX_OBJECTS:
            raise InputError(
                f"{self.maps[0].parent}: label {found} found; expected 1..{min(count, MAX_OBJECTS)}"
                " (0 background, 255 void); renumber the labels or raise the number of objects"
            )
        seen: set[int] = set()
        for index, (name, labels) in enumerate(zip(self.names, maps, strict=True)):
            avoid = labels == VOID
            drawn = np.where(avoid, 0, labels)
            if self.appearing:
                new = set(np.unique(drawn).tolist()) - seen - {0}
                seen |= new
                if not new:
                    continue
                others = (drawn > 0) & ~np.isin(drawn, list(new))
                drawn, avoid = np.where(others, 0, drawn), avoid | others
            yield Scene(name, drawn, count, avoid, background=not self.appearing or index == 0)


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
                image["file_name"],
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
    except FileNotFoundError:
        raise InputError(f"{annotations}: no such file; expected instances_*.json") from None
    except (OSError, ValueError, KeyError, TypeError, AssertionError, AttributeError) as error:
        raise InputError(
            f"{annotations}: not a COCO instance file ({type(error).__name__}: {error}); "
            "expected instances_*.json with images and annotations"
        ) from None
    names: set[str] = set()
    for job in jobs:
        path = PurePosixPath(job.file_name)
        if path.is_absolute() or ".." in path.parts:
            raise InputError(f"{annotations}: file_name {job.file_name!r} leaves the image folder")
        if job.names[0] in names:
            raise InputError(f"{annotations}: two images are named {job.names[0]}; rename one")
        names.add(job.names[0])
    if images is not None:
        jobs = [job for job in jobs if (images / job.file_name).is_file()]
        if not jobs:
            raise InputError(f"{images}: holds none of the images that {annotations} lists")
    return jobs


def video_jobs(
    masks: Path, videos: list[str] | None = None, *, first_only: bool = False, **fields: bool
) -> list[MapJob]:
    """Jobs of `<masks>/<video>/<frame>.png`, one a video, in order of their names.

    videos: which; None means all folders. first_only: the first frame alone, its scribble named
    after the video. fields: of the jobs.
    Raises InputError for a missing folder or a video without maps.
    """
    if not masks.is_dir():
        raise InputError(f"{masks}: no such folder; expected <video>/<frame>.png in it")
    if videos is None:
        videos = sorted(path.name for path in masks.iterdir() if path.is_dir())
    jobs = []
    for video in videos:
        maps = label_maps(masks / video)
        if not maps:
            raise InputError(f"{masks / video}: holds no label maps; expected <frame>.png")
        if first_only:
            jobs.append(MapJob((maps[0],), (video,), **fields))
        else:
            names = tuple(f"{video}/{path.stem}" for path in maps)
            jobs.append(MapJob(tuple(maps), names, **fields))
    if not jobs:
        raise InputError(f"{masks}: holds no video; expected <video>/<frame>.png in it")
    return jobs


def folder_jobs(masks: Path, num_objects: int | None) -> list[MapJob]:
    """Jobs of any folder: its label maps one by one, those of each subfolder as a video."""
    if not masks.is_dir():
        raise InputError(f"{masks}: no such folder; expected label maps (PNG or BMP) in it")
    jobs = [MapJob((path,), (path.stem,), num_objects) for path in label_maps(masks)]
    for folder in sorted(path for path in masks.rglob("*") if path.is_dir()):
        maps = label_maps(folder)
        prefix = folder.relative_to(masks).as_posix()
        if maps:
            names = tuple(f"{prefix}/{path.stem}" for path in maps)
            jobs.append(MapJob(tuple(maps), names, num_objects))
    if not jobs:
        raise InputError(f"{masks}: holds no label maps; expected PNG or BMP files in it")
    return jobs


def label_maps(folder: Path) -> list[Path]:
    """The label maps directly in a folder, in order of their names; none if there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in MAP_SUFFIXES)
