"""Every augmentation against section 7 of docs/method.md, over many draws."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from clip_trees import bars

from rhmnet.config import DataConfig
from rhmnet.data import FrameStrokes, transforms
from rhmnet.data.clips import Rejected, place_crops
from rhmnet.data.transforms import ImageAugmentation, VideoAugmentation

CANVAS = (480, 854)
CONFIG = DataConfig()


def corners_under(matrix: np.ndarray) -> np.ndarray:
    height, width = CANVAS
    corners = np.array([[[0, 0], [width, 0], [width, height], [0, height]]], float)
    return cv2.perspectiveTransform(corners, matrix)[0]


def test_corners_move_by_a_sixth_then_on_in_the_same_direction() -> None:
    rng = np.random.default_rng(0)
    extent = np.array([CANVAS[1], CANVAS[0]])
    start = corners_under(np.eye(3))
    firsts, nexts = [], []
    for _ in range(1500):
        warps = transforms.draw_perspectives(rng, CANVAS, 4)
        if warps is None:
            continue
        moves = [(corners_under(warp) - start) / extent for warp in warps]
        np.testing.assert_allclose(moves[0], 0, atol=1e-9)
        firsts.append(moves[1])
        nexts.append((moves[2] - moves[1]) * np.sign(moves[1]))
        nexts.append((moves[3] - moves[2]) * np.sign(moves[1]))
    first, following = np.array(firsts), np.array(nexts)
    assert 0.99 / 6 < np.abs(first).max() <= 1 / 6 + 1e-6
    assert abs(first.mean()) < 0.01
    assert -1e-6 < following.min() < 0.002
    assert 0.99 / 8 < following.max() <= 1 / 8 + 1e-6


def test_corners_that_span_no_plane_are_not_used() -> None:
    rng = np.random.default_rng(0)
    drawn = [transforms.draw_perspectives(rng, CANVAS, 3) for _ in range(2000)]
    used = [warps for warps in drawn if warps is not None]
    assert len(used) > 1900  # such corners are rare
    for warps in used:
        assert cv2.isContourConvex(corners_under(warps[2]).astype(np.float32))


def test_each_affine_step_has_its_range_and_half_a_chance() -> None:
    """One in sixteen draws is a step of one kind alone, which shows that step's range."""
    rng = np.random.default_rng(1)
    middle = np.array([CANVAS[1] / 2, CANVAS[0] / 2])
    count = 12000
    matrices = np.array([transforms.draw_affine(rng, CANVAS, translate=15) for _ in range(count)])
    linear = matrices[:, :2, :2]
    moved = linear @ middle + matrices[:, :2, 2] - middle
    (a, b), (c, d) = np.moveaxis(linear, 0, -1)

    def zero(*values: np.ndarray) -> np.ndarray:
        return np.all(np.abs(values) < 1e-9, axis=0)

    still, unturned = zero(*moved.T), zero(a - 1, b, c, d - 1)
    turned = still & ~unturned & zero(a - d, b + c, a * a + c * c - 1)
    stretched = still & ~unturned & zero(b, c)
    leaning = still & ~unturned & zero(a - 1, d - 1, c)
    alone = {
        "none": moved[unturned & still],
        "move": moved[unturned & ~still].round(6),
        "rotate": np.degrees(np.arctan2(c, a))[turned],
        "scale": np.stack([a, d], axis=1)[stretched],
        "shear": np.degrees(np.arctan(b))[leaning],
    }
    for name, values in alone.items():
        assert abs(len(values) - count / 16) < 5 * math.sqrt(count / 16), name
    for name, bound in (("rotate", 30), ("shear", 15), ("move", 15)):
        values = alone[name]
        assert 0.95 * bound < values.max() <= bound, name
        assert -bound <= values.min() < -0.95 * bound, name
        assert abs(values.mean()) < bound / 10, name
    scale = alone["scale"]
    assert 0.8 <= scale.min() < 0.81
    assert 1.19 < scale.max() <= 1.2
    assert abs(np.corrcoef(scale.T)[0, 1]) < 0.1  # the axes are scaled apart


