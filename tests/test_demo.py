"""The clip of the first minute: the shipped network's masks against masks drawn by hand."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import rhmnet
from rhmnet.checkpoint import load_checkpoint, read_config
from rhmnet.files.images import read_labels
from rhmnet.files.source import Source
from rhmnet.model import RHMNet

DEMO = Path(__file__).resolve().parents[1] / "docs" / "demo"
CHECKPOINT = DEMO.parents[1] / "checkpoints" / "rhmnet_small.pth.tar"
STROKED = 62
EACH, ALL = 0.8, 0.88
"""Least IoU of an object on a frame, and of all of them together: seen 0.86 to 0.97, and 0.93."""


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    source = Source(DEMO / "bottle.mp4")
    return list(source.forward(0, source.size))


def test_the_clip_is_small_and_whole(frames: list[np.ndarray]) -> None:
    assert len(frames) == 120 and frames[0].shape == (360, 640, 3)
    files = [path for path in DEMO.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 500_000
    assert "CC BY 4.0" in (DEMO / "README.md").read_text(encoding="utf-8")
    scribble = read_labels(DEMO / "strokes" / f"{STROKED}.png")
    assert set(np.unique(scribble)) == {0, 1, 2, 3, 255}


def test_masks_are_those_drawn_by_hand(frames: list[np.ndarray]) -> None:
    """On both sides of the strokes, through fewer frames than there are, to be fast."""
    config = read_config(CHECKPOINT)
    model = RHMNet(config)
    load_checkpoint(model, CHECKPOINT)
    tracker = rhmnet.Tracker(model, config)
    scribble = read_labels(DEMO / "strokes" / f"{STROKED}.png")
    found, overlaps = {}, []
    for route in ((62, 65, 68, 72), (62, 59, 56, 53, 50, 46, 42, 38, 34, 30)):
        assert all(abs(a - b) <= 4 for a, b in pairwise(route))
        found[route[0]] = tracker.start(frames[STROKED], scribble).labels
        for frame in route[1:]:
            found[frame] = tracker.step(frames[frame]).labels
    for path in sorted((DEMO / "masks").glob("*.png")):
        wanted, labels = read_labels(path), found[int(path.stem)].numpy()
        for number in np.unique(wanted[wanted > 0]):
            one, other = wanted == number, labels == number
            overlaps.append((one & other).sum() / (one | other).sum())
            assert overlaps[-1] >= EACH, (path.name, number, overlaps[-1])
        absent = ~np.isin(labels, np.unique(wanted))
        assert absent.mean() < 0.001
    assert len(overlaps) == 7 and np.mean(overlaps) >= ALL
