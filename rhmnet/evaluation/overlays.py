"""Masks drawn over their frames, and one contact sheet a video."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from rhmnet.data.sources import Prompt
from rhmnet.evaluation.tracking import VideoFiles
from rhmnet.files.images import read_image
from rhmnet.files.label_maps import read_labels
from rhmnet.files.writing import write_encoded
from rhmnet.visualize import contact_sheet, overlay

_SHEET_FRAMES = 5


def write_overlays(video: VideoFiles, prompt: Prompt, masks: Path, folder: Path) -> None:
    """Write `folder/<video>/<frame>.jpg` and `folder/<video>.jpg`, a sheet of a few of them.

    masks: the folder of the video's masks. Strokes are drawn where there are any.
    """
    picked = np.linspace(0, len(video.masked) - 1, _SHEET_FRAMES).round().astype(int)
    pictures = {}
    for index, path in enumerate(video.masked):
        labels = read_labels(masks / f"{path.stem}.png")
        picture = overlay(read_image(path), labels, prompt.strokes_on(index, path))
        _write(folder / video.name / f"{path.stem}.jpg", picture)
        if index in picked:
            pictures[path.stem] = picture
    captions = [f"{video.name} {stem}" for stem in pictures]
    _write(folder / f"{video.name}.jpg", contact_sheet(list(pictures.values()), captions))


def _write(path: Path, picture: np.ndarray) -> None:
    write_encoded(path, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
