"""Strokes stay inside their objects, on masks of every kind, and depend on the seed alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rhmnet.errors import InputError
from rhmnet.tools.scribbles import draw_lines
from rhmnet.tools.scribbles.hand import HandOptions, draw_scribble

SIZES = st.integers(1, 90)
KINDS = ["noise", "blobs", "thin", "holed", "pieces", "border", "pixel", "all"]


def random_labels(kind: str, height: int, width: int, count: int, seed: int) -> np.ndarray:
    """A dense label map of `count` objects; later ones cover earlier ones."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    labels = np.zeros((height, width), np.uint8)
    for value in range(1, count + 1):
        y, x = rng.integers(height), rng.integers(width)
        radius = rng.uniform(0, max(height, width) / 2)
        distance = np.hypot(rows - y, columns - x)
        if kind == "noise":
            mask = rng.random((height, width)) < rng.random()
        elif kind == "blobs":
            mask = distance < radius
        elif kind == "thin":
            mask = (rows == y) | (np.abs(rows - columns - x) <= 1)
        elif kind == "holed":
            mask = (distance < radius) & (distance > radius * rng.random())
        elif kind == "pieces":
            mask = (rows // 7 + columns // 5) % 3 == value % 3
        elif kind == "border":
            mask = (rows < y) | (columns == width - 1)
        elif kind == "pixel":
            mask = (rows == y) & (columns == x)
        else:
            mask = np.ones((height, width), bool)
        labels[mask] = value
    return labels


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(KINDS), SIZES, SIZES, st.integers(0, 4), st.integers(0, 10**6))
def test_every_object_gets_a_stroke_and_no_stroke_leaves_its_object(
    kind, height, width, count, seed
):
    labels = random_labels(kind, height, width, count, seed)
    options = HandOptions(thickness=40, jitter=1, coverage=1)  # as rough a hand as can be
    scribble = draw_scribble(labels, count, np.random.default_rng(seed), options)
    assert scribble.dtype == np.uint8 and scribble.shape == labels.shape
    for value in range(1, count + 1):
        assert (labels[scribble == value] == value).all()
        assert (scribble == value).any() == (labels == value).any()
    assert (labels[scribble == count + 1] == 0).all()
    assert (scribble == count + 1).any() == (labels == 0).any()
    assert scribble.max(initial=0) <= count + 1


@pytest.mark.parametrize("kind", KINDS)
def test_large_masks_that_are_shrunk_first(kind):
    for seed in range(3):
        labels = random_labels(kind, 300, 420, 2, seed)
        scribble = draw_scribble(labels, 2, np.random.default_rng(seed))
        for value in (1, 2):
            assert (labels[scribble == value] == value).all()
            assert (scribble == value).any() == (labels == value).any()
        assert (labels[scribble == 3] == 0).all()


def bar() -> np.ndarray:
    labels = np.zeros((480, 640), np.uint8)
    labels[200:280, 70:570] = 1
    return labels


def test_same_generator_same_scribble():
    first, again, other = (
        draw_scribble(bar(), 1, np.random.default_rng(seed)) for seed in (5, 5, 6)
    )
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("thickness", [3, 9])
def test_a_stroke_has_the_thickness_and_coverage_asked_for(thickness):
    options = HandOptions(
        thickness=thickness, coverage=0.6, jitter=0, branch_chance=0, background=False
    )
    lengths = []
    for seed in range(20):
        scribble = draw_scribble(bar(), 1, np.random.default_rng(seed), options)
        columns = np.nonzero(scribble == 1)[1]
        lengths.append(np.ptp(columns) + 1 - thickness)
        middle = scribble[:, int(np.median(columns))]
        assert abs(np.count_nonzero(middle) - thickness) <= 1
        assert set(np.unique(scribble)) == {0, 1}
    # the skeleton of a bar of 80 x 500 pixels is its middle line and two of the corner diagonals
    assert 0.6 * 420 * 0.9 < np.mean(lengths) < 0.6 * 500 * 1.1


