#!/usr/bin/env python
"""What a video takes as a whole: `segment` from start to end, or a correction in a session.

    python scripts/benchmark_video.py whole small float32
    python scripts/benchmark_video.py session small float32 --frames 1000

`scripts/benchmark.py` runs both, in a process of its own each, on the demo clip; for a session it
is played to and fro until there are so many frames. Prints what was found as JSON.
"""

from __future__ import annotations

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np

import rhmnet
from rhmnet.config import PRECISIONS
from rhmnet.errors import InputError, say
from rhmnet.files.images import read_labels, write_mask
from rhmnet.files.source import Source
from rhmnet.runtime import CommandParser, run_command, whole
from rhmnet.tools.segment import Session

DEMO = Path(__file__).resolve().parents[1] / "docs" / "demo"
CLIP, STROKES, PLACE = DEMO / "bottle.mp4", DEMO / "strokes", 62
"""The demo clip, its strokes, and the frame that they are on."""


def main() -> None:
    args = parse()
    if args.what == "whole":
        row = whole_command(CLIP, STROKES, args.checkpoint, args.precision, args.overrides)
    else:
        row = correction(args)
    say(json.dumps(row))


def correction(args: argparse.Namespace) -> dict:
    """What a stroke in the middle of a video costs that has been run, with strokes on its start.

    steps, seconds: of the full run and of the correction, which goes on from states that were kept;
    preview_seconds: from the stroke to its preview; start_seconds, first_seconds: from the run's
    beginning to its first step, and to the first frame that is final again, on which the stroke
    lies; disk_mb: of all that the session keeps.
    """
    settings = [*args.overrides, f"test.precision={args.precision}"]
    model, config = rhmnet.load_model(args.checkpoint, settings)
    model.to(args.device)
    with tempfile.TemporaryDirectory() as place:
        source = Source(str(lengthened(Path(place) / "long.mp4", args.frames)))
        middle = args.frames // 2
        with Session(source, model, config, Path(place) / "project") as session:
            session.add_strokes(0, read_labels(STROKES / f"{PLACE}.png"))
            seconds, *_ = timed_run(session)
            row = {"frames": args.frames, "device": args.device, "precision": args.precision}
            row |= {"full_steps": session.steps, "full_seconds": seconds}
            began = time.perf_counter()
            session.add_strokes(middle, inside(session.labels(middle)))
            session.preview(middle)
            row["preview_seconds"] = time.perf_counter() - began
            steps = session.steps
            seconds, start, first = timed_run(session)
            row |= {"steps": session.steps - steps, "seconds": seconds}
            row |= {"start_seconds": start, "first_seconds": first}
            files = (Path(place) / "project").rglob("*")
            row["disk_mb"] = sum(path.stat().st_size for path in files) / 2**20
    return row


def timed_run(session: Session) -> tuple[float, float, float]:
    """Seconds of a run, to its first step, and to its first finished frame."""
    began, start, first = time.perf_counter(), None, None
    with closing(session.work()) as steps:
        for step in steps:
            now = time.perf_counter() - began
            start = now if start is None else start
            first = now if first is None and step.labels is not None else first
    return time.perf_counter() - began, start, first


def inside(labels: np.ndarray) -> np.ndarray:
    """A stroke uint8 [H, W] within the object 1 of a mask, or in the middle where it has none."""
    rows, columns = np.nonzero(labels == 1)
    if not len(rows):
        rows, columns = (np.array([side // 2]) for side in labels.shape)
    strokes, row = np.zeros_like(labels), int(np.median(rows))
    strokes[row - 2 : row + 3, columns.min() : columns.max() + 1] = 1
    return strokes


def lengthened(path: Path, frames: int) -> Path:
    """The demo clip from its strokes on, to and fro, in so many frames."""
    source = Source(str(CLIP))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, source.size[::-1])

    def images() -> Iterator[np.ndarray]:
        for way in itertools.cycle((source.forward, source.backward)):
            yield from way(PLACE if way == source.forward else len(source) - 1, source.size)

    for image in itertools.islice(images(), frames):
        writer.write(image[..., ::-1])
    writer.release()
    return path


def whole_command(
    video: Path, strokes: Path, checkpoint: str, precision: str, overrides: list[str]
) -> dict:
    """Segment a video in a process of its own; what it took.

    frames_per_second: of the video, all that the command does included; peak_mb: of its memory;
    cpu_seconds: of all its threads; read, write: seconds a frame for decoding and for a mask.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [sys.executable, "-m", "rhmnet", "segment", str(video), *overrides]
        command += [f"test.precision={precision}", "--checkpoint", checkpoint, "--out", str(out)]
        command += ["--scribble", str(strokes)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        seconds = time.perf_counter() - began
        if done.returncode:
            raise InputError(f"segment: {done.stderr.strip().splitlines()[-1]}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        masks = sorted((out / "masks").glob("*.png"))
        labels = read_labels(masks[len(masks) // 2])
        write = _mean_seconds(lambda: write_mask(out / "again.png", labels), 20)
    return {
        "precision": precision,
        "frames_per_second": len(masks) / seconds,
        "cpu_seconds": sum(
            getattr(after, kind) - getattr(before, kind) for kind in ("ru_utime", "ru_stime")
        ),
        "seconds": seconds,
        "peak_mb": after.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10),
        "read": _mean_seconds(lambda: _decode(video), 1) / len(masks),
        "write": write,
    }


def _decode(video: Path) -> None:
    source = Source(video)
    for _ in source.forward(0, source.size):
        pass


def _mean_seconds(call: Callable[[], object], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count


def parse() -> argparse.Namespace:
    parser = CommandParser(settings=True, description=__doc__)
    parser.add_argument("what", choices=("whole", "session"))
    parser.add_argument("checkpoint", help="weights, or `small`")
    parser.add_argument("precision", choices=PRECISIONS)
    parser.add_argument("--device", default="cpu", help="of a session (default: cpu)")
    parser.add_argument(
        "--frames", type=whole(4, 10**6), default=1000, help="of a session (default: 1000)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    run_command(main)
