"""Write synthetic scenes as the three data trees: COCO, DAVIS and Youtube-VOS.

The layouts are those of docs/method.md, section 8. Dense masks are written for validation
videos alone, where they are needed for scoring; training images and videos come with strokes only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from tqdm import tqdm

from rhmnet.errors import InputError
from rhmnet.files.concurrency import LOCK, alone_in, in_processes
from rhmnet.files.reading import read_json
from rhmnet.files.writing import TEMPORARY, move, refused_by_name, remove, write_json, write_text
from rhmnet.tools.synthetic import videos
from rhmnet.tools.synthetic.videos import Job

VERSION = 3
"""Of pictures and strokes: raised whenever the same seed gives other bytes than before."""
MANIFEST = "synthetic.json"
TREES = ("COCO", "DAVIS", "Youtube-VOS")
_OURS = re.compile(
    r"images|scribbles|JPEGImages|Annotations|ImageSets|480p|2016|2017|train|valid|train_scribbles"
    r"|valid_scribbles[0-9]*|(train|valid)-[0-9]{3}(\.bmp)?|(0{7})?[0-9]{5}\.(jpg|bmp|png)"
    r"|(train|val)\.txt|meta\.json|COCO_scribbles\.json"
)
"""The names in the trees."""


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
    results: dict[Job, dict] = {}
    bar = tqdm(total=sum(job.frames for job in jobs), unit="frame", desc="synthetic data")
    with bar:
        for job, result in in_processes(_make, jobs, (), workers):
            results[job] = result
            bar.update(job.frames)
    coco = [results[job] for job in jobs if job.tree == "COCO"]
    listing = root / "COCO" / "COCO_scribbles.json"
    write_json(listing, {"images": coco}, sort_keys=True)
    davis = root / "DAVIS" / "ImageSets"
    for year in ("2016", "2017"):
        for split, name in (("train", "train.txt"), ("valid", "val.txt")):
            chosen = [job.name for job in jobs if (job.tree, job.split) == ("DAVIS", split)]
            write_text(davis / year / name, "".join(f"{video}\n" for video in chosen))
    for split in ("train", "valid"):
        chosen = [job for job in jobs if (job.tree, job.split) == ("Youtube-VOS", split)]
        meta = {job.name: {"objects": results[job]} for job in chosen}
        path = root / "Youtube-VOS" / split / "meta.json"
        write_json(path, {"videos": meta}, sort_keys=True)


def _jobs(root: Path, seed: int, size: Size) -> Iterator[Job]:
    plan = [
        ("COCO", "train", size.coco_images, 1),
        ("DAVIS", "train", size.davis_train, size.train_frames),
        ("DAVIS", "valid", size.davis_valid, size.valid_frames),
        ("Youtube-VOS", "train", size.youtube_train, size.train_frames),
        ("Youtube-VOS", "valid", size.youtube_valid, size.valid_frames),
    ]
    for tree, split, count, frames in plan:
        for index in range(count):
            yield Job(root, tree, split, index, seed, size.shape, frames)


def _make(job: Job) -> tuple[Job, dict]:
    return job, videos.write(job)