def test_thickness_scales_with_the_short_side():
    small, large = bar()[::2, ::2], np.kron(bar(), np.ones((2, 2), np.uint8))
    options = HandOptions(thickness=8, jitter=0, branch_chance=0, background=False)
    for labels, expected in ((small, 4), (large, 16)):
        scribble = draw_scribble(labels, 1, np.random.default_rng(0), options)
        column = int(np.median(np.nonzero(scribble)[1]))
        assert abs(np.count_nonzero(scribble[:, column]) - expected) <= 1


def test_background_strokes_keep_their_margin_and_stay_off_what_they_must_avoid():
    labels = np.zeros((480, 640), np.uint8)
    labels[180:300, 240:400] = 1
    avoid = np.zeros(labels.shape, bool)
    avoid[:, 500:] = True
    options = HandOptions(background_margin=30)
    kept = np.zeros(labels.shape, bool)
    kept[151:329, 240:400] = kept[180:300, 211:429] = True
    for seed in range(10):
        scribble = draw_scribble(labels, 1, np.random.default_rng(seed), options, avoid)
        assert (scribble == 2).any()
        assert not (scribble == 2)[kept | avoid].any()


def test_branches_and_pieces_follow_their_options():
    cross = np.zeros((480, 480), np.uint8)
    cross[220:260, 40:440] = 1
    cross[40:440, 220:260] = 1
    without = HandOptions(branch_chance=0, jitter=0, coverage=1, background=False)
    with_branches = HandOptions(branch_chance=1, jitter=0, coverage=1, background=False)
    counts = [
        np.count_nonzero(draw_scribble(cross, 1, np.random.default_rng(0), options))
        for options in (without, with_branches)
    ]
    assert counts[1] > 1.6 * counts[0]

    pieces = np.zeros((480, 480), np.uint8)
    pieces[50:150, 50:400] = 1
    pieces[300:350, 50:200] = 1  # a fifth of the other
    for share, expected in ((0.5, False), (0.1, True)):
        options = HandOptions(piece_share=share, background=False)
        scribble = draw_scribble(pieces, 1, np.random.default_rng(0), options)
        assert scribble[300:].any() == expected


def test_objects_below_the_least_area_get_no_stroke():
    labels = bar()
    labels[10:20, 10:20] = 2
    for least, expected in ((101, False), (100, True)):
        options = HandOptions(min_area=least)
        scribble = draw_scribble(labels, 2, np.random.default_rng(0), options)
        assert (scribble == 2).any() == expected
        assert (scribble == 3).any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"coverage": 1.5},
        {"thickness": 0},
        {"thickness": float("nan")},
        {"min_area": float("inf")},
        {"background_strokes": -1},
    ],
)
def test_options_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        HandOptions(**wrong)


def test_broad_pens_are_as_thick_as_asked_for():
    line = [np.array([[100.0, 60.0], [100.0, 140.0]])]
    for thickness in (31, 33, 61):
        column = draw_lines((200, 200), line, thickness)[:, 100]
        assert np.count_nonzero(column) == thickness
    assert not draw_lines((20, 20), [], 50).any()


@pytest.mark.parametrize("line", [[(10, 5), (60, 90)], [(-9, 40), (30, 140)], [(79, 119)]])
def test_a_broad_line_is_all_that_lies_near_it(line):
    lines = [np.array(line, np.float64)]
    near = np.argwhere(draw_lines((80, 120), lines, 1))[:, :, None, None] - np.mgrid[:80, :120]
    wanted = np.hypot(near[:, 0], near[:, 1]).min(axis=0) <= 20.5
    assert np.array_equal(draw_lines((80, 120), lines, 41), wanted)
    assert not draw_lines((80, 120), [np.array([(500.0, 500.0)])], 41).any()
