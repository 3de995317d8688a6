"""Small training trees written by hand, for the tests of clips and readers."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from rhmnet.config import Config, load_config, override

SMALL = [
    "data.crop_size=[48,48]",
    "data.short_side=60",
    "data.minimum_area=10",
    "data.object_area=10",
    "data.translate=4",
    "data.crop_drift=5",
    "data.num_workers=0",
    "data.samples_per_epoch=12",
    "train.batch_size=2",
]


def small_config(root: Path, *overrides: str) -> Config:
    """The release's training on clips of 48x48, from frames of 60 pixels."""
    config = load_config("video_training", [f"data.root={root}", *SMALL])
    return override(config, overrides)


def bars(num_objects: int, height: int = 60, width: int = 80) -> np.ndarray:
    """A scribble as on disk: one upright bar an object, and the background's along the bottom."""
    labels = np.zeros((height, width), np.uint8)
    for number in range(1, num_objects + 1):
        x = width * number // (num_objects + 1)
        labels[height // 4 : height // 2, x - 2 : x + 3] = number
    labels[height * 3 // 4 : height * 3 // 4 + 5, width // 6 : width * 5 // 6] = num_objects + 1
    return labels


def write_coco(root: Path, objects: tuple[int, ...] = (1, 2, 4, 3), **size: int) -> None:
    """`root/COCO` with one image a number of objects; its colours say where which stroke is."""
    folder = root / "COCO"
    (folder / "images").mkdir(parents=True)
    (folder / "scribbles").mkdir()
    entries = []
    for index, count in enumerate(objects):
        labels = bars(count, **size)
        save_image(folder / "images" / f"{index}.png", labels, index)
        Image.fromarray(labels).save(folder / "scribbles" / f"{index}.bmp")
        # The release's list holds the background's value where it says num_objects.
        entry = {"file_name": f"{index}.png", "anno_name": f"{index}.bmp", "num_objects": count + 1}
        entries.append(entry)
    (folder / "COCO_scribbles.json").write_text(json.dumps({"images": entries}))


def write_davis(root: Path, videos: dict[str, int], num_objects: int = 2) -> None:
    """`root/DAVIS` with videos of the given lengths."""
    folder = root / "DAVIS"
    (folder / "ImageSets" / "2017").mkdir(parents=True)
    (folder / "ImageSets" / "2017" / "train.txt").write_text("\n".join(videos) + "\n")
    for name, length in videos.items():
        write_video(folder / "JPEGImages" / "480p", folder, name, range(length), num_objects)


def write_youtube(root: Path, videos: dict[str, int], num_objects: int = 2) -> None:
    """`root/Youtube-VOS` with videos of the given lengths, every fifth frame annotated."""
    folder = root / "Youtube-VOS"
    for name, length in videos.items():
        indices = range(0, 5 * length, 5)
        write_video(folder / "train" / "JPEGImages", folder, name, indices, num_objects)


def write_video(images: Path, folder: Path, name: str, indices: range, num_objects: int) -> None:
    """Frames and scribbles of one video; a frame's blue channel is its place in the video."""
    (images / name).mkdir(parents=True)
    (folder / "train_scribbles" / name).mkdir(parents=True)
    labels = bars(num_objects)
    for place, index in enumerate(indices):
        save_image(images / name / f"{index:05d}.jpg", labels, place)
        Image.fromarray(labels).save(folder / "train_scribbles" / name / f"{index:05d}.bmp")


def save_image(path: Path, labels: np.ndarray, blue: int) -> None:
    """A picture with red = 40 x label, green = 200, and blue = 5 x the given number."""
    image = np.empty((*labels.shape, 3), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = labels * 40, 200, 5 * blue
    options = [cv2.IMWRITE_JPEG_QUALITY, 100] if path.suffix == ".jpg" else []
    cv2.imwrite(str(path), image[..., ::-1], options)
