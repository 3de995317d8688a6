#!/usr/bin/env python
"""Draw the picture at the top of README.md: the demo clip, segmented by the shipped network.

    python scripts/demo_picture.py          # docs/demo.png; a minute on two cores

First from the strokes of docs/demo/strokes alone, then with the one of docs/demo/one_more, too.
"""

from __future__ import annotations

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from rhmnet.errors import say
from rhmnet.files.images import read_labels
from rhmnet.files.source import Source
from rhmnet.files.writing import write_picture
from rhmnet.runtime import CommandParser, run_command
from rhmnet.tools.segment.segment_command import main as segment
from rhmnet.visualize import contact_sheet, draw_scribble, overlay

DEMO = Path("docs/demo")
CLIP = DEMO / "bottle.mp4"
CHECKPOINT = "checkpoints/rhmnet_small.pth.tar"


def main() -> None:
    parser = CommandParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/demo.png"), help="picture to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        once, twice = Path(folder) / "once", Path(folder) / "twice"
        track(once, "strokes")
        track(twice, "strokes", "one_more")
        picture = draw(once / "masks", twice / "masks")
    write_picture(args.out, Image.fromarray(picture), "PNG", optimize=True)
    say(f"wrote {args.out}: {args.out.stat().st_size:,} bytes")


def track(out: Path, *strokes: str) -> None:
    """Segment the clip from these folders of strokes."""
    maps = [str(DEMO / name) for name in strokes]
    code = segment(
        [str(CLIP), "--checkpoint", CHECKPOINT, "--out", str(out), "--scribble", *maps],
        prog="segment",
    )
    if code:
        sys.exit(code)


def draw(once: Path, twice: Path) -> np.ndarray:
    """uint8 [H, W, 3] of masks from the first strokes, and of those from one more."""
    source = Source(CLIP)
    frames = list(source.forward(0, source.size))

    def strokes(name: str, frame: int) -> np.ndarray:
        return draw_scribble(frames[frame], read_labels(DEMO / name / f"{frame}.png"))

    def masks(folder: Path, frame: int) -> np.ndarray:
        return overlay(frames[frame], read_labels(folder / f"{frame:05d}.png"))

    pictures = {
        "strokes on frame 62": strokes("strokes", 62),
        **{f"frame {f}": masks(once, f) for f in (30, 52, 72)},
        "frame 100: they look alike": masks(once, 100),
        "one more stroke, frame 90": strokes("one_more", 90),
        **{f"then frame {f}": masks(twice, f) for f in (84, 100)},
    }
    return contact_sheet(list(pictures.values()), list(pictures), columns=4, height=200)


if __name__ == "__main__":
    run_command(main)
