"""Strokes too thin for the network's cells are broadened, where there is a short side."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small import made_up_video, small_config, small_model

import rhmnet
from rhmnet.inputs import LEAST_WIDTH, thicken
from rhmnet.labels import LEAST_RATIO
from rhmnet.memory_encoder import pool_labels


def lines(width: int, *, at: int = 15) -> torch.Tensor:
    """Object 1 from left to right, and background from top to bottom, on 64 x 96."""
    labels = torch.zeros((64, 96), dtype=torch.uint8)
    labels[at : at + width, 8:60] = 1
    labels[4:60, 79 : 79 + width] = 255
    return labels


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_thin_lines_become_broad_enough_wherever_they_lie(width: int) -> None:
    for at in range(15, 31):
        thick = thicken(lines(width, at=at))
        across = (thick == 1)[:, 30].sum(), (thick == 255)[40].sum()
        assert all(LEAST_WIDTH <= side <= LEAST_WIDTH + 1 for side in across)
        assert (thick[lines(width, at=at) == 1] == 1).all()
        share = pool_labels((thick == 1).float()[None, None], 16)
        assert (share[..., 1:3] >= LEAST_RATIO).any(2).all()


def test_broad_strokes_stay_as_they_are() -> None:
    broad = lines(LEAST_WIDTH)
    assert torch.equal(thicken(broad), broad)
    disk = torch.from_numpy(np.hypot(*np.mgrid[-32:32, -48:48]) < 9).byte()
    assert torch.equal(thicken(disk), disk)


@pytest.mark.parametrize("place", [(0, 0), (15, 15), (16, 47), (63, 95), (40, 40)])
def test_a_dot_grows_until_it_marks_a_cell(place: tuple[int, int]) -> None:
    labels = torch.zeros((64, 96), dtype=torch.uint8)
    labels[place] = 3
    thick = thicken(labels)
    assert set(thick.unique().tolist()) == {0, 3} and (thick == 3).sum() < 15 * 15
    assert (pool_labels((thick == 3).float()[None, None], 16) >= LEAST_RATIO).any()


def test_none_grows_over_another() -> None:
    labels = torch.full((32, 32), 255, dtype=torch.uint8)
    labels[10, 10] = 1  # no room
    assert torch.equal(thicken(labels), labels)
    labels[:, 12:] = 0
    labels[:, 12:14] = 2
    thick = thicken(labels)
    assert (thick[labels > 0] == labels[labels > 0]).all()


def test_the_tracker_broadens_where_a_short_side_is_set_and_elsewhere_does_as_the_release() -> None:
    video, _ = made_up_video(2, 64, 96, 1)
    model = small_model()
    thin = lines(1).numpy()

    def track(strokes: np.ndarray, side: int) -> torch.Tensor:
        tracker = rhmnet.Tracker(model, small_config(f"test.short_side={side}"))
        tracker.start(video[0], strokes)
        return tracker.step(video[1]).probabilities

    broad = thicken(torch.from_numpy(thin)).numpy()
    assert torch.equal(track(thin, 64), track(broad, 0))
    assert not torch.equal(track(thin, 0), track(broad, 0))


def test_only_what_was_drawn_is_certain_in_a_correction(monkeypatch) -> None:
    video, scribble = made_up_video(2, 64, 96, 1)
    thin, fixed = np.zeros_like(scribble), []
    thin[30, 20:60] = 255
    spy = lambda tracker, expansion, strokes: fixed.append(strokes)  # noqa: E731
    monkeypatch.setattr(rhmnet.Tracker, "_fix_strokes", spy)
    tracker = rhmnet.Tracker(small_model(), small_config("test.short_side=64"))
    tracker.start(video[0], scribble)
    tracker.step(video[1], thin)
    assert len(fixed) == 1 and np.array_equal(fixed[0].numpy(), thin)
