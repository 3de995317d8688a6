"""Folders of label maps as jobs: one a video, or one an image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rhmnet.errors import InputError
from rhmnet.files.images import read_labels
from rhmnet.files.names import MAP_SUFFIXES, list_files, list_folders, walk
from rhmnet.labels import MAX_OBJECTS
from rhmnet.tools.scribbles.sources.scene import Scene

VOID = 255
"""Value of pixels that nobody labelled, unless a map holds no other: then it is the one object."""


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
