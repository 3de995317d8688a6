#!/usr/bin/env python
"""Draw the picture of docs/scribbles.md that shows clips made of stills.

    python scripts/clips_picture.py         # docs/clips.png; a minute on one core

The stills are frames of this program's own made-up videos. A row is a clip; the strokes that
training sees lie over the first frame, the masks that it never sees over the others.
"""

from __future__ import annotations

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from rhmnet.errors import say
from rhmnet.files.images import read_image, read_labels
from rhmnet.files.writing import write_picture
from rhmnet.runtime import CommandParser, run_command
from rhmnet.tools.clips import main as make_clips
from rhmnet.tools.synthetic import write_trees
from rhmnet.visualize import contact_sheet, draw_scribble, overlay

CLIPS, FRAMES = 3, 5


def main() -> None:
    parser = CommandParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/clips.png"), help="picture to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made, clips = Path(folder) / "made", Path(folder) / "clips"
        write_trees(made, seed=0, size="small")
        where = ["--masks", "Annotations/480p", "--images", "JPEGImages/480p"]
        size = ["--count", str(CLIPS), "--frames", str(FRAMES), "--seed", "2", "--workers", "1"]
        make_clips([str(made / "DAVIS"), str(clips), *where, *size])
        videos = sorted(path for path in (clips / "train_scribbles").iterdir() if path.is_dir())
        cells = [cell for video in videos for cell in row(video)]
    sheet = contact_sheet([cell for cell, _ in cells], [text for _, text in cells], FRAMES, 120)
    write_picture(args.out, Image.fromarray(sheet).quantize(128), "PNG", optimize=True)
    say(f"wrote {args.out}: {args.out.stat().st_size:,} bytes")


def row(strokes: Path) -> list[tuple[np.ndarray, str]]:
    """Pictures and captions of one clip; strokes: its folder of scribbles."""
    train = strokes.parents[1] / "train"
    cells = []
    for path in sorted((train / "JPEGImages" / strokes.name).iterdir()):
        image = read_image(path)
        masks = read_labels(train / "Annotations" / strokes.name / f"{path.stem}.png")
        masks[masks == 255] = 0
        if cells:
            cells.append((overlay(image, masks), f"frame {len(cells)}"))
            continue
        scribble = read_labels(strokes / f"{path.stem}.bmp")
        scribble[scribble == masks.max() + 1] = 255
        cells.append((draw_scribble(image, scribble), "frame 0, strokes"))
    return cells


if __name__ == "__main__":
    run_command(main)
