"""Region similarity J and contour accuracy F, as the official DAVIS package computes them.

Equal to it to rounding (docs/method.md, section 9), but each object is measured inside its own
bounding box: outside it, neither mask has anything to count.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

BOUNDARY_TOLERANCE = 0.008  # of the image's diagonal
RECALL_THRESHOLD = 0.5
_DECAY_BINS = 4


class Statistics(NamedTuple):
    """What DAVIS reports of one object's scores over its frames."""

    mean: float
    recall: float
    """Share of the frames that score above 0.5."""
    decay: float
    """Mean of the first quarter of the frames minus mean of the last."""


def frame_scores(prediction: np.ndarray, annotation: np.ndarray, num_objects: int) -> np.ndarray:
    """J and F of every object of one frame: float64 [2, N].

    prediction, annotation: uint8 [H, W], 0 background, 1..N objects; other values count as
    background. Raises ValueError where the two shapes differ.
    """
    if prediction.shape != annotation.shape:
        raise ValueError(f"prediction {prediction.shape} and annotation {annotation.shape} differ")
    tolerance = boundary_tolerance(annotation.shape)
    scores = np.empty((2, num_objects))
    for index in range(num_objects):
        predicted, true = _crop(prediction == index + 1, annotation == index + 1)
        scores[0, index] = region_similarity(predicted, true)
        scores[1, index] = contour_accuracy(predicted, true, tolerance)
    return scores


def boundary_tolerance(shape: tuple[int, ...]) -> int:
    """How far apart two contours may lie and still match, in pixels."""
    return math.ceil(BOUNDARY_TOLERANCE * math.hypot(*shape))


def region_similarity(predicted: np.ndarray, true: np.ndarray) -> float:
    """J: intersection over union of two masks (uint8 0/1 [H, W]); 1 where both are empty."""
    union = cv2.countNonZero(predicted | true)
    return cv2.countNonZero(predicted & true) / union if union else 1.0


def contour_accuracy(predicted: np.ndarray, true: np.ndarray, tolerance: int) -> float:
    """F: harmonic mean of the contours' precision and recall (uint8 0/1 [H, W]).

    A contour pixel matches where the other contour passes within `tolerance` pixels. 1 where
    neither mask has a contour, 0 where only one has.
    """
    contour, true_contour = boundary_map(predicted), boundary_map(true)
    count, true_count = cv2.countNonZero(contour), cv2.countNonZero(true_contour)
    if not count or not true_count:
        return float(count == true_count)
    reach = _disk(tolerance)
    precision = cv2.countNonZero(contour & cv2.dilate(true_contour, reach)) / count
    recall = cv2.countNonZero(true_contour & cv2.dilate(contour, reach)) / true_count
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def boundary_map(mask: np.ndarray) -> np.ndarray:
    """uint8 0/1 [H, W]: pixels that differ from their right, lower or lower-right neighbour.

    The official `seg2bmap`: beyond the image's edge the mask goes on as it is.
    """
    padded = cv2.copyMakeBorder(mask, 0, 1, 0, 1, cv2.BORDER_REPLICATE)
    square, corner = np.ones((2, 2), np.uint8), (0, 0)
    highest = cv2.dilate(padded, square, anchor=corner)
    lowest = cv2.erode(padded, square, anchor=corner)
    return (highest ^ lowest)[:-1, :-1]


def statistics(values: np.ndarray) -> Statistics:
    """Mean, recall and decay of one object's scores [T]; NaN for none at all."""
    if not len(values):
        return Statistics(math.nan, math.nan, math.nan)
    edges = np.round(np.linspace(1, len(values), _DECAY_BINS + 1) + 1e-10).astype(int) - 1
    first, last = values[edges[0] : edges[1] + 1], values[edges[-2] : edges[-1] + 1]
    return Statistics(
        mean=float(np.mean(values)),
        recall=float(np.mean(values > RECALL_THRESHOLD)),
        decay=float(np.mean(first) - np.mean(last)),
    )


def _crop(predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both masks as uint8, inside the box of their union and one pixel around it.

    A contour lies inside its mask or one pixel up or left of it, so that no contour pixel is lost;
    distances are only ever taken between contour pixels.
    """
    left, top, width, height = cv2.boundingRect((predicted | true).view(np.uint8))
    rows = slice(max(top - 1, 0), top + height + 1)
    columns = slice(max(left - 1, 0), left + width + 1)
    return tuple(np.ascontiguousarray(m[rows, columns]).view(np.uint8) for m in (predicted, true))


def _disk(radius: int) -> np.ndarray:
    """uint8 [2r + 1, 2r + 1]: 1 within `radius` of the centre."""
    offsets = np.arange(-radius, radius + 1)
    return (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)
