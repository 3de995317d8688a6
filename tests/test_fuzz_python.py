"""The Python face takes values of any kind: they are used, or refused in one line."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from damage import ODD, odd_tensors, watched
from small import made_up_video, small_config, small_model

import rhmnet
from rhmnet.errors import InputError

VIDEO, SCRIBBLE = made_up_video(3, 32, 48, 2)
IMAGE = torch.from_numpy(VIDEO[0])


@pytest.fixture(scope="module")
def model() -> rhmnet.RHMNet:
    return small_model()


def odd_images() -> list[Any]:
    arrays = [VIDEO[0].astype(kind) for kind in ("float32", "int64", "bool", "U1", "O", ">u2")]
    shapes = [VIDEO[0][..., 0], VIDEO, VIDEO[0][:, :0], VIDEO[0][..., :2], VIDEO[0][::-1, ::2]]
    ragged = torch.nested.nested_tensor([IMAGE[0], IMAGE[0, :1]], layout=torch.jagged)
    others = [ragged, [[1], [1, 2]], object(), IMAGE.tolist()]
    return [*ODD, *arrays, *shapes, *odd_tensors(IMAGE), *others]


@pytest.mark.slow
def test_trackers(model: rhmnet.RHMNet) -> None:
    tracker = rhmnet.Tracker(model, small_config())
    tracker.start(VIDEO[0], SCRIBBLE)
    before = tracker.step(VIDEO[1]).probabilities
    for index, odd in enumerate(odd_images()):
        told = f"{index}: {type(odd).__name__}"
        with watched(f"image {told}"):
            tracker.start(odd, SCRIBBLE)
        with watched(f"scribble {told}"):
            tracker.start(VIDEO[0], odd)
        with watched(f"number {told}"):
            tracker.start(VIDEO[0], SCRIBBLE, odd)
        tracker.start(VIDEO[0], SCRIBBLE)
        with watched(f"step {told}"):
            tracker.step(odd)
        if odd is not None:
            with watched(f"correction {told}"):
                tracker.step(VIDEO[1], odd)
        with watched(f"object {told}"):
            tracker.remove_object(odd)
        with watched(f"state {told}"):
            tracker.restore(odd)
        with watched(f"tracker {told}"), pytest.raises(InputError):
            rhmnet.Tracker(odd, odd)
    tracker.start(VIDEO[0], SCRIBBLE)
    assert torch.equal(tracker.step(VIDEO[1]).probabilities, before)