def test_affine_order_is_random() -> None:
    """Where turning and scaling both happen, the matrix tells which came first: R S or S R."""
    rng = np.random.default_rng(2)
    draws = [transforms.draw_affine(rng, CANVAS, translate=0)[:2, :2] for _ in range(8000)]
    linear = np.array(draws)
    other = linear.swapaxes(1, 2)
    columns, rows = np.abs(other @ linear)[:, 0, 1], np.abs(linear @ other)[:, 0, 1]
    scaled_first = ((columns < 1e-9) & (rows > 1e-9)).sum()  # diagonal for R S ...
    turned_first = ((rows < 1e-9) & (columns > 1e-9)).sum()  # ... and for S R
    assert turned_first + scaled_first > 800
    assert 0.4 < turned_first / (turned_first + scaled_first) < 0.6


@pytest.mark.parametrize("augmentation", [ImageAugmentation(), VideoAugmentation(CONFIG)])
def test_a_flip_takes_the_whole_clip_half_of_the_time(augmentation) -> None:
    rng = np.random.default_rng(3)
    flips = []
    for _ in range(1000):
        warps = augmentation.draw_warps(rng, CANVAS, 3)
        if warps is not None:
            mirrored = {np.linalg.det(warp) < 0 for warp in warps}
            assert len(mirrored) == 1
            flips.append(mirrored.pop())
    assert 0.44 < np.mean(flips) < 0.56


def test_each_frame_of_a_video_moves_on_its_own() -> None:
    """Of two frames one stays with each of four motions: both alike once in 16 x 16 at most."""
    rng = np.random.default_rng(5)
    clips = [VideoAugmentation(CONFIG).draw_warps(rng, CANVAS, 3) for _ in range(400)]
    for one, other in ((0, 1), (1, 2)):
        alike = np.mean([np.allclose(warps[one], warps[other]) for warps in clips])
        assert alike < 0.05


def test_pseudo_videos_start_with_the_image_itself() -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        first = ImageAugmentation().draw_warps(rng, CANVAS, 3)[0]
        assert any(np.array_equal(first, m) for m in (np.eye(3), transforms.flip_matrix(CANVAS)))


def test_window_contains_the_box_or_lies_in_it() -> None:
    rng, crop = np.random.default_rng(7), (16, 20)
    starts = set()
    for _ in range(3000):
        size = tuple(rng.integers(20, 60, 2, endpoint=True).tolist())
        x0, x1 = sorted(rng.choice(size[1] + 1, 2, replace=False).tolist())
        y0, y1 = sorted(rng.choice(size[0] + 1, 2, replace=False).tolist())
        x, y = transforms.draw_window(rng, (x0, y0, x1, y1), size, crop)
        starts.add((x, y))
        for start, low, high, part, whole in ((x, x0, x1, 20, size[1]), (y, y0, y1, 16, size[0])):
            assert 0 <= start <= whole - part
            if high - low <= part:
                assert start <= low and high <= start + part
            else:
                assert low <= start and start + part <= high
    assert len(starts) > 300


class Still(VideoAugmentation):
    """Video clips whose frames are not warped, so that only the views are seen."""

    def draw_warps(self, rng, canvas, length):
        return [np.eye(3)] * length


def placements(config: DataConfig, canvas: tuple[int, int], count: int) -> np.ndarray:
    """[count, T, 3, 3]: canvas to crop, of accepted clips."""
    rng = np.random.default_rng(5)
    strokes = [FrameStrokes(bars(2, *canvas), 3, 2)] * config.clip_length
    augmentation = Still(config)
    return np.array(
        [place_crops(rng, strokes, canvas, augmentation, config).matrices for _ in range(count)]
    )


