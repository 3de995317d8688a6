"""Exactly how many stroke pixels are enough for a clip, and for an object to be drawn."""

from __future__ import annotations

import numpy as np
import pytest

from rhmnet.config import DataConfig
from rhmnet.data.augmentation import VideoAugmentation
from rhmnet.data.clips import Rejected, place_crops
from rhmnet.data.readers import Strokes


class Unmoved(VideoAugmentation):
    """Frames as they are: a crop of the whole canvas."""

    drift = 0

    def __init__(self) -> None:
        pass

    def draw_warps(self, rng, canvas, length):
        return [np.eye(3)] * length

    def draw_rescale(self, rng):
        return 1.0


CONFIG = DataConfig(crop_size=(32, 32), short_side=32, minimum_area=20, object_area=10)


def frame(background: int, *objects: int) -> Strokes:
    """Strokes of so many pixels each, on 32 x 32."""
    labels = np.zeros((32, 32), np.uint8)
    for row, (label, pixels) in enumerate(zip((9, 1, 2, 3), (background, *objects), strict=False)):
        labels[row, :pixels] = label
    return Strokes(labels, 9, 8)


def place(*frames: Strokes) -> list[int]:
    rng = np.random.default_rng(0)
    placed = place_crops(rng, list(frames), (32, 32), Unmoved(), CONFIG)
    return placed.candidates.tolist()


def test_an_object_is_drawn_with_more_pixels_than_object_area() -> None:
    assert place(frame(21, 11, 10, 12)) == [1, 3]
    with pytest.raises(Rejected, match="few_object_pixels"):
        place(frame(21, 10, 10))  # together more, but no object by itself


def test_every_frame_keeps_more_than_the_areas() -> None:
    good = frame(21, 11)
    assert place(good, frame(21, 11), good) == [1]
    assert place(good, frame(21, 5, 6), good) == [1]  # objects are counted together
    for poor in (frame(20, 11), frame(21, 10), frame(21, 5, 5), frame(20, 30)):
        with pytest.raises(Rejected, match="crop"):
            place(good, good, poor)
