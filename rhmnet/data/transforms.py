"""Geometry of a training clip: every augmentation is a 3x3 matrix, composed, and applied once.

`ImageAugmentation` and `VideoAugmentation` are the presets, one a training stage.

Matrices map (x, y, 1) of a source to a target in continuous pixel coordinates: the centre of pixel
(i, j) lies at (j + 0.5, i + 0.5). A canvas is a frame resized to the configured short side.
Source: docs/method.md, section 7, "COCO clips" and "Video clips".
"""

from __future__ import annotations

import math
from typing import Protocol

import cv2
import numpy as np

from rhmnet.config import DataConfig

FLIP_PROBABILITY = 0.5
AFFINE_PROBABILITY = 0.5  # of each of the four, on each frame
ROTATE_DEGREES = 30.0
SHEAR_DEGREES = 15.0
SCALE_RANGE = (0.8, 1.2)  # per axis and frame
RESCALE_RANGE = (0.8, 1.1)  # of a whole video clip
FIRST_WARP = 1 / 6  # of the canvas: how far a corner moves at the second frame of a pseudo-video
NEXT_WARP = 1 / 8  # ... and how much further at each later frame


def canvas_size(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    """Height and width of a frame of `size` once its short side is `short_side`, pixels."""
    scale = short_side / min(size)
    return round(size[0] * scale), round(size[1] * scale)


def resize_matrix(size: tuple[int, int], target: tuple[int, int]) -> np.ndarray:
    """From an image of `size` (height, width) to one of `target`."""
    return np.diag([target[1] / size[1], target[0] / size[0], 1.0])


def translate_matrix(x: float, y: float) -> np.ndarray:
    """Move by x and y pixels."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def flip_matrix(size: tuple[int, int]) -> np.ndarray:
    """Mirror left and right within `size` (height, width)."""
    return np.array([[-1.0, 0.0, size[1]], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def draw_affine(rng: np.random.Generator, size: tuple[int, int], translate: int) -> np.ndarray:
    """Rotation, shear, translation and scale about the middle, in random order, each or not.

    size: the canvas, height and width. translate: the most it moves on each axis, pixels.
    """
    angle = math.radians(rng.uniform(-ROTATE_DEGREES, ROTATE_DEGREES))
    shear = math.tan(math.radians(rng.uniform(-SHEAR_DEGREES, SHEAR_DEGREES)))
    cos, sin = math.cos(angle), math.sin(angle)
    steps = (
        np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]),
        np.array([[1.0, shear, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        translate_matrix(*rng.integers(-translate, translate, size=2, endpoint=True)),
        np.diag([*rng.uniform(*SCALE_RANGE, size=2), 1.0]),
    )
    chosen = rng.random(len(steps)) < AFFINE_PROBABILITY
    matrix = translate_matrix(-size[1] / 2, -size[0] / 2)
    for index in rng.permutation(len(steps)):
        if chosen[index]:
            matrix = steps[index] @ matrix
    return translate_matrix(size[1] / 2, size[0] / 2) @ matrix


def draw_perspectives(
    rng: np.random.Generator, size: tuple[int, int], length: int
) -> list[np.ndarray] | None:
    """One matrix a frame: the first leaves its frame, the others move its four corners.

    The second frame moves each corner by up to a sixth of the canvas on each axis, every later
    one by up to an eighth more in the same direction. None where the corners no longer span a
    convex quadrilateral, which is no view of a plane.
    """
    extent = np.array([size[1], size[0]], float)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * extent
    moved = rng.uniform(-FIRST_WARP, FIRST_WARP, (4, 2)) * extent
    direction = np.sign(moved)
    warps = [np.eye(3)]
    for index in range(1, length):
        if index > 1:
            moved = moved + direction * rng.uniform(0, NEXT_WARP, (4, 2)) * extent
        target = (corners + moved).astype(np.float32)
        if not cv2.isContourConvex(target):
            return None
        warps.append(cv2.getPerspectiveTransform(corners.astype(np.float32), target))
    return warps


def bounding_box(
    points: np.ndarray, matrix: np.ndarray, size: tuple[int, int]
) -> tuple[int, int, int, int] | None:
    """x0, y0, x1, y1 (ends excluded) of mapped points that lie within `size`, or None.

    points: float [N, 1, 2], x and y of pixel centres in the source.
    """
    x, y = np.ascontiguousarray(cv2.perspectiveTransform(points, matrix)[:, 0].T)
    inside = (x >= 0) & (x < size[1]) & (y >= 0) & (y < size[0])
    if not inside.any():
        return None
    x, y = x[inside], y[inside]
    return int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1


def draw_window(
    rng: np.random.Generator,
    box: tuple[int, int, int, int],
    size: tuple[int, int],
    crop: tuple[int, int],
) -> tuple[int, int]:
    """x, y of a crop that contains the box, or lies inside it where it is larger; axis by axis.

    size, crop: height and width of the frame and of the crop, pixels.
    """

    def start(low: int, high: int, whole: int, part: int) -> int:
        first, last = sorted((low, high - part))
        return int(rng.integers(max(first, 0), min(last, whole - part), endpoint=True))

    return start(box[0], box[2], size[1], crop[1]), start(box[1], box[3], size[0], crop[0])


def drift_window(
    rng: np.random.Generator,
    window: tuple[int, int],
    drift: int,
    size: tuple[int, int],
    crop: tuple[int, int],
) -> tuple[int, int]:
    """x, y of the next frame's crop: up to `drift` pixels away on each axis, within the frame."""
    x, y = window + rng.integers(-drift, drift, size=2, endpoint=True)
    return int(np.clip(x, 0, size[1] - crop[1])), int(np.clip(y, 0, size[0] - crop[0]))


def warp(source: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Apply a matrix to an image (bilinear) or a label map (nearest); outside is 0.

    source: uint8 [H, W, 3] or [H, W]. size: height and width of the result.
    """
    to_index = translate_matrix(-0.5, -0.5)  # OpenCV counts from pixel centres
    matrix = to_index @ matrix @ translate_matrix(0.5, 0.5)
    flags = cv2.INTER_NEAREST if source.ndim == 2 else cv2.INTER_LINEAR
    if np.array_equal(matrix[2], (0.0, 0.0, 1.0)):
        return cv2.warpAffine(source, matrix[:2], size[::-1], flags=flags)
    return cv2.warpPerspective(source, matrix, size[::-1], flags=flags)


class Augmentation(Protocol):
    """How the frames of a clip move, one implementation a training stage."""

    def draw_warps(
        self, rng: np.random.Generator, canvas: tuple[int, int], length: int
    ) -> list[np.ndarray] | None:
        """One matrix a frame, canvas to canvas; None where the draw is degenerate."""

    def draw_rescale(self, rng: np.random.Generator) -> float:
        """The factor by which the whole clip is resized before a crop is tried."""

    @property
    def drift(self) -> int:
        """How far the crop moves from frame to frame, pixels."""


class ImageAugmentation:
    """COCO: a flip, then perspective warps that go on in one direction; one crop for all frames."""

    drift = 0

    def draw_warps(
        self, rng: np.random.Generator, canvas: tuple[int, int], length: int
    ) -> list[np.ndarray] | None:
        """See `Augmentation`."""
        flip = _draw_flip(rng, canvas)
        warps = draw_perspectives(rng, canvas, length)
        return warps and [warp @ flip for warp in warps]

    def draw_rescale(self, rng: np.random.Generator) -> float:
        """Images keep their size."""
        return 1.0


class VideoAugmentation:
    """Videos: one flip for all frames, an affine map each, one rescale, and a crop that drifts."""

    def __init__(self, config: DataConfig) -> None:
        self.drift = config.crop_drift
        self._translate = config.translate

    def draw_warps(
        self, rng: np.random.Generator, canvas: tuple[int, int], length: int
    ) -> list[np.ndarray]:
        """See `Augmentation`."""
        flip = _draw_flip(rng, canvas)
        return [draw_affine(rng, canvas, self._translate) @ flip for _ in range(length)]

    def draw_rescale(self, rng: np.random.Generator) -> float:
        """See `Augmentation`."""
        return rng.uniform(*RESCALE_RANGE)


def _draw_flip(rng: np.random.Generator, canvas: tuple[int, int]) -> np.ndarray:
    flipped = rng.random() < FLIP_PROBABILITY
    return flip_matrix(canvas) if flipped else np.eye(3)
