"""Where a further stroke helps most: the rule by itself, on made-up statistics."""

from __future__ import annotations

import numpy as np
import pytest

from rhmnet.tools.segment.summary import REACH, advise, best_frame_of, place_of

FRAMES = 60


def statistics(*doubts: np.ndarray) -> np.ndarray:
    """float64 [T, 3, O] of objects with these doubts, NaN where one is not seen."""
    probability = 1 - np.stack(doubts, axis=1)
    area = np.where(np.isnan(probability), 0, 100)
    return np.stack([area, probability, probability], axis=1)


def ask(table: np.ndarray, stroked: dict[int, list[int]]):
    numbers = list(range(1, table.shape[2] + 1))
    return advise(table, numbers, stroked, lambda frame, number: np.zeros((3, 4)), (48, 64))


def test_gain_is_what_fails_less() -> None:
    """By the sum in the module's docstring, written out."""
    rng = np.random.default_rng(0)
    doubt, area = rng.uniform(0.1, 0.6, FRAMES), rng.uniform(50, 500, FRAMES)
    stroked = [0, 40]

    def fails(s: int, strokes: list[int]) -> float:
        near = [
            min((abs(s - t) for t in strokes if (t - s) * sign >= 0), default=1e12)
            for sign in (-1, 1)
        ]
        return float(np.prod([1 - REACH / (2 * REACH + distance) for distance in near]))

    weight = 0.2 * doubt + np.maximum(0, doubt - np.quantile(doubt, 0.2))
    gains = {
        t: sum(weight[s] * (fails(s, stroked) - fails(s, [*stroked, t])) for s in range(FRAMES))
        * min(1, area[t] / np.median(area))
        for t in set(range(FRAMES)) - {*stroked}
    }
    frame, gain = best_frame_of(doubt, area, stroked)
    assert frame == max(gains, key=gains.get)
    assert gain == pytest.approx(gains[frame])


def test_strokes_spread_where_all_is_in_doubt_alike() -> None:
    stroked = [0]
    for _ in range(4):
        stroked.append(best_frame_of(np.full(FRAMES, 0.3), np.ones(FRAMES), stroked)[0])
    gaps = np.diff(sorted(stroked))
    assert gaps.min() >= 10 and gaps.max() <= 18 and max(stroked) >= FRAMES - 4


def test_the_end_is_stroked_before_gaps_are_halved_again() -> None:
    """Behind the last stroke there is one pass alone."""
    stroked = [0, 20]
    assert best_frame_of(np.full(40, 0.3), np.ones(40), stroked)[0] >= 36


def test_what_is_nearly_hidden_is_not_stroked() -> None:
    area = np.full(FRAMES, 100)
    frame, _ = best_frame_of(np.full(FRAMES, 0.3), area, [0])
    area[frame - 2 : frame + 3] = 1
    assert abs(best_frame_of(np.full(FRAMES, 0.3), area, [0])[0] - frame) > 2


def test_doubt_that_is_everywhere_counts_little() -> None:
    """As that of outlines: more of it somewhere draws the stroke all the same."""
    ends, ones = [0, FRAMES - 1], np.ones(FRAMES)
    for always in (0.05, 0.5):
        doubt = np.full(FRAMES, always)
        without, _ = best_frame_of(doubt, ones, ends)
        doubt[12:18] += 0.4
        assert 12 <= best_frame_of(doubt, ones, ends)[0] < 20 < without


def test_a_stroke_goes_where_masks_fail() -> None:
    doubt = np.full(FRAMES, 0.05)
    doubt[12:18] = 0.9
    advice = ask(statistics(doubt), {0: [1, 255], 50: [1]})
    assert advice.object == 1 and 12 <= advice.frame < 18
    assert "in doubt (0.90)" in advice.reason


def test_the_object_in_doubt_is_told() -> None:
    sure, unsure = np.full(FRAMES, 0.1), np.full(FRAMES, 0.4)
    assert ask(statistics(sure, unsure), {0: [1, 2]}).object == 2
    assert ask(statistics(unsure, sure), {0: [1, 2]}).object == 1
    # a stroke of its own, or of background, takes an object's doubt away
    near = {frame: [2] for frame in range(0, FRAMES, 4)}
    assert ask(statistics(np.full(FRAMES, 0.3), unsure), near).object == 1


def test_neither_stroked_frames_nor_those_without_the_object() -> None:
    doubt = np.full(FRAMES, np.nan)
    doubt[[3, 9]] = 0.9, 0.2
    assert ask(statistics(doubt), {3: [1]}).frame == 9
    assert ask(statistics(doubt), {3: [255]}).frame == 9
    nowhere = ask(statistics(doubt), {3: [1], 9: [1]})
    assert nowhere.frame is None and "good enough" not in nowhere.reason
    assert "(up to 0.90) has strokes" in nowhere.reason
    assert ask(statistics(np.full(FRAMES, np.nan)), {}).reason.startswith("no finished frame")


def test_good_enough_is_told() -> None:
    advice = ask(statistics(np.full(FRAMES, 0.01)), {0: [1]})
    assert advice[:3] == (None, None, None)
    assert advice.reason == "good enough: no object is in doubt by more than 0.01"


def test_few_frames_of_a_long_video_are_compared() -> None:
    doubt = np.full(10_000, 0.1)
    doubt[7000:7100] = 0.9
    frame, _ = best_frame_of(doubt, np.ones(10_000), [0, 5000])
    assert 6900 <= frame < 7200


def test_the_place_is_where_the_probability_is_in_doubt() -> None:
    probability = np.zeros((30, 40), np.float32)
    probability[5:25, 5:15] = 1
    probability[20:25, 28:33] = 0.5
    x, y = place_of(probability, (300, 400))
    assert 280 <= x < 330 and 200 <= y < 250
    place = advise(
        statistics(np.full(9, 0.5)), [4], {0: [4]}, lambda frame, number: probability, (300, 400)
    ).place
    assert place == (x, y)
