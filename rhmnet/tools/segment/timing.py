"""What `segment` takes as a whole: starting, reading, tracking, writing masks."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rhmnet.errors import InputError
from rhmnet.files.images import read_labels, write_mask
from rhmnet.files.source import Source


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


def describe_whole(row: dict) -> str:
    """One line of what `whole_command` found."""
    return (
        f"whole command, {row['precision']}: {row['frames_per_second']:.1f} frames/s, "
        f"{row['seconds']:.1f} s ({row['cpu_seconds']:.1f} s of processors), peak "
        f"{row['peak_mb']:.0f} MB; beside tracking, in threads: reading {1000 * row['read']:.1f} "
        f"ms, writing {1000 * row['write']:.1f} ms a frame"
    )


def _decode(video: Path) -> None:
    source = Source(video)
    for _ in source.forward(0, source.size):
        pass


def _mean_seconds(call: Callable[[], object], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count
