"""The hand that holds the pen: smooths a path of pixels, strays from it a little, draws it."""

from __future__ import annotations

import cv2
import numpy as np

SUBPIXEL_BITS = 4  # OpenCV draws at 1/16 of a pixel
_BROAD = 31  # pixels; above it dilation, whose time grows with the pen's area, is too slow


def steer(
    path: np.ndarray, room: np.ndarray, thickness: int, jitter: float, rng: np.random.Generator
) -> np.ndarray:
    """The line that a hand draws along a path; it keeps inside the room that the path has.

    path: [P, 2] (y, x), neighbours about equally far apart. room: [P], pixels to the nearest
    outside of each point. jitter: how far the line strays, share of the room.
    Returns float64 [P, 2] (y, x).
    """
    if len(path) == 1:
        return path.astype(np.float64)
    path = smooth(path.astype(np.float64), 2.0)  # without the steps of the pixel grid
    slack = np.maximum(room - (thickness + 1) / 2, 0)[:, None]
    wish = smooth(path, max(1.0, len(path) / 10))
    # slow wandering off the middle, and a slight tremor
    wander = _noise(len(path), max(6.0, len(path) / 4), rng) + _noise(len(path), 6.0, rng) / 8
    offset = wish - path + jitter * slack * wander
    length = np.linalg.norm(offset, axis=1, keepdims=True)
    offset *= np.minimum(1, slack / np.maximum(length, 1e-9))
    return path + smooth(offset, 1.5)


def draw_lines(shape: tuple[int, int], lines: list[np.ndarray], thickness: int) -> np.ndarray:
    """bool [H, W]: lines of [P, 2] (y, x) drawn with a round pen, not anti-aliased.

    The pen is a disk of `thickness` pixels: OpenCV's own thick lines are up to two pixels thicker
    than asked for.
    """
    canvas = np.zeros(shape, np.uint8)
    for line in lines:
        line = np.repeat(line, 2, axis=0) if len(line) == 1 else line  # a dot, to OpenCV
        points = np.round(line[:, ::-1] * 2**SUBPIXEL_BITS).astype(np.int32)
        cv2.polylines(canvas, [points[:, None]], False, 1, 1, cv2.LINE_8, SUBPIXEL_BITS)
    if thickness > _BROAD:
        if not lines:
            return canvas > 0
        distance = cv2.distanceTransform(1 - canvas, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return distance <= thickness / 2
    reach = np.arange(thickness) - (thickness - 1) / 2
    disk = (reach[:, None] ** 2 + reach**2 <= thickness**2 / 4).astype(np.uint8)
    return cv2.dilate(canvas, disk) > 0


def smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian smoothing along the first axis, [P, D]; the ends stay where they are.

    The sequence is continued by its point reflection at either end, which neither shortens a path
    nor bends it there.
    """
    reach = min(len(values) - 1, int(3 * sigma + 0.5))
    if reach < 1:
        return values
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    before = 2 * values[0] - values[reach:0:-1]
    after = 2 * values[-1] - values[-2 : -2 - reach : -1]
    longer = np.concatenate([before, values, after])
    columns = [np.convolve(column, kernel, mode="valid") for column in longer.T]
    return np.stack(columns, axis=1)


def _noise(length: int, wavelength: float, rng: np.random.Generator) -> np.ndarray:
    """[P, 2] smooth noise of about unit size whose bumps are `wavelength` points apart."""
    knots = rng.uniform(-1.7, 1.7, size=(int(length / wavelength) + 2, 2))
    place = np.arange(length) / wavelength
    columns = [np.interp(place, np.arange(len(knots)), column) for column in knots.T]
    return smooth(np.stack(columns, axis=1), wavelength / 3)
