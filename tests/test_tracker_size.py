"""Frames that are shrunk for the network, and what comes back at their own size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from small import made_up_video, small_config, small_model
from torch.nn import functional

import rhmnet
from rhmnet import inputs
from rhmnet.inputs import network_size, resize_strokes, shrink, shrink_strokes


def test_the_network_sees_the_short_side_and_answers_come_at_the_frames_size() -> None:
    video, scribble = made_up_video(3, 96, 150, 2)
    config = small_config("test.short_side=64")
    model = small_model(config)
    tracker, small = rhmnet.Tracker(model, config), rhmnet.Tracker(model, small_config())
    tracker.start(video[0], scribble)
    size = (64, 100)
    shrunk = [cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA) for image in video]
    small.start(shrunk[0], resize_strokes(scribble, size))
    for frame, image in zip(video[1:], shrunk[1:], strict=True):
        found, wanted = tracker.step(frame), small.step(image)
        assert torch.equal(found.maps.entire, wanted.probabilities)
        assert torch.equal(found.maps.reliable, wanted.reliable)
        for name in ("probabilities", "reliable"):
            large = functional.interpolate(getattr(wanted, name)[None], (96, 150), mode="bilinear")
            assert torch.allclose(getattr(found, name), large[0], atol=1e-6)
        labels = (found.probabilities.argmax(0) + 1) % 3
        assert found.labels.shape == (96, 150) and torch.equal(labels.byte(), found.labels)


def test_frames_that_are_small_enough_stay_as_they_are() -> None:
    video, scribble = made_up_video(2, 50, 70, 1)
    model = small_model()
    found = []
    for side in (0, 50, 64):
        tracker = rhmnet.Tracker(model, small_config(f"test.short_side={side}"))
        tracker.start(video[0], scribble)
        found.append(tracker.step(video[1]).probabilities)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_a_snapshot_keeps_the_sizes() -> None:
    video, scribble = made_up_video(3, 96, 128, 1)
    config = small_config("test.short_side=48")
    model = small_model(config)
    tracker = rhmnet.Tracker(model, config)
    tracker.start(video[0], scribble)
    state = tracker.snapshot()
    wanted = tracker.step(video[1])
    other = rhmnet.Tracker(model, config)
    other.restore(state)
    assert torch.equal(other.step(video[1]).probabilities, wanted.probabilities)


@pytest.mark.parametrize("side", ["-1", "31", "true", "2.5"])
def test_sides_that_cannot_be(side: str) -> None:
    with pytest.raises(rhmnet.InputError, match=r"test\.short_side"):
        small_config(f"test.short_side={side}")


def test_every_label_keeps_a_pixel_however_thin_and_covered_its_stroke_is() -> None:
    labels = torch.zeros((200, 300), dtype=torch.uint8)
    labels[40:80, 40:200] = 1
    labels[60, 60:70] = 2  # inside another one's stroke
    labels[:, 250] = 3  # one pixel wide
    labels[199, 299] = 255
    small = shrink_strokes(labels, (20, 30))
    assert set(small.unique().tolist()) == {0, 1, 2, 3, 255}
    assert (small[:, 25] == 3).all() and small[19, 29] == 255
    assert (small[4:8, 4:20] == 1).sum() >= 4 * 16 - 1
    assert not small[:3, :20].any()


def test_areas_without_opencv_are_the_same(monkeypatch) -> None:
    """What a GPU does: shares of each pixel in each cell, by products."""
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.integers(0, 256, (57, 90, 3), dtype=np.uint8))
    size = network_size((57, 90), 32)
    cells = [inputs._shares(old, new, torch.device("cpu")) for old, new in ((57, 32), (90, 51))]
    assert size == (32, 51) and torch.allclose(cells[0].sum(1), torch.ones(32))
    mean = torch.einsum("hy,yxc,wx->hwc", cells[0], image.float(), cells[1])
    assert (mean - shrink(image, size).float()).abs().max() <= 0.51
