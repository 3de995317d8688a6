"""Make training clips of stills with masks: for those who have no videos to scribble on.

    %(prog)s datasets/COCO datasets/Youtube-VOS \\
        --annotations annotations/instances_train2017.json --images train2017
    %(prog)s my_stills datasets/Youtube-VOS --masks masks --images images

Objects are cut out of some stills and move over another one, each with a motion of its own
(translation, rotation, scale, shear, bending, light, blur), seen by a moving camera. The other
still's objects are objects too; what moves covers them or passes behind them. The layout is that
of Youtube-VOS' training videos, with strokes: train/JPEGImages, train_scribbles, and dense
train/Annotations to look at, which training never opens.

The same seed gives the same bytes, whatever the number of workers. A run that was stopped goes on
where it was when the same command is given again; a larger --count adds clips.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from rhmnet.data.youtube import FRAME_SPACING, YoutubeFolder
from rhmnet.errors import MOST_SEED, InputError, say
from rhmnet.files import given_or_below
from rhmnet.files.concurrency import LOCK, alone_in, in_processes, usable_cores
from rhmnet.files.images import write_map, write_mask
from rhmnet.files.reading import read_json
from rhmnet.files.writing import move, refused_by_name, remove, write_encoded, write_json
from rhmnet.runtime import MOST_WORKERS, CommandParser, whole
from rhmnet.tools.clips.cut_outs import Picture, Still, coco_stills, map_stills
from rhmnet.tools.clips.moving_scene import ClipScene, render, sample_scene, shows_everything
from rhmnet.tools.scribbles.hand import HandOptions, draw_scribble
from rhmnet.tools.scribbles.make import check_stamp
from rhmnet.tools.scribbles.masks import VOID

VERSION = 1
"""Of the clips: raised whenever the same seed gives other bytes than before."""
STAMP = "clips.json"
UNFINISHED = ".unfinished"
_REMEDY = "wait for it, or name another folder"
STILLS_A_CLIP = 5
"""One for the ground, the others to cut objects out of; not all of them are good for it."""
ATTEMPTS = 12
MIN_STROKED = 60.0
"""Pixels at 480p of an object that still gets a stroke."""
MOST_OF_OBJECTS = 0.75
"""Share of a still beyond which it is no ground: background strokes would find no room."""


@dataclass(frozen=True)
class ClipRecipe:
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


class ClipJob(NamedTuple):
    """One clip to be made."""

    index: int
    stills: tuple[Still, ...]

    @property
    def name(self) -> str:
        return f"clip-{self.index:06d}"


def main(argv: Sequence[str] | None = None, prog: str = "python scripts/make_clips.py") -> None:
    """Parse the command line and make the clips."""
    arguments = _parser(prog).parse_args(argv)
    masks, side = not arguments.no_masks, arguments.short_side
    recipe = ClipRecipe(arguments.seed, arguments.frames, side, masks)
    stills = _stills(arguments)
    out, count = arguments.out, arguments.count
    made = write_clips(stills, out, count, recipe, arguments.workers, arguments.overwrite)
    say(f"{made} clips made, {count - made} kept as they were: {out} ({len(stills)} stills)")


def _stills(arguments: argparse.Namespace) -> list[Still]:
    root = arguments.stills
    images = _place(root, arguments.images, "images", "--images, the folder of the pictures")
    if arguments.annotations is not None:
        if arguments.masks is not None:
            raise InputError("--annotations and --masks: give one of them")
        annotations = given_or_below(arguments.annotations, root, "--annotations")
        return coco_stills(annotations, images)
    return map_stills(_place(root, arguments.masks, "masks", "--masks, label maps"), images)


def _place(root: Path, given: Path | None, usual: str, what: str) -> Path:
    """The folder that an option names, from here or from that of the stills; else the usual one."""
    return root / usual if given is None else given_or_below(given, root, what)


def _parser(prog: str) -> CommandParser:
    parser = CommandParser(prog, description=__doc__)
    add, seeds, sides = parser.add_argument, whole(0, MOST_SEED), whole(64, 2160)
    cores = usable_cores()
    add("stills", type=Path, help="folder of the stills")
    add("out", type=Path, help="folder for train/ and train_scribbles/")
    add("--annotations", type=Path, help="COCO instances, instances_*.json")
    named = "folder of label maps, named as the images (default: masks)"
    add("--masks", type=Path, help=named)
    add("--images", type=Path, help="folder of the pictures (default: images)")
    add("--count", type=whole(1, 10**6), default=1500, help="clips (default 1500)")
    add("--frames", type=whole(2, 1000), default=6, help="of a clip (default 6)")
    add("--short-side", type=sides, default=256, help="of a frame, pixels (default 256)")
    add("--seed", type=seeds, default=0, help="of everything drawn (default 0)")
    workers = "processes (default: all cores)"
    add("--workers", type=whole(1, MOST_WORKERS), default=cores, help=workers)
    add("--no-masks", action="store_true", help="leave train/Annotations out")
    add("--overwrite", action="store_true", help="replace clips of other options or stills")
    return parser


def write_clips(
    stills: Sequence[Still],
    out: Path,
    count: int,
    recipe: ClipRecipe = ClipRecipe(),
    workers: int = 1,
    overwrite: bool = False,
) -> int:
    """Make clips 0..count - 1 under `out`; returns how many were made, and not there already.

    Clip i depends on the recipe, the stills and i alone. workers: processes. overwrite: remove
    clips that were made here otherwise.
    Each clip is written aside and moved into place, its scribbles last: a clip whose scribbles are
    there is whole, and is kept by a later run. STAMP in `out` says how they were made.
    Raises InputError where `out` holds anything else, or a still cannot be read.
    """
    if count < 1 or workers < 1:
        raise InputError(f"--count {count}, --workers {workers}: expected at least 1")
    if len(stills) < 2:
        raise InputError(f"{len(stills)} stills: expected at least 2, to move one over another")
    with alone_in(out, _REMEDY, tidy=True):
        _begin(out, stills, recipe, overwrite)
        return _make_all(stills, out, count, recipe, workers)


def _make_all(
    stills: Sequence[Still], out: Path, count: int, recipe: ClipRecipe, workers: int
) -> int:
    there = YoutubeFolder(out).scribbles("train")
    missing = [i for i in range(count) if not (there / ClipJob(i, ()).name).is_dir()]
    work = _jobs(stills, missing, recipe)
    try:
        with tqdm(total=count, initial=count - len(missing), unit="clip", desc="clips") as bar:
            used = workers if len(missing) > 1 else 1
            for _ in in_processes(_make, work, (out, recipe), used):
                bar.update()
    finally:
        remove(out / UNFINISHED)
    return len(missing)


def _begin(out: Path, stills: Sequence[Still], recipe: ClipRecipe, overwrite: bool) -> None:
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
    path, folder = out / STAMP, YoutubeFolder(out)
    if path.is_file():
        check_stamp(out, "clips", _read_stamp(path), stamp, overwrite)
        if overwrite:
            for place in (*(out / "train").glob("*"), folder.scribbles("train"), out / UNFINISHED):
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


def _jobs(stills: Sequence[Still], indices: Sequence[int], recipe: ClipRecipe) -> Iterator[ClipJob]:
    for index in indices:
        rng = np.random.default_rng([recipe.seed, index, 0])
        size = min(STILLS_A_CLIP, len(stills))
        chosen = rng.choice(len(stills), size=size, replace=False)
        yield ClipJob(index, tuple(stills[int(i)] for i in chosen))


def _make(job: ClipJob, out: Path, recipe: ClipRecipe) -> int:
    pictures = [p for still in job.stills if (p := still.read(recipe.short_side)) is not None]
    scene, frames = _draw(job, pictures, recipe)
    with refused_by_name(out):
        _write(job, out, scene, frames, recipe)
    return job.index


def _draw(
    job: ClipJob, pictures: list[Picture], recipe: ClipRecipe
) -> tuple[ClipScene, list[Picture]]:
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


def _write(
    job: ClipJob, out: Path, scene: ClipScene, frames: list[Picture], recipe: ClipRecipe
) -> None:
    rng = np.random.default_rng([recipe.seed, job.index, 2])
    options = HandOptions(
        thickness=rng.uniform(6, 10), coverage=rng.uniform(0.6, 0.9), min_area=MIN_STROKED
    )
    quality = int(rng.integers(75, 96))
    aside = out / UNFINISHED / job.name
    remove(aside)
    for index, frame in enumerate(frames):
        stem = f"{FRAME_SPACING * index:05d}"
        _write_jpeg(aside / "JPEGImages" / f"{stem}.jpg", frame.image, quality)
        labels = frame.labels
        strokes = draw_scribble(labels, scene.num_objects, rng, options, labels == VOID)
        write_map(aside / "scribbles" / f"{stem}.bmp", strokes)
        if recipe.masks:
            write_mask(aside / "Annotations" / f"{stem}.png", labels, compress_level=6)
    folder = YoutubeFolder(out)
    _move(aside / "JPEGImages", folder.images("train") / job.name)
    if recipe.masks:
        _move(aside / "Annotations", folder.annotations("train") / job.name)
    _move(aside / "scribbles", folder.scribbles("train") / job.name)
    remove(aside)


def _move(source: Path, target: Path) -> None:
    remove(target)  # an earlier run was stopped between two moves
    move(source, target)


def _write_jpeg(path: Path, image: np.ndarray, quality: int) -> None:
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    write_encoded(path, pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
