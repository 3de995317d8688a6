"""What is handed to the tracker and is not right is refused in one line, and changes nothing."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from small import made_up_video, small_config, small_model

import rhmnet
from rhmnet.errors import InputError


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture
def tracker(model):
    return rhmnet.Tracker(model, small_config())


VIDEO, SCRIBBLE = made_up_video(2, 48, 64, 2)
IMAGE = torch.from_numpy(VIDEO[0])


@pytest.mark.parametrize("call", [lambda t: t.snapshot(), lambda t: t.remove_object(1)])
def test_calls_before_start(tracker, call) -> None:
    with pytest.raises(InputError, match=r"before start; call start"):
        call(tracker)


@pytest.mark.parametrize("count", [1.5, "2", [2], True, np.float64(2)])
def test_numbers_of_objects_that_are_none(tracker, count) -> None:
    with pytest.raises(InputError, match=r"num_objects=.*expected a whole number"):
        tracker.start(VIDEO[0], SCRIBBLE, count)


def test_numbers_of_numpy_are_numbers(tracker) -> None:
    assert tracker.start(VIDEO[0], SCRIBBLE, np.int64(3)).probabilities.shape[0] == 4


@pytest.mark.parametrize(
    "image",
    [
        *([[1, 2], [3]], "frame.png", None, 7, np.array([None]), VIDEO[0].astype("U")),
        *(IMAGE.to_sparse(), IMAGE.to("meta"), IMAGE.bool(), IMAGE[:0], IMAGE.to(torch.complex64)),
        torch.nested.nested_tensor([IMAGE[0], IMAGE[0, :1]], layout=torch.jagged),
    ],
)
def test_images_and_strokes_that_are_none(tracker, image) -> None:
    with pytest.raises(InputError, match="image"):
        tracker.start(image, SCRIBBLE)
    with pytest.raises(InputError, match="scribble"):
        tracker.start(VIDEO[0], image)
    first = tracker.start(VIDEO[0], SCRIBBLE)
    with pytest.raises(InputError):
        tracker.step(image)
    again = tracker.start(VIDEO[0], SCRIBBLE)
    assert torch.equal(first.labels, again.labels)


@pytest.mark.parametrize("number", ["1", 1.0, None, 0, 3, -1])
def test_objects_that_cannot_be_removed(tracker, number) -> None:
    tracker.start(VIDEO[0], SCRIBBLE)
    with pytest.raises(InputError, match="object"):
        tracker.remove_object(number)


@pytest.mark.parametrize(
    "overrides",
    [
        *(["model.hidden_dim=32"], ["model.num_heads=2"], ["model.refine_layers=2"]),
        ["test.precision=bfloat16"],
    ],
)
def test_states_of_another_network(tracker, overrides) -> None:
    config = small_config(*overrides)
    other = rhmnet.Tracker(small_model(config), config)
    other.start(VIDEO[0], SCRIBBLE)
    tracker.start(VIDEO[0], SCRIBBLE)
    with pytest.raises(InputError, match="restore: a state of another network"):
        tracker.restore(other.snapshot())
    assert tracker.step(VIDEO[1]).labels.shape == (48, 64)


@pytest.mark.parametrize("state", [None, {}, {"_bank": 3}, "state", [1]])
def test_states_that_are_none(tracker, state) -> None:
    with pytest.raises(InputError, match="no state"):
        tracker.restore(state)


@pytest.mark.parametrize(
    "change",
    [
        *({"_geometry": None}, {"_geometry": ((48, 64), (48, 64), (0, 0))}, {"_index": "1"}),
        *({"_numbers": "12"}, {"_numbers": []}, {"_num_objects": 1}, {"_removed": [3]}),
    ],
)
def test_states_that_were_tampered_with(tracker, change) -> None:
    tracker.start(VIDEO[0], SCRIBBLE)
    with pytest.raises(InputError, match="no state"):
        tracker.restore(tracker.snapshot() | change)
    assert tracker.step(VIDEO[1]).labels.shape == (48, 64)


def test_stored_level_beyond_the_levels_there_are() -> None:
    with pytest.raises(InputError, match=re.escape("test.stored_level=3: expected 1")):
        small_config("test.stored_level=3")


def test_a_tracker_wants_a_network_and_a_configuration(model) -> None:
    with pytest.raises(InputError, match=re.escape("Tracker(Config, RHMNet)")):
        rhmnet.Tracker(small_config(), model)


@pytest.mark.parametrize("name", ["readers.0.linear1", "feature_extractor.backbone.conv1"])
def test_weights_that_are_no_numbers_are_told(name: str) -> None:
    model = small_model()
    with torch.no_grad():
        model.get_submodule(name).weight[0, 0] = torch.nan
    with pytest.raises(InputError, match=r"not finite.*weights"):
        rhmnet.Tracker(model, small_config()).start(VIDEO[0], SCRIBBLE)


def test_tensors_are_used_where_they_lie(tracker, monkeypatch) -> None:
    """No trip through arrays: those would take a tensor on a GPU to the host."""
    wanted = tracker.start(VIDEO[0], SCRIBBLE)
    for name in ("numpy", "__array__"):
        monkeypatch.setattr(torch.Tensor, name, None)
    found = tracker.start(IMAGE, torch.from_numpy(SCRIBBLE))
    assert torch.equal(wanted.probabilities, found.probabilities)
