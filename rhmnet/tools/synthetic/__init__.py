"""Data that the project makes itself: creatures that swim over textured grounds.

Written as the three data trees, COCO, DAVIS and Youtube-VOS, in the layouts of docs/method.md,
section 8. Dense masks are written for validation videos alone, where they are needed for scoring;
training images and videos come with strokes only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from rhmnet.data.coco import COCO, CocoFolder
from rhmnet.data.davis import DAVIS, YEARS, DavisFolder
from rhmnet.data.youtube import FRAME_SPACING, YOUTUBE, YoutubeFolder
from rhmnet.errors import InputError
from rhmnet.files.concurrency import LOCK, alone_in, in_processes
from rhmnet.files.images import write_map
from rhmnet.files.reading import read_json
from rhmnet.files.writing import (
    TEMPORARY,
    move,
    refused_by_name,
    remove,
    write_encoded,
    write_json,
    write_picture,
    write_text,
)
from rhmnet.labels import davis_palette
from rhmnet.tools.scribbles.hand import HandOptions, draw_scribble
from rhmnet.tools.synthetic.creature_scene import CreatureScene, DrawnFrame, render, sample_scene

VERSION = 3
"""Of pictures and strokes: raised whenever the same seed gives other bytes than before."""
MANIFEST = "synthetic.json"
TREES = (COCO, DAVIS, YOUTUBE)
_OURS = re.compile(
    r"images|scribbles|JPEGImages|Annotations|ImageSets|480p|2016|2017|train|valid|train_scribbles"
    r"|valid_scribbles[0-9]*|(train|valid)-[0-9]{3}(\.bmp)?|(0{7})?[0-9]{5}\.(jpg|bmp|png)"
    r"|(train|val)\.txt|meta\.json|COCO_scribbles\.json"
)
"""The names in the trees."""
SCRIBBLE_SETS = 5
"""Of the DAVIS validation videos."""
MOST_OBJECTS = 3
"""Of a scene."""
JPEG_QUALITY = 92
LEAST_THICKNESS = 6
"""Pixels. A thinner stroke fills less than 15 % of a 16-pixel cell, and so labels none ..."""
MOST_THICKNESS = 20
"""... pixels at 480p, of the smallest frames: more would leave too little of them open."""
ATTEMPTS = 50
STREAMS = {COCO: 0, DAVIS: 1, YOUTUBE: 2, "train": 0, "valid": 1}
"""What keeps the random numbers of trees and splits apart."""
LEAST_VISIBLE = 0.015
"""Share of the frame that every object shows of itself from its first frame on."""


@dataclass(frozen=True)
class VideoJob:
    """One image or video to be made."""

    root: Path
    tree: str
    """COCO, DAVIS or Youtube-VOS."""
    split: str
    """train or valid."""
    index: int
    seed: int
    shape: tuple[int, int]
    """H, W, pixels."""
    frames: int

    @property
    def name(self) -> str:
        """Of the image or video."""
        return f"{self.split}-{self.index:03d}"

    def generator(self, *stream: int) -> np.random.Generator:
        """A generator of this job's own, whoever else draws what; streams are independent."""
        key = (self.seed, STREAMS[self.tree], STREAMS[self.split], self.index, *stream)
        return np.random.default_rng(key)


@dataclass(frozen=True)
class Size:
    """How much is made. Videos are counted per tree, frames per video."""

    shape: tuple[int, int]
    """H, W of all frames, pixels."""
    coco_images: int
    davis_train: int
    youtube_train: int
    train_frames: int
    davis_valid: int
    youtube_valid: int
    valid_frames: int


SIZES = {
    "tiny": Size((64, 96), 6, 2, 2, 6, 1, 1, 6),
    "small": Size((160, 288), 200, 24, 24, 12, 6, 4, 16),
    "medium": Size((480, 854), 400, 30, 60, 24, 10, 10, 30),
}


