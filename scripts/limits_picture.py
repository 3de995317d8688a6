#!/usr/bin/env python
"""Draw what the small network fails at: made-up scenes, of a frame and a mask of the demo clip.

    python scripts/limits_picture.py        # docs/limits.png; a minute on two cores

A kite on a thin cord, five bottles that look alike and pass each other, and a bottle that stays
behind a board for 40 frames.
"""

from __future__ import annotations

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

import rhmnet
from rhmnet.errors import say
from rhmnet.files.images import read_labels
from rhmnet.files.source import Source
from rhmnet.files.writing import write_picture
from rhmnet.runtime import CommandParser, run_command
from rhmnet.visualize import contact_sheet, draw_scribble, overlay

DEMO = Path("docs/demo")
CUT, BOTTLE = 56, 1  # frame and object of the mask that the bottle is cut out by
STROKE = 6  # pixels


class Scene(NamedTuple):
    """A made-up video and strokes on its first frame."""

    name: str
    frames: list[np.ndarray]
    """uint8 [H, W, 3] each."""
    strokes: np.ndarray
    """uint8 [H, W]."""
    shown: tuple[int, ...]
    """Frames in the picture, after the first."""


class Stage:
    """A table without anything on it, and a bottle to put there."""

    def __init__(self) -> None:
        source = Source(DEMO / "bottle.mp4")
        frames = list(source.forward(0, source.size))
        mask = (read_labels(DEMO / "masks" / f"{CUT}.png") == BOTTLE).astype(np.uint8)
        x, y, width, height = cv2.boundingRect(mask)
        self.bottle = frames[CUT][y : y + height, x : x + width]
        self.mask = mask[y : y + height, x : x + width].astype(bool)
        table = frames[0].copy()
        table[:, 480:] = table[:, 319:159:-1]  # the bottle that stands there goes
        self.table = cv2.GaussianBlur(table, (0, 0), 1.0)

    def put(self, picture: np.ndarray, x: int, y: int) -> None:
        """Draw the bottle, its top left corner at x, y."""
        height, width = self.mask.shape
        picture[y : y + height, x : x + width][self.mask] = self.bottle[self.mask]

    def middle(self, x: int, y: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """The ends of a stroke along a bottle."""
        height, width = self.mask.shape
        return (x + width // 2, y + height // 6), (x + width // 2, y + height - height // 8)


def main() -> None:
    parser = CommandParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("docs/limits.png"), help="picture to write"
    )
    args = parser.parse_args()
    stage = Stage()
    pictures, titles = [], []
    for make in (thin, alike, hidden):
        scene = make(stage)
        masks = track(scene)
        pictures.append(draw_scribble(scene.frames[0], scene.strokes))
        titles.append(f"{scene.name}: strokes")
        for frame in scene.shown:
            pictures.append(overlay(scene.frames[frame], masks[frame]))
            titles.append(f"frame {frame}")
    picture = Image.fromarray(contact_sheet(pictures, titles, columns=4, height=200))
    write_picture(args.out, picture, "PNG", optimize=True)
    say(f"wrote {args.out}: {args.out.stat().st_size:,} bytes")


def thin(stage: Stage) -> Scene:
    """A kite on a cord 2 pixels thick, with a frame and a tail as thin."""
    frames = []
    for n in range(41):
        canvas = stage.table.copy()
        x, y = 120 + 8 * n, 110 - n
        body = np.array([[x, y - 60], [x + 40, y], [x, y + 60], [x - 40, y]])
        cv2.fillPoly(canvas, [body], (190, 110, 50), cv2.LINE_AA)
        cord = np.array([[x, y], [x - 10, y + 60], [x + 40, y + 140], [x + 130, y + 240]])
        cv2.polylines(canvas, [cord], False, (40, 40, 60), 2, cv2.LINE_AA)
        tail = np.array([[x, y + 60], [x - 30, y + 90], [x - 20, y + 130], [x - 60, y + 170]])
        cv2.polylines(canvas, [tail], False, (190, 110, 50), 2, cv2.LINE_AA)
        frames.append(canvas)
        if n == 0:
            strokes = np.zeros(canvas.shape[:2], np.uint8)
            for line in ([[x, y - 40], [x, y + 40]], cord[1:], tail):
                cv2.polylines(strokes, [np.array(line)], False, 1, 3)
    return Scene("thin parts", frames, strokes, (10, 25, 40))


def alike(stage: Stage) -> Scene:
    """Five bottles, each an object; the outer ones pass before the others."""
    starts, speeds, y = (40, 160, 280, 400, 520), (10, 0, 3, 0, -10), 130
    frames = []
    for n in range(41):
        frames.append(stage.table.copy())
        for start, speed in sorted(zip(starts, speeds, strict=True), key=lambda at: abs(at[1])):
            stage.put(frames[-1], start + speed * n, y + 2 * abs(speed))
    strokes = np.zeros(stage.table.shape[:2], np.uint8)
    for number, (start, speed) in enumerate(zip(starts, speeds, strict=True), start=1):
        cv2.line(strokes, *stage.middle(start, y + 2 * abs(speed)), number, STROKE)
    return Scene("many alike", frames, strokes, (10, 20, 40))


def hidden(stage: Stage) -> Scene:
    """A bottle behind a board for 40 frames; meanwhile another one, unmarked, comes into view."""
    frames = []
    for n in range(81):
        frames.append(stage.table.copy())
        stage.put(frames[-1], min(60 + 8 * n, 290) if n < 70 else 290 + 16 * (n - 69), 130)
        cv2.rectangle(frames[-1], (260, 60), (390, 359), (120, 90, 70), -1)
        if n >= 40:
            stage.put(frames[-1], 60, 140)
    strokes = np.zeros(stage.table.shape[:2], np.uint8)
    cv2.line(strokes, *stage.middle(60, 130), 1, STROKE)
    return Scene("hidden for long", frames, strokes, (15, 60, 80))


def track(scene: Scene) -> list[np.ndarray]:
    """uint8 [H, W] of each frame, by the network that comes with the project."""
    model, config = rhmnet.load_model("small")
    tracker = rhmnet.Tracker(model, config)
    found = [tracker.start(scene.frames[0], scene.strokes)]
    found += [tracker.step(frame) for frame in scene.frames[1:]]
    return [frame.labels.cpu().numpy() for frame in found]


if __name__ == "__main__":
    run_command(main)
