"""One image or video of a tree: draw its scene, its strokes, and write the files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from rhmnet.files.images import write_map
from rhmnet.files.writing import write_encoded, write_picture
from rhmnet.tools.scribbles.strokes import StrokeOptions, draw_scribble
from rhmnet.tools.synthetic.render import Frame, render, shows_everything
from rhmnet.tools.synthetic.scene import Scene, sample_scene

SCRIBBLE_SETS = 5
"""Of the DAVIS validation videos."""
YOUTUBE_SPACING = 5
"""Step of the frame numbers in Youtube-VOS."""
JPEG_QUALITY = 92
LEAST_THICKNESS = 6
"""Pixels. A thinner stroke fills less than 15 % of a 16-pixel cell, and so labels none ..."""
MOST_THICKNESS = 20
"""... pixels at 480p, of the smallest frames: more would leave too little of them open."""
ATTEMPTS = 50
STREAMS = {"COCO": 0, "DAVIS": 1, "Youtube-VOS": 2, "train": 0, "valid": 1}
"""What keeps the random numbers of trees and splits apart."""


@dataclass(frozen=True)
class Job:
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


def write(job: Job) -> dict:
    """Make one image or video; returns what the tree's JSON says of it ({} for DAVIS)."""
    late = job.tree == "Youtube-VOS" and job.index % 2 == 0
    count = max(1 + (job.index + 1) % 3, 2 if late else 1)
    for attempt in range(ATTEMPTS):
        scene = sample_scene(
            job.generator(0, attempt), job.split, job.shape, job.frames, count, late
        )
        frames = [render(scene, index) for index in range(job.frames)]
        if shows_everything(scene, frames):
            return _WRITERS[job.tree](job, scene, frames)
    raise RuntimeError(f"{job}: no scene in {ATTEMPTS} attempts shows all its objects")


def _write_coco(job: Job, scene: Scene, frames: list[Frame]) -> dict:
    folder = job.root / "COCO"
    image, scribble = f"{job.index:012d}.jpg", f"{job.index:012d}.bmp"
    _write_jpeg(folder / "images" / image, frames[0].image)
    _write_strokes(job, folder / "scribbles" / scribble, scene, frames, 0)
    # The file's `num_objects` is the background scribble's label, as the release takes it.
    num_objects = len(scene.creatures) + 1
    return {"file_name": image, "anno_name": scribble, "num_objects": num_objects}


def _write_davis(job: Job, scene: Scene, frames: list[Frame]) -> dict:
    folder = job.root / "DAVIS"
    for index, frame in enumerate(frames):
        _write_jpeg(folder / "JPEGImages" / "480p" / job.name / f"{index:05d}.jpg", frame.image)
        if job.split == "train":
            path = folder / "train_scribbles" / job.name / f"{index:05d}.bmp"
            _write_strokes(job, path, scene, frames, index)
        else:
            path = folder / "Annotations" / "480p" / job.name / f"{index:05d}.png"
            _write_mask(path, frame.labels)
    if job.split == "valid":
        for number in range(SCRIBBLE_SETS):
            path = folder / f"valid_scribbles{number}" / f"{job.name}.bmp"
            _write_strokes(job, path, scene, frames, 0, scribble_set=number)
    return {}


def _write_youtube(job: Job, scene: Scene, frames: list[Frame]) -> dict:
    folder = job.root / "Youtube-VOS"
    names = [f"{YOUTUBE_SPACING * index:05d}" for index in range(len(frames))]
    creatures = sorted(scene.creatures, key=lambda item: item[0])
    for index, (name, frame) in enumerate(zip(names, frames, strict=True)):
        _write_jpeg(folder / job.split / "JPEGImages" / job.name / f"{name}.jpg", frame.image)
        if job.split == "train":
            path = folder / "train_scribbles" / job.name / f"{name}.bmp"
            _write_strokes(job, path, scene, frames, index)
            continue
        _write_mask(folder / "valid" / "Annotations" / job.name / f"{name}.png", frame.labels)
        new = [number for number, creature in creatures if creature.appears == index]
        if new:
            path = folder / "valid_scribbles" / job.name / f"{name}.bmp"
            _write_strokes(job, path, scene, frames, index, objects=new)
    return {
        str(number): {"category": creature.kind, "frames": names[creature.appears :]}
        for number, creature in creatures
    }


_WRITERS: dict[str, Callable[[Job, Scene, list[Frame]], dict]] = {
    "COCO": _write_coco,
    "DAVIS": _write_davis,
    "Youtube-VOS": _write_youtube,
}


def _write_strokes(
    job: Job,
    path: Path,
    scene: Scene,
    frames: list[Frame],
    index: int,
    scribble_set: int = 0,
    objects: list[int] | None = None,
) -> None:
    """Strokes of one frame, of these objects (all if None) and of the background, as a BMP."""
    total = len(scene.creatures)
    rng = job.generator(1, index, scribble_set)
    scribble = draw_scribble(frames[index].labels, total, rng, _stroke_options(job.shape))
    if objects is not None:
        scribble[~np.isin(scribble, [*objects, total + 1])] = 0
    write_map(path, scribble)


def _stroke_options(shape: tuple[int, int]) -> StrokeOptions:
    """Strokes as thick on small frames as the network's cells need them, whatever their size."""
    options = StrokeOptions()
    thickness = min(MOST_THICKNESS, LEAST_THICKNESS * 480 / min(shape))
    thickness = max(thickness, options.thickness)
    return dataclasses.replace(options, thickness=thickness)


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    sampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, *sampling]
    write_encoded(path, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)


def _write_mask(path: Path, labels: np.ndarray) -> None:
    mask = Image.fromarray(labels)
    mask.putpalette(_PALETTE)
    write_picture(path, mask, "PNG")


_PALETTE = bytes(
    [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]  # DAVIS's colours of background and objects 1..3
)
