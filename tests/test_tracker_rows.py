"""Objects that are not there take no work, and change nothing for those that are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small import made_up_video, small_config, small_model

import rhmnet


def renumbered(scribble: np.ndarray, numbers: list[int]) -> np.ndarray:
    """Strokes of objects 1, 2, ... with these numbers in their place; background stays."""
    table = np.zeros(256, np.uint8)
    table[[*range(1, len(numbers) + 1), 255]] = [*numbers, 255]
    return table[scribble]


def only(scribble: np.ndarray, *values: int) -> np.ndarray:
    return np.where(np.isin(scribble, values), scribble, 0).astype(np.uint8)


@pytest.mark.parametrize("numbers", [[2, 7, 9], [1, 3, 10]])
def test_numbers_have_no_say(numbers: list[int]) -> None:
    """Objects 1, 2, 3 and the same ones with other numbers, both among K = 12 channels."""
    video, scribble = made_up_video(6, 64, 96, 3)
    config = small_config("test.update_frequency=2", "test.scribble_update_frequency=2")
    model = small_model(config)
    found = []
    for names in ([1, 2, 3], numbers):
        strokes = renumbered(scribble, names)
        tracker = rhmnet.Tracker(model, config)
        outs = [tracker.start(video[0], only(strokes, *names[:2], 255), num_objects=names[2])]
        outs.append(tracker.step(video[1]))
        outs.append(tracker.step(video[2], only(strokes, names[2])))  # appears
        tracker.remove_object(names[0])
        outs.append(tracker.step(video[3], only(strokes, names[1])))  # a correction
        outs += [tracker.step(video[4], only(strokes, names[0])), tracker.step(video[5])]
        found.append((names, outs))
    (names, wanted), (others, outs) = found
    table = torch.tensor([0, *others], dtype=torch.uint8)
    for one, other in zip(wanted, outs, strict=True):
        channels = [number - 1 for number in others] + [others[-1]]
        for name in ("probabilities", "reliable"):
            maps = getattr(other, name)
            assert maps.shape == (others[-1] + 1, 64, 96)
            assert torch.allclose(getattr(one, name), maps[channels], atol=1e-5)
            unused = [c for c in range(others[-1]) if c not in channels]
            assert maps[unused].max() < 1e-6
        assert torch.equal(table[one.labels.int()], other.labels)


def test_an_absent_number_costs_no_head(monkeypatch) -> None:
    video, scribble = made_up_video(3, 64, 96, 1)
    config = small_config()
    model = small_model(config)
    rows = []
    for number in (1, 200):
        tracker = rhmnet.Tracker(model, config)
        out = tracker.start(video[0], renumbered(scribble, [number]))
        heads = (tracker._net.reliable_head, *tracker._net.entire_heads)
        seen = []
        for head in heads:
            head.register_forward_hook(lambda _, given, __, seen=seen: seen.append(len(given[0])))
        out = tracker.step(video[1])
        rows.append(seen)
        assert set(out.labels.unique().tolist()) <= {0, number}
        assert out.probabilities.shape[0] == number + 1
    assert rows[0] == rows[1] == [1, 1]


@pytest.mark.parametrize("upsample", ["true", "false"])
def test_corrections_where_objects_appear_are_certain_in_memory_too(
    upsample: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, scribble = made_up_video(2, 64, 96, 2)
    config = small_config(f"model.upsample_logits={upsample}")
    tracker = rhmnet.Tracker(small_model(config), config)
    tracker.start(video[0], only(scribble, 1, 255), num_objects=2)
    memorized = []
    monkeypatch.setattr(tracker, "_memorize", memorized.append)
    strokes = only(scribble, 2)
    strokes[48:56, 8:80] = 1  # on object 1, which is tracked, where object 2 appears
    labels = tracker.step(video[1], strokes).labels
    assert (labels[48:56, 8:80] == 1).all()
    (expansion,) = memorized
    prob = expansion.entire_probs[-1]
    stride = 64 // prob.shape[-2]
    assert stride == (1 if upsample == "true" else 4)
    under = (slice(48 // stride, 56 // stride), slice(8 // stride, 80 // stride))
    assert (prob[0, 0][under] == 1).all() and not prob[0, 1:][(slice(None), *under)].any()


def test_all_objects_removed() -> None:
    video, scribble = made_up_video(3, 64, 96, 2)
    config = small_config()
    tracker = rhmnet.Tracker(small_model(config), config)
    tracker.start(video[0], scribble, num_objects=3)
    for number in (1, 2):
        tracker.remove_object(number)
    out = tracker.step(video[1])
    assert not out.labels.any() and out.probabilities[:3].max() < 1e-6
    assert torch.isfinite(tracker.step(video[2], only(scribble, 2)).probabilities).all()
