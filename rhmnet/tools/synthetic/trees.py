"""Write synthetic scenes as the three data trees: COCO, DAVIS and Youtube-VOS.

The layouts are those of docs/method.md, section 8. Dense masks are written for validation
videos alone, where they are needed for scoring; training images and videos come with strokes only.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import cv2
from tqdm import tqdm

from rhmnet.errors import InputError
from rhmnet.tools.synthetic import videos
from rhmnet.tools.synthetic.videos import Job

VERSION = 3
"""Of pictures and strokes: raised whenever the same seed gives other bytes than before."""
MANIFEST = "synthetic.json"
TREES = ("COCO", "DAVIS", "Youtube-VOS")


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
    if size not in SIZES:
        raise InputError(f"size {size!r}: expected one of {', '.join(SIZES)}")
    if seed < 0 or workers < 1:
        raise InputError(f"seed {seed}, workers {workers}: expected seed >= 0 and workers >= 1")
    manifest = {"seed": seed, "size": size, "version": VERSION}
    if _is_made(out, manifest, overwrite):
        return
    partial, replaced = (out.with_name(f"{out.name}.{kind}") for kind in ("partial", "replaced"))
    try:
        for left in (partial, replaced):
            if left.exists():  # an earlier run was killed
                _check_ours(left)
                shutil.rmtree(left)
        partial.mkdir(parents=True)
        _write_json(partial / MANIFEST, manifest)
        _fill(partial, seed, SIZES[size], workers)
        if out.exists():  # moved, not removed: half of it must never look whole
            out.rename(replaced)
        partial.rename(out)
        shutil.rmtree(replaced, ignore_errors=True)
    except OSError as error:
        place = error.filename or partial
        raise InputError(
            f"{place}: cannot be written ({error.strerror}); name another folder, or make room"
        ) from None
    except BrokenProcessPool:
        raise InputError(
            f"{out}: a process was killed, for memory maybe; run again with fewer --workers"
        ) from None
    finally:
        if partial.exists() and _is_ours(partial):
            shutil.rmtree(partial, ignore_errors=True)


def _is_made(out: Path, manifest: dict, overwrite: bool) -> bool:
    """Whether `out` holds these very trees; raises InputError if it may not be replaced."""
    if not out.exists():
        return False
    _check_ours(out)
    if not any(out.iterdir()):
        return False
    try:
        found = json.loads((out / MANIFEST).read_text())
    except ValueError:
        raise InputError(f"{out / MANIFEST}: not valid JSON; remove {out} and run again") from None
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
    return not names or (MANIFEST in names and names <= {MANIFEST, *TREES})


def _fill(root: Path, seed: int, size: Size, workers: int) -> None:
    jobs = list(_jobs(root, seed, size))
    results: dict[Job, dict] = {}
    bar = tqdm(total=sum(job.frames for job in jobs), unit="frame", desc="synthetic data")
    with bar:
        for job, result in _run(jobs, workers):
            results[job] = result
            bar.update(job.frames)
    coco = [results[job] for job in jobs if job.tree == "COCO"]
    _write_json(root / "COCO" / "COCO_scribbles.json", {"images": coco})
    davis = root / "DAVIS" / "ImageSets"
    for year in ("2016", "2017"):
        (davis / year).mkdir(parents=True)
        for split, name in (("train", "train.txt"), ("valid", "val.txt")):
            chosen = [job.name for job in jobs if (job.tree, job.split) == ("DAVIS", split)]
            (davis / year / name).write_text("".join(f"{video}\n" for video in chosen))
    for split in ("train", "valid"):
        chosen = [job for job in jobs if (job.tree, job.split) == ("Youtube-VOS", split)]
        meta = {job.name: {"objects": results[job]} for job in chosen}
        _write_json(root / "Youtube-VOS" / split / "meta.json", {"videos": meta})


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


def _run(jobs: list[Job], workers: int) -> Iterator[tuple[Job, dict]]:
    """Each job with its result, in whatever order they end."""
    if workers == 1:
        for job in jobs:
            yield job, videos.write(job)
        return
    # Fresh processes: a forked one may inherit locks that OpenCV's or torch's threads hold.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        futures = {pool.submit(videos.write, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _start_worker() -> None:
    """Ctrl-C is the parent's to handle, and one thread a worker is enough."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