def write_trees(out: Path, seed: int, size: str, workers: int = 1, overwrite: bool = False) -> None:
    """Write COCO/, DAVIS/ and Youtube-VOS/ under `out`; the bytes depend on seed and size alone.

    size: a key of SIZES. workers: processes; 1 works in this one. All is written to `out`.partial
    first and moved when it is whole. Trees that were made by the same arguments are kept as they
    are; those made by others are replaced only with `overwrite`, by way of `out`.replaced.
    Raises InputError where `out` holds anything else or cannot be written, for a bad argument, or
    where a process was killed.
    """
    out = Path(out)
    if out.name in ("", ".."):
        out = out.resolve()
    if size not in SIZES:
        raise InputError(f"size {size!r}: expected one of {', '.join(SIZES)}")
    if seed < 0 or workers < 1:
        raise InputError(f"seed {seed}, workers {workers}: expected seed >= 0 and workers >= 1")
    manifest = {"seed": seed, "size": size, "version": VERSION}
    if _is_made(out, manifest, overwrite):
        return
    partial, replaced = (_beside(out, kind) for kind in ("partial", "replaced"))
    for left in (partial, replaced):  # an earlier run was killed, or another is at work
        if left.exists():
            _check_ours(left)
    with alone_in(partial, "wait for it, or name another folder"), refused_by_name(out):
        try:
            if _is_made(out, manifest, overwrite):  # by that other run
                remove(partial)
                return
            for path in (replaced, *(path for path in partial.iterdir() if path.name != LOCK)):
                remove(path)
            write_json(partial / MANIFEST, manifest, sort_keys=True)
            _fill(partial, seed, SIZES[size], workers)
            if out.exists():  # moved, not removed: half of it must never look whole
                move(out, replaced)
            move(partial, out)
        except BaseException:
            remove(partial)
            raise
        remove(out / LOCK)
        remove(replaced)


def _beside(out: Path, kind: str) -> Path:
    return out.with_name(f"{out.name}.{kind}")


def _is_made(out: Path, manifest: dict, overwrite: bool) -> bool:
    """Whether `out` holds these very trees; raises InputError if it may not be replaced."""
    if not out.exists():
        return False
    _check_ours(out)
    if not any(out.iterdir()):
        return False
    found = read_json(out / MANIFEST, f"what made it; remove {out} and run again")
    if found == manifest:
        return True
    if not overwrite:
        raise InputError(
            f"{out}: holds synthetic data of {found}, not {manifest}; "
            "name another folder, or replace it with --overwrite"
        )
    return False


def _check_ours(folder: Path) -> None:
    """Refuse a folder that was not made here, or to which something was added."""
    if not _is_ours(folder):
        raise InputError(
            f"{folder}: exists and is not a folder of synthetic data alone; name an empty folder"
        )


