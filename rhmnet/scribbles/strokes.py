"""Strokes as a hand would draw them, from masks: one path along the middle of each object.

Every draw depends on the generator alone, so that a seed gives the same bytes everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from skimage.morphology import skeletonize


@dataclass(frozen=True)
class StrokeOptions:
    """What a hand does. Lengths in pixels hold for a short side of 480 and scale with the image."""

    thickness: float = 5.0  # of a stroke, pixels at 480p
    coverage: float = 0.7  # share of the skeleton's longest path that a stroke covers, 0..1
    branch_chance: float = 0.3  # probability that a side branch of the skeleton is drawn too
    jitter: float = 2.0  # standard deviation of the hand's tremor, pixels at 480p
    background: bool = True  # draw background strokes
    background_strokes: int = 2  # how many of them
    min_area: float = 0.0  # objects of fewer pixels (at 480p) get no stroke


def draw_scribble(
    labels: np.ndarray,
    num_objects: int,
    rng: np.random.Generator,
    options: StrokeOptions = StrokeOptions(),  # noqa: B008  frozen
) -> np.ndarray:
    """Scribble of a dense label map, as on disk.

    labels: uint8 [H, W], 0 background, 1..N objects.
    Returns uint8 [H, W]: 0 unlabelled, n the stroke of object n, N + 1 the background's strokes.
    No stroke leaves its object, and every object that is drawn gets at least one pixel.
    """
    scale = min(labels.shape) / 480
    thickness = max(1, round(options.thickness * scale))
    scribble = np.zeros(labels.shape, np.uint8)
    for value in range(1, num_objects + 1):
        mask = labels == value
        if mask.any() and mask.sum() >= options.min_area * scale**2:
            scribble[_stroke(mask, thickness, options.coverage, rng)] = value
    free = labels == 0
    if options.background and free.any():
        for _ in range(options.background_strokes):
            scribble[_stroke(free, thickness, options.coverage, rng)] = num_objects + 1
    return scribble


def _stroke(
    mask: np.ndarray, thickness: int, coverage: float, rng: np.random.Generator
) -> np.ndarray:
    """bool [H, W]: part of the mask's skeleton, thickened, inside the mask."""
    skeleton = np.argwhere(skeletonize(mask))
    centre = skeleton[rng.integers(len(skeleton))] if len(skeleton) else np.argwhere(mask)[0]
    kept = np.zeros(mask.shape, np.uint8)
    kept[tuple(centre)] = 1
    if len(skeleton):
        distance = np.linalg.norm(skeleton - centre, axis=1)
        near = skeleton[distance <= coverage * distance.max()]
        kept[near[:, 0], near[:, 1]] = 1
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (thickness, thickness))
    return (cv2.dilate(kept, disk) > 0) & mask
