"""Where masks come from: COCO instances, and label maps of videos or single images.

Each source is listed as jobs. A job is small and travels to a worker process, which reads it as
scenes: dense label maps with what a hand must know to scribble on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pycocotools import mask as rle_tools

from rhmnet.data.coco import CocoImage, Instance, checked_outline, read_instances
from rhmnet.errors import InputError
from rhmnet.files import MAP_SUFFIXES, list_files, list_folders, walk
from rhmnet.files.images import read_labels
from rhmnet.labels import MAX_OBJECTS

VOID = 255
"""Value of pixels that nobody labelled, unless a map holds no other: then it is the one object."""


class LabelledScene(NamedTuple):
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

    image: CocoImage
    max_objects: int
    min_area: float

    @property
    def names(self) -> tuple[str, ...]:
        return (self.image.stem,)

    def scenes(self) -> Iterator[LabelledScene]:
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
            yield LabelledScene(self.names[0], labels, int(visible.sum()), avoid)

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


@dataclass(frozen=True)
class MapJob:
    """Label maps that share their object numbers: the frames of a video, or a single image."""

    maps: tuple[Path, ...]
    names: tuple[str, ...]
    num_objects: int | None = None
    """N; None takes the largest label in the maps."""
    appearing: bool = False
    """Scribble each object in the first map that shows it only, as YouTube-VOS evaluates."""

    def scenes(self) -> Iterator[LabelledScene]:
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
            yield LabelledScene(
                name, drawn, count, avoid, background=not self.appearing or index == 0
            )


MaskJob = CocoJob | MapJob
"""What is scribbled on: each has `names` of scribble files, and `scenes()`."""


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
        videos = [path.name for path in list_folders(masks)]
    jobs = []
    for video in videos:
        maps = list_files(masks / video, MAP_SUFFIXES)
        if not maps:
            raise InputError(f"{masks / video}: holds no label maps; expected <frame>.png")
        if first_only:
            jobs.append(MapJob((maps[0],), (video,), **fields))
        else:
            names = tuple(f"{video}/{path.stem}" for path in maps)
            jobs.append(MapJob(tuple(maps), names, **fields))
    _refuse_twins(jobs)
    if not jobs:
        raise InputError(f"{masks}: holds no video; expected <video>/<frame>.png in it")
    return jobs


def folder_jobs(masks: Path, num_objects: int | None) -> list[MapJob]:
    """Jobs of any folder: its label maps one by one, those of each subfolder as a video."""
    if not masks.is_dir():
        raise InputError(f"{masks}: no such folder; expected label maps (PNG or BMP) in it")
    jobs = [MapJob((path,), (path.stem,), num_objects) for path in list_files(masks, MAP_SUFFIXES)]
    for folder, files in walk(masks):
        maps = [path for path in files if path.suffix.lower() in MAP_SUFFIXES]
        if folder == masks:
            continue
        prefix = folder.relative_to(masks).as_posix()
        if maps:
            names = tuple(f"{prefix}/{path.stem}" for path in maps)
            jobs.append(MapJob(tuple(maps), names, num_objects))
    if not jobs:
        raise InputError(f"{masks}: holds no label maps; expected PNG or BMP files in it")
    _refuse_twins(jobs)
    return jobs


def _refuse_twins(jobs: list[MapJob]) -> None:
    """Refuse two maps whose scribbles would be one file, as those of a.png and a.bmp."""
    owners: dict[str, Path] = {}
    for job in jobs:
        for name, path in zip(job.names, job.maps, strict=True):
            if name in owners:
                raise InputError(
                    f"{path}: {owners[name].name} would have the same scribble; rename one of them"
                )
            owners[name] = path
