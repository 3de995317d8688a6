"""A small DAVIS folder, a tracker that knows its masks, and scripts as modules."""

from __future__ import annotations

import importlib.util
import types
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from rhmnet.files.images import write_mask

HEIGHT, WIDTH, FRAMES = 40, 56, 5
ROOT = Path(__file__).resolve().parents[1]


def load_script(path: str) -> types.ModuleType:
    """A script of the repository as a module, wherever pytest was started."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def masks_of(frame: int) -> np.ndarray:
    """Two squares that move right, object 2 over object 1."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[8:28, 4 + frame : 24 + frame] = 1
    labels[14:34, 20 + frame : 36 + frame] = 2
    return labels


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def make_davis(root: Path, year: int, videos: tuple[str, ...] = ("ant", "bee")) -> Path:
    """A DAVIS folder: two objects a video, or the binary annotations of 2016."""
    lists = root / "ImageSets" / str(year) / "val.txt"
    lists.parent.mkdir(parents=True)
    lists.write_text("\n".join(videos) + "\n")
    for video in videos:
        for frame in range(FRAMES):
            labels = masks_of(frame)
            picture = np.stack([labels * 100, labels * 50, 255 - labels * 90], axis=-1)
            save(root / f"JPEGImages/480p/{video}/{frame:05d}.jpg", picture)
            annotation = root / f"Annotations/480p/{video}/{frame:05d}.png"
            annotation.parent.mkdir(parents=True, exist_ok=True)
            if year == 2016:
                save(annotation, (labels > 0).astype(np.uint8) * 255)
            else:
                write_mask(annotation, labels)
        scribble = np.zeros((HEIGHT, WIDTH), np.uint8)
        scribble[18, 8:16], scribble[25, 24:34], scribble[2, 2:40] = 1, 2, 3
        for group in (0, 1):
            save(root / f"valid_scribbles{group}/{video}.bmp", scribble)
    return root


class FakeTracker:
    """Knows the answer; remembers what it was given."""

    started: list = []  # noqa: RUF012, shared on purpose: the evaluation makes its own instance
    frames = 0

    def __init__(self, *_):
        pass

    def start(self, image, scribble, num_objects=None):
        FakeTracker.started.append((scribble, num_objects))
        self.index = -1
        return self.step(image)

    def step(self, image):
        self.index += 1
        FakeTracker.frames += 1
        return types.SimpleNamespace(labels=torch.from_numpy(masks_of(self.index)))