def _is_ours(folder: Path) -> bool:
    """Whether it holds what is written here and nothing else; an empty one may be filled."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {""}
    names = {name for name in names if name != LOCK and not fnmatch(name, TEMPORARY)}
    return not names or (MANIFEST in names and names <= {MANIFEST, *TREES} and _all_ours(folder))


def _all_ours(folder: Path) -> bool:
    """Whether no tree was filled with other data since: real videos have other names."""
    paths = (path for tree in TREES for path in (folder / tree).rglob("*"))
    return all(_OURS.fullmatch(path.name) or fnmatch(path.name, TEMPORARY) for path in paths)


def _fill(root: Path, seed: int, size: Size, workers: int) -> None:
    jobs = list(_jobs(root, seed, size))
    results: dict[VideoJob, dict] = {}
    bar = tqdm(total=sum(job.frames for job in jobs), unit="frame", desc="synthetic data")
    with bar:
        for job, result in in_processes(_make, jobs, (), workers):
            results[job] = result
            bar.update(job.frames)
    coco = [results[job] for job in jobs if job.tree == COCO]
    write_json(CocoFolder(root / COCO).list_file, {"images": coco}, sort_keys=True)
    for year in YEARS:
        for split, listed in (("train", "train"), ("valid", "val")):
            chosen = [job.name for job in jobs if (job.tree, job.split) == (DAVIS, split)]
            path = DavisFolder(root / DAVIS).list_file(year, listed)
            write_text(path, "".join(f"{video}\n" for video in chosen))
    for split in ("train", "valid"):
        chosen = [job for job in jobs if (job.tree, job.split) == (YOUTUBE, split)]
        meta = {job.name: {"objects": results[job]} for job in chosen}
        path = YoutubeFolder(root / YOUTUBE).meta(split)
        write_json(path, {"videos": meta}, sort_keys=True)


def _jobs(root: Path, seed: int, size: Size) -> Iterator[VideoJob]:
    plan = [
        (COCO, "train", size.coco_images, 1),
        (DAVIS, "train", size.davis_train, size.train_frames),
        (DAVIS, "valid", size.davis_valid, size.valid_frames),
        (YOUTUBE, "train", size.youtube_train, size.train_frames),
        (YOUTUBE, "valid", size.youtube_valid, size.valid_frames),
    ]
    for tree, split, count, frames in plan:
        for index in range(count):
            yield VideoJob(root, tree, split, index, seed, size.shape, frames)


def _make(job: VideoJob) -> tuple[VideoJob, dict]:
    return job, make_video(job)


def make_video(job: VideoJob) -> dict:
    """Draw one image or video and its strokes, and write the files.

    Returns what the tree's JSON says of it ({} for DAVIS).
    """
    late = job.tree == YOUTUBE and job.index % 2 == 0
    count = max(1 + (job.index + 1) % 3, 2 if late else 1)
    for attempt in range(ATTEMPTS):
        rng = job.generator(0, attempt)
        scene = sample_scene(rng, job.split, job.shape, job.frames, count, late)
        frames = [render(scene, index) for index in range(job.frames)]
        if shows_everything(scene, frames):
            return _WRITERS[job.tree](job, scene, frames)
    raise RuntimeError(f"{job}: no scene in {ATTEMPTS} attempts shows all its objects")


def shows_everything(scene: CreatureScene, frames: list[DrawnFrame]) -> bool:
    """Whether every object shows enough of itself on each frame from its first one on."""
    return all(
        (frame.labels == number).mean() >= LEAST_VISIBLE
        for number, creature in scene.creatures
        for frame in frames[creature.appears :]
    )


def _write_coco(job: VideoJob, scene: CreatureScene, frames: list[DrawnFrame]) -> dict:
    folder = CocoFolder(job.root / COCO)
    image, scribble = f"{job.index:012d}.jpg", f"{job.index:012d}.bmp"
    _write_jpeg(folder.images / image, frames[0].image)
    write_map(folder.scribbles / scribble, _strokes(job, scene, frames, 0))
    # The file's `num_objects` is the background scribble's label, as the release takes it.
    num_objects = len(scene.creatures) + 1
    return {"file_name": image, "anno_name": scribble, "num_objects": num_objects}


def _write_davis(job: VideoJob, scene: CreatureScene, frames: list[DrawnFrame]) -> dict:
    folder = DavisFolder(job.root / DAVIS)
    for index, frame in enumerate(frames):
        _write_jpeg(folder.images / job.name / f"{index:05d}.jpg", frame.image)
        if job.split == "train":
            path = folder.train_scribbles / job.name / f"{index:05d}.bmp"
            write_map(path, _strokes(job, scene, frames, index))
        else:
            _write_mask(folder.annotations / job.name / f"{index:05d}.png", frame.labels)
    if job.split == "valid":
        for group in range(SCRIBBLE_SETS):
            path = folder.valid_scribbles(group) / f"{job.name}.bmp"
            write_map(path, _strokes(job, scene, frames, 0, group))
    return {}


def _write_youtube(job: VideoJob, scene: CreatureScene, frames: list[DrawnFrame]) -> dict:
    folder = YoutubeFolder(job.root / YOUTUBE)
    names = [f"{FRAME_SPACING * index:05d}" for index in range(len(frames))]
    creatures = sorted(scene.creatures, key=lambda item: item[0])
    for index, (name, frame) in enumerate(zip(names, frames, strict=True)):
        _write_jpeg(folder.images(job.split) / job.name / f"{name}.jpg", frame.image)
        path = folder.scribbles(job.split) / job.name / f"{name}.bmp"
        if job.split == "train":
            write_map(path, _strokes(job, scene, frames, index))
            continue
        _write_mask(folder.annotations(job.split) / job.name / f"{name}.png", frame.labels)
        new = [number for number, creature in creatures if creature.appears == index]
        if new:
            scribble = _strokes(job, scene, frames, index)
            scribble[~np.isin(scribble, [*new, len(creatures) + 1])] = 0
            write_map(path, scribble)
    return {
        str(number): {"category": creature.kind, "frames": names[creature.appears :]}
        for number, creature in creatures
    }


_WRITERS: dict[str, Callable[[VideoJob, CreatureScene, list[DrawnFrame]], dict]] = {
    COCO: _write_coco,
    DAVIS: _write_davis,
    YOUTUBE: _write_youtube,
}


def _strokes(
    job: VideoJob, scene: CreatureScene, frames: list[DrawnFrame], index: int, group: int = 0
) -> np.ndarray:
    """uint8 [H, W] as on disk, of all objects and the background of one frame.

    As thick on small frames as the network's cells need them, whatever their size.
    """
    thickness = min(MOST_THICKNESS, LEAST_THICKNESS * 480 / min(job.shape))
    options = HandOptions(thickness=max(thickness, HandOptions.thickness))
    rng = job.generator(1, index, group)
    return draw_scribble(frames[index].labels, len(scene.creatures), rng, options)


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    sampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, *sampling]
    write_encoded(path, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)


def _write_mask(path: Path, labels: np.ndarray) -> None:
    mask = Image.fromarray(labels)
    mask.putpalette(davis_palette()[: MOST_OBJECTS + 1].tobytes())
    write_picture(path, mask, "PNG")
