"""J and F: hand-computed values, and equality with the official package's way and numbers."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest

from rhmnet import evaluation as scoring
from rhmnet.evaluation import report
from rhmnet.files.images import read_labels


def official_frame(predicted: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """J and F of two bool masks, written out at full size as DAVIS defines them."""
    union = np.sum(predicted | true)
    region = np.sum(predicted & true) / union if union else 1.0
    radius = math.ceil(0.008 * np.linalg.norm(true.shape))
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x * x + y * y <= radius * radius).astype(np.uint8)
    contours = [official_contour(m) for m in (predicted, true)]
    near = [cv2.dilate(c.astype(np.uint8), disk) > 0 for c in contours]
    counts = [np.sum(c) for c in contours]
    if 0 in counts:
        return region, float(counts[0] == counts[1])
    precision = np.sum(contours[0] & near[1]) / counts[0]
    recall = np.sum(contours[1] & near[0]) / counts[1]
    total = precision + recall
    return region, 2 * precision * recall / total if total else 0.0


def official_contour(mask: np.ndarray) -> np.ndarray:
    right, below, both = mask.copy(), mask.copy(), mask.copy()
    right[:, :-1] = mask[:, 1:]
    below[:-1] = mask[1:]
    both[:-1] = right[1:]
    both[-1, :-1] = mask[-1, 1:]
    return (mask ^ right) | (mask ^ below) | (mask ^ both)


def blobs(rng: np.random.Generator, shape: tuple[int, int], num_objects: int) -> np.ndarray:
    """A label map of smooth random shapes, some of which touch the image's edges."""
    noise = rng.random((num_objects + 1, *shape)).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(n, (0, 0), 5) for n in noise])
    smooth[0] += 0.02
    return smooth.argmax(0).astype(np.uint8)


@pytest.mark.parametrize("seed", range(8))
def test_equals_the_official_way_on_random_shapes(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(s) for s in rng.integers(20, 160, 2))
    true = blobs(rng, shape, 3)
    moved = np.roll(true, rng.integers(-4, 5, 2), axis=(0, 1))
    predicted = np.where(rng.random(shape) < 0.01, np.uint8(2), moved)
    scores = scoring.frame_scores(predicted, true, 3)
    for index in range(3):
        expected = official_frame(predicted == index + 1, true == index + 1)
        assert scores[:, index] == pytest.approx(expected, abs=1e-12)


def test_thin_shapes_on_every_edge_of_the_image():
    true = np.zeros((30, 40), np.uint8)
    true[0], true[-1], true[:, 0], true[:, -1] = 1, 1, 1, 1
    predicted = np.zeros_like(true)
    predicted[-3:, -3:] = 1
    expected = official_frame(predicted == 1, true == 1)
    assert scoring.frame_scores(predicted, true, 1)[:, 0] == pytest.approx(expected, abs=1e-12)


def test_two_squares_by_hand():
    true, predicted = np.zeros((2, 64, 64), np.uint8)
    true[10:20, 10:20] = 1
    predicted[10:20, 30:40] = 1
    predicted[10:20, 15:20] = 1
    # intersection 10 x 5; union 10 x 10 + 10 x 10
    region, contour = scoring.frame_scores(predicted, true, 1)[:, 0]
    assert region == 50 / 200
    assert contour == pytest.approx(official_frame(predicted == 1, true == 1)[1])


def test_a_contour_within_tolerance_matches_and_one_beyond_does_not():
    shape = (100, 75)  # diagonal 125: tolerance 1
    assert scoring.boundary_tolerance(shape) == 1
    true = np.zeros(shape, np.uint8)
    true[40:60, 20:50] = 1
    assert scoring.frame_scores(np.roll(true, 1, axis=0), true, 1)[1, 0] == 1
    assert scoring.frame_scores(np.roll(true, 2, axis=0), true, 1)[1, 0] < 0.6


def test_tolerance_of_davis_frames():
    assert scoring.boundary_tolerance((480, 854)) == 8
    assert scoring.boundary_tolerance((1080, 1920)) == 18


def test_both_empty_is_perfect_and_one_empty_is_zero():
    empty, full = np.zeros((2, 20, 30), np.uint8)
    full[5:10, 5:10] = 1
    assert scoring.frame_scores(empty, empty, 2).tolist() == [[1, 1], [1, 1]]
    assert scoring.frame_scores(full, empty, 1).tolist() == [[0], [0]]
    assert scoring.frame_scores(empty, full, 1).tolist() == [[0], [0]]


def test_boundary_map_by_hand():
    mask = np.zeros((5, 5), np.uint8)
    mask[2, 2] = 1
    expected = np.zeros((5, 5), np.uint8)
    expected[1:3, 1:3] = 1
    assert (scoring.boundary_map(mask) == expected).all()


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="differ"):
        scoring.frame_scores(np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8), 1)


def test_statistics_by_hand():
    # 9 frames: quarters share their edges, frames 1-3 and 7-9
    values = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.3, 0.2, 0.1])
    result = report.statistics(values)
    assert result.mean == pytest.approx(4.6 / 9)
    assert result.recall == pytest.approx(4 / 9)  # 0.5 is not above 0.5
    assert result.decay == pytest.approx(0.8 - 0.2)


def test_decay_rounds_half_a_frame_up():
    # 3 frames: quarters end at 1, 1.5, 2, 2.5, 3, so frames 1-2 and frame 3
    assert report.statistics(np.array([1.0, 0.5, 0.0])).decay == pytest.approx(0.75)
    # 5 frames: 1-2 and 4-5; 11 frames: 1-4 (3.5 goes up) and 9-11 (8.5)
    assert report.statistics(np.array([1, 0.8, 0.5, 0.2, 0.0])).decay == pytest.approx(0.9 - 0.1)
    values = np.arange(11) / 10
    assert report.statistics(values).decay == pytest.approx(0.15 - 0.9)


def test_statistics_of_one_frame_do_not_decay():
    assert report.statistics(np.array([0.7])) == (0.7, 1.0, 0.0)


def test_equals_the_official_package_on_its_masks(shared):
    official = json.loads((shared / "davis/official/scores_2016.json").read_text())
    video = "car-shadow"
    annotations = sorted((shared / "davis/Annotations/480p" / video).glob("*.png"))[1:-1]
    masks = shared / "davis/official/osvos_masks" / video
    scores = np.stack(
        [
            scoring.frame_scores(
                (read_labels(masks / path.name) > 0).view(np.uint8),
                (read_labels(path) > 0).view(np.uint8),
                1,
            )
            for path in annotations
        ]
    )
    for row, name in enumerate("JF"):
        expected = [official[video][name][k] for k in ("mean", "recall", "decay")]
        assert report.statistics(scores[:, row, 0]) == pytest.approx(expected, abs=1e-9)
