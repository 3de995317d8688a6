"""Write clips made of stills in the layout of Youtube-VOS: in parallel, resumable, reproducible.

    OUT/train/JPEGImages/<clip>/<frame>.jpg
    OUT/train_scribbles/<clip>/<frame>.bmp
    OUT/train/Annotations/<clip>/<frame>.png     dense, to look at: training never opens them
    OUT/clips.json                               how they were made

Each clip is written aside and moved into place, its scribbles last: a clip whose scribbles are
there is whole, and is kept by a later run.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from rhmnet.errors import InputError
from rhmnet.files.concurrency import LOCK, alone_in, in_processes
from rhmnet.files.images import write_map, write_mask
from rhmnet.files.reading import read_json
from rhmnet.files.writing import move, refused_by_name, remove, write_encoded, write_json
from rhmnet.tools.clips.render import Frame, render, shows_everything
from rhmnet.tools.clips.scene import Scene, sample_scene
from rhmnet.tools.clips.stills import Picture, Still
from rhmnet.tools.scribbles.sources.maps import VOID
from rhmnet.tools.scribbles.strokes import StrokeOptions, draw_scribble

VERSION = 1
"""Of the clips: raised whenever the same seed gives other bytes than before."""
STAMP = "clips.json"
UNFINISHED = ".unfinished"
_REMEDY = "wait for it, or name another folder"
SPACING = 5
"""Step of the frame numbers, as in Youtube-VOS."""
STILLS_A_CLIP = 5
"""One for the ground, the others to cut objects out of; not all of them are good for it."""
ATTEMPTS = 12
MIN_STROKED = 60.0
"""Pixels at 480p of an object that still gets a stroke."""
MOST_OF_OBJECTS = 0.75
"""Share of a still beyond which it is no ground: background strokes would find no room."""


@dataclass(frozen=True)
class Recipe:
    """What the bytes of clips depend on, besides the stills."""

    seed: int = 0
    frames: int = 6
    """Of a clip."""
    short_side: int = 256
    """Of a frame, pixels; smaller stills stay as they are."""
    masks: bool = True
    """Write dense masks too."""

    def __post_init__(self) -> None:
        if self.seed < 0 or self.frames < 2 or self.short_side < 64:
            raise InputError(
                f"--seed {self.seed}, --frames {self.frames}, --short-side {self.short_side}: "
                "expected at least 0, 2 and 64"
            )


class Job(NamedTuple):
    """One clip to be made."""

    index: int
    stills: tuple[Still, ...]

    @property
    def name(self) -> str:
        return f"clip-{self.index:06d}"


def write_clips(
    stills: Sequence[Still],
    out: Path,
    count: int,
    recipe: Recipe = Recipe(),
    workers: int = 1,
    overwrite: bool = False,
) -> int:
    """Make clips 0..count - 1 under `out`; returns how many were made, and not there already.

    Clip i depends on the recipe, the stills and i alone. workers: processes. overwrite: remove
    clips that were made here otherwise.
    Raises InputError where `out` holds anything else, or a still cannot be read.
    """
    if count < 1 or workers < 1:
        raise InputError(f"--count {count}, --workers {workers}: expected at least 1")
    if len(stills) < 2:
        raise InputError(f"{len(stills)} stills: expected at least 2, to move one over another")
    with alone_in(out, _REMEDY, tidy=True):
        _begin(out, stills, recipe, overwrite)
        return _make_all(stills, out, count, recipe, workers)


def _make_all(stills: Sequence[Still], out: Path, count: int, recipe: Recipe, workers: int) -> int:
    missing = [i for i in range(count) if not _scribbles(out, i).is_dir()]
    work = _jobs(stills, missing, recipe)
    try:
        with tqdm(total=count, initial=count - len(missing), unit="clip", desc="clips") as bar:
            used = workers if len(missing) > 1 else 1
            for _ in in_processes(_make, work, (out, recipe), used):
                bar.update()
    finally:
        remove(out / UNFINISHED)
    return len(missing)


def _begin(out: Path, stills: Sequence[Still], recipe: Recipe, overwrite: bool) -> None:
    """Check that `out` may be written to, and write the stamp."""
    names = "\n".join(still.image.name for still in stills)
    stamp = {
        "version": VERSION,
        "seed": recipe.seed,
        "frames": recipe.frames,
        "short_side": recipe.short_side,
        "masks": recipe.masks,
        "stills": len(stills),
        "stills_crc32": zlib.crc32(names.encode("utf-8", "surrogateescape")),
    }
    path = out / STAMP
    if path.is_file():
        found = _read_stamp(path)
        differing = [key for key in stamp if found.get(key) != stamp[key]]
        if differing and not overwrite:
            told = ", ".join(f"{key} {found.get(key)} not {stamp[key]}" for key in differing)
            raise InputError(
                f"{out}: its clips were made with {told}; give the same options, another folder, "
                "or --overwrite"
            )
        if overwrite:
            for place in (*(out / "train").glob("*"), out / "train_scribbles", out / UNFINISHED):
                for clip in place.glob("clip-*"):  # what else lies beside them stays
                    remove(clip)
    elif out.is_dir() and any(path.name != LOCK for path in out.iterdir()):
        raise InputError(
            f"{out}: holds files that were not made here ({STAMP} is missing); name another folder"
        )
    write_json(path, stamp)


def _read_stamp(path: Path) -> dict:
    try:
        return read_json(path)
    except InputError:
        return {}


def _jobs(stills: Sequence[Still], indices: Sequence[int], recipe: Recipe) -> Iterator[Job]:
    for index in indices:
        rng = np.random.default_rng([recipe.seed, index, 0])
        size = min(STILLS_A_CLIP, len(stills))
        chosen = rng.choice(len(stills), size=size, replace=False)
        yield Job(index, tuple(stills[int(i)] for i in chosen))


def _make(job: Job, out: Path, recipe: Recipe) -> int:
    pictures = [p for still in job.stills if (p := still.read(recipe.short_side)) is not None]
    scene, frames = _draw(job, pictures, recipe)
    with refused_by_name(out):
        _write(job, out, scene, frames, recipe)
    return job.index


def _draw(job: Job, pictures: list[Picture], recipe: Recipe) -> tuple[Scene, list[Frame]]:
    """A scene in which every object can be scribbled on; without cut-outs if need be."""
    covered = [float((picture.labels > 0).mean()) for picture in pictures]
    grounds = [i for i, share in enumerate(covered) if share <= MOST_OF_OBJECTS]
    if not grounds:
        names = ", ".join(still.image.name for still in job.stills)
        raise InputError(f"{names}: no still has both an object and free background around it")
    ground = pictures[grounds[0]]
    others = [picture for i, picture in enumerate(pictures) if i != grounds[0]]
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([recipe.seed, job.index, 1, attempt])
        fewer = others if attempt < ATTEMPTS - 1 else []
        scene = sample_scene(rng, ground, fewer, recipe.frames)
        frames = render(scene, rng)
        if shows_everything(scene, frames):
            break
    return scene, frames


def _write(job: Job, out: Path, scene: Scene, frames: list[Frame], recipe: Recipe) -> None:
    rng = np.random.default_rng([recipe.seed, job.index, 2])
    options = StrokeOptions(
        thickness=rng.uniform(6, 10), coverage=rng.uniform(0.6, 0.9), min_area=MIN_STROKED
    )
    quality = int(rng.integers(75, 96))
    aside = out / UNFINISHED / job.name
    remove(aside)
    for index, frame in enumerate(frames):
        stem = f"{SPACING * index:05d}"
        _write_jpeg(aside / "JPEGImages" / f"{stem}.jpg", frame.image, quality)
        labels = frame.labels
        strokes = draw_scribble(labels, scene.num_objects, rng, options, labels == VOID)
        write_map(aside / "scribbles" / f"{stem}.bmp", strokes)
        if recipe.masks:
            write_mask(aside / "Annotations" / f"{stem}.png", labels, compress_level=6)
    _move(aside / "JPEGImages", out / "train" / "JPEGImages" / job.name)
    if recipe.masks:
        _move(aside / "Annotations", out / "train" / "Annotations" / job.name)
    _move(aside / "scribbles", _scribbles(out, job.index))
    remove(aside)


def _scribbles(out: Path, index: int) -> Path:
    return out / "train_scribbles" / Job(index, ()).name


def _move(source: Path, target: Path) -> None:
    remove(target)  # an earlier run was stopped between two moves
    move(source, target)


def _write_jpeg(path: Path, image: np.ndarray, quality: int) -> None:
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    write_encoded(path, pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
