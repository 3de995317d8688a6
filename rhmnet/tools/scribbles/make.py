"""Make scribbles from masks: in parallel, resumable, the same bytes for the same seed."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from rhmnet.errors import InputError
from rhmnet.files.concurrency import LOCK, alone_in, in_processes
from rhmnet.files.images import is_cut_off, write_map
from rhmnet.files.reading import read_json
from rhmnet.files.writing import TEMPORARY, remove, remove_unfinished, write_json
from rhmnet.tools.scribbles.sources.coco import CocoJob
from rhmnet.tools.scribbles.sources.maps import MapJob
from rhmnet.tools.scribbles.strokes import StrokeOptions, draw_scribble

VERSION = 1
"""Of the strokes: raised whenever the same seed and options give other bytes than before."""
STAMP = "made.json"
"""Says in each folder of made scribbles how they were made."""
MAX_CHUNK = 16  # jobs that travel to a worker together
FEW_IMAGES = 64  # drawn while a worker process would start
_REMEDY = "wait for it, or name another folder"


class Made(NamedTuple):
    """One scribble that is there now."""

    name: str
    num_objects: int | None
    """N; None for a label map that had its scribble already and was not read."""
    drawn: int
    """Files written for it; those that were there already do not count."""


class Recipe(NamedTuple):
    """All that the scribbles depend on besides the masks."""

    seed: int
    options: StrokeOptions
    selection: tuple[tuple[str, int | str | None], ...] = ()
    """What was picked from the source, as (option, value)."""

    def stamp(self) -> dict:
        """What a folder's stamp says of it."""
        options = dataclasses.asdict(self.options)
        return {"version": VERSION, "seed": self.seed, **options, **dict(self.selection)}


def make_scribbles(
    jobs: Sequence[CocoJob | MapJob],
    folders: Sequence[Path],
    recipe: Recipe,
    workers: int = 1,
    overwrite: bool = False,
) -> list[Made]:
    """Write `<folder>/<name>.bmp` for every scene of the jobs, one differing set in each folder.

    workers: processes; 1, or fewer images than FEW_IMAGES, works in this one.
    Files that are there, and whole, are kept, so that a run that was killed goes on where it was;
    `overwrite` first removes those that were made here.
    Returns what was made or kept, in the order of the jobs.
    Raises InputError where a folder holds scribbles that were made otherwise, or by others, or
    another run is at work in it.
    """
    with ExitStack() as alone:
        for folder in sorted(folders):
            _check_ours(folder, recipe, overwrite)
            alone.enter_context(alone_in(folder, _REMEDY, tidy=True))
        for folder in folders:  # as they are now
            _check_ours(folder, recipe, overwrite)
        for folder in folders:  # only when none of them is refused
            remove_unfinished(folder, below=True)
            for path in folder.rglob("*.bmp") if overwrite else ():
                remove(path)
            write_json(folder / STAMP, recipe.stamp())
        return _make_all(jobs, folders, recipe, workers)


def _make_all(
    jobs: Sequence[CocoJob | MapJob], folders: Sequence[Path], recipe: Recipe, workers: int
) -> list[Made]:
    images = sum(len(job.names) for job in jobs)
    if images * len(folders) < FEW_IMAGES:
        workers = 1
    results: dict[int, list[Made]] = {}
    # many small jobs travel together; few stay single, so that no worker ends long after another
    size = max(1, min(MAX_CHUNK, len(jobs) // (8 * workers)))
    numbered = list(enumerate(jobs))
    work = (numbered[i : i + size] for i in range(0, len(jobs), size))
    with tqdm(total=images, unit="image", desc="scribbles") as bar:
        for part in in_processes(_make_chunk, work, (tuple(folders), recipe), workers):
            for index, made in part:
                results[index] = made
                bar.update(len(jobs[index].names))
    return [made for index in range(len(jobs)) for made in results[index]]


def write_coco_list(
    path: Path, jobs: Sequence[CocoJob], made: Sequence[Made], sets: Sequence[str] = ("",)
) -> int:
    """Write COCO_scribbles.json for the images that have scribbles; returns their number.

    sets: folders in that of the scribbles, `s0/`; every image is listed once for each.
    `num_objects` is the label value of the background's strokes, N + 1, as the release takes it.
    """
    files = {job.names[0]: job.image.file_name for job in jobs}
    entries = [
        {
            "file_name": files[one.name],
            "anno_name": f"{folder}{one.name}.bmp",
            "num_objects": one.num_objects + 1,
        }
        for folder in sets
        for one in made
    ]
    write_json(path, {"images": entries}, indent=None)
    return len(made)


def _check_ours(folder: Path, recipe: Recipe, overwrite: bool) -> None:
    """Refuse a folder that holds others' scribbles, or differently made ones."""
    stamp, path = recipe.stamp(), folder / STAMP
    if path.is_file():
        try:
            found = read_json(path)
        except InputError:
            if overwrite:
                return
            raise InputError(
                f"{path}: cannot be read, so that nobody knows how its scribbles were made; "
                "name another folder, or give --overwrite"
            ) from None
        differing = [key for key in stamp if found.get(key) != stamp[key]]
        if differing and not overwrite:
            told = ", ".join(f"{key} {found.get(key)} not {stamp[key]}" for key in differing)
            raise InputError(
                f"{folder}: its scribbles were made with {told}; "
                "give the same options, another folder, or --overwrite"
            )
    elif _is_foreign(folder) and not path.is_file():  # it may have come meanwhile
        # never --overwrite here: hand-drawn scribbles cannot be made again
        raise InputError(
            f"{folder}: holds files that were not made here ({STAMP} is missing); "
            "name another folder, or move them away"
        )


def _is_foreign(folder: Path) -> bool:
    """Whether a folder holds what no run writes before its stamp."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return any(name != LOCK and not fnmatch(name, TEMPORARY) for name in names)


def _make_chunk(
    chunk: list[tuple[int, CocoJob | MapJob]],
    folders: tuple[Path, ...],
    recipe: Recipe,
) -> list[tuple[int, list[Made]]]:
    return [(i, list(_make(job, folders, recipe))) for i, job in chunk]


def _is_there(path: Path) -> bool:
    return path.is_file() and not is_cut_off(path)


def _make(job: CocoJob | MapJob, folders: tuple[Path, ...], recipe: Recipe) -> Iterator[Made]:
    if isinstance(job, MapJob):
        wanted = [folder / f"{name}.bmp" for folder in folders for name in job.names]
        if all(map(_is_there, wanted)):
            yield from (Made(name, None, 0) for name in job.names)
            return
    for scene in job.scenes():
        drawn = 0
        seed = zlib.crc32(scene.name.encode("utf-8", "surrogateescape"))
        for index, folder in enumerate(folders):
            path = folder / f"{scene.name}.bmp"
            if _is_there(path):
                continue
            rng = np.random.default_rng([recipe.seed, index, seed])
            options = recipe.options
            if not scene.background:
                options = dataclasses.replace(options, background=False)
            scribble = draw_scribble(scene.labels, scene.num_objects, rng, options, scene.avoid)
            write_map(path, scribble)
            drawn += 1
        yield Made(scene.name, scene.num_objects, drawn)