def test_clips_are_rescaled_once_and_the_window_drifts() -> None:
    matrices = placements(CONFIG, CANVAS, 300)
    scale = matrices[:, :, 0, 0]
    assert (scale == scale[:, :1]).all()
    assert 0.799 < scale.min() < 0.81
    assert 1.09 < scale.max() < 1.101
    x, y = -matrices[:, :, 0, 2], -matrices[:, :, 1, 2]
    for start, side, axis in ((x, CANVAS[1], 0), (y, CANVAS[0], 1)):
        steps = np.diff(start, axis=1)
        assert steps.min() == -20
        assert steps.max() == 20
        assert start.min() >= 0
        assert (start + 384 <= np.round(side * matrices[:, :, axis, axis])).all()


def test_a_clip_is_at_least_as_large_as_its_crop() -> None:
    config = DataConfig(short_side=400, object_area=10, minimum_area=10)
    scale = placements(config, (400, 700), 60)[:, 0]
    assert scale[:, 1, 1].min() == 384 / 400  # U(0.8, 1.1) would go down to 320 pixels


def test_accepted_crops_keep_enough_strokes_in_every_frame() -> None:
    rng = np.random.default_rng(6)
    strokes = [FrameStrokes(bars(3, *CANVAS), 4, 3)] * 3
    config = DataConfig(minimum_area=700, object_area=400)
    accepted = rejected = 0
    for _ in range(60):
        try:
            placed = place_crops(rng, strokes, CANVAS, VideoAugmentation(config), config)
        except Rejected:
            rejected += 1
            continue
        accepted += 1
        counts = np.array([np.bincount(crop.ravel(), minlength=5) for crop in placed.labels])
        assert (counts[:, 4] > 700).all()
        assert (counts[:, 1:4].sum(axis=1) > 400).all()
        expected = [label for label in (1, 2, 3) if counts[0, label] > 400]
        assert placed.candidates.tolist() == expected
    assert accepted > 10
    assert accepted + rejected == 60


@pytest.mark.parametrize(
    ("missing", "config", "reason"),
    [
        (3, CONFIG, "few_object_pixels"),  # a frame without background strokes
        (1, CONFIG, "few_object_pixels"),
        (None, DataConfig(object_area=20000), "few_object_pixels"),
        (None, DataConfig(minimum_area=20000), "crop"),
    ],
)
def test_rejections_say_why(missing: int | None, config: DataConfig, reason: str) -> None:
    labels = bars(2, *CANVAS)
    last = labels.copy()
    if missing == 3:
        last[last == 3] = 0
    elif missing == 1:
        last[(last == 1) | (last == 2)] = 0
    strokes = [FrameStrokes(labels, 3, 2), FrameStrokes(labels, 3, 2), FrameStrokes(last, 3, 2)]
    with pytest.raises(Rejected) as caught:
        place_crops(np.random.default_rng(0), strokes, CANVAS, VideoAugmentation(config), config)
    assert caught.value.reason == reason


def test_tries_are_bounded() -> None:
    calls = []

    class Counting(VideoAugmentation):
        def draw_rescale(self, rng):
            calls.append(1)
            return super().draw_rescale(rng)

    config = DataConfig(minimum_area=20000)
    strokes = [FrameStrokes(bars(2, *CANVAS), 3, 2)] * 3
    with pytest.raises(Rejected):
        place_crops(np.random.default_rng(0), strokes, CANVAS, Counting(config), config)
    assert len(calls) == 20


def test_warp_keeps_labels_and_moves_whole_pixels_exactly() -> None:
    labels = bars(3)
    moved = transforms.warp(labels, transforms.translate_matrix(-7, -3), (50, 60))
    np.testing.assert_array_equal(moved, labels[3:53, 7:67])
    mirrored = transforms.warp(labels, transforms.flip_matrix(labels.shape), labels.shape)
    np.testing.assert_array_equal(mirrored, labels[:, ::-1])
    doubled = transforms.warp(labels, np.diag([2.0, 2.0, 1.0]), (120, 160))
    np.testing.assert_array_equal(doubled, labels.repeat(2, axis=0).repeat(2, axis=1))
    turned = transforms.warp(
        labels, transforms.draw_affine(np.random.default_rng(0), (60, 80), 4), (60, 80)
    )
    assert set(np.unique(turned)) <= {0, 1, 2, 3, 4}
