"""Procedural textures: a pattern (a grey field) coloured by a palette.

Training and validation draw from disjoint families of patterns, for objects and backgrounds alike.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import cv2
import numpy as np

Grid = tuple[np.ndarray, np.ndarray]
"""x and y of every pixel, float32 [H, W] each; one unit is one period of the pattern."""


def fractal_noise(rng: np.random.Generator, height: int, width: int, cell: float) -> np.ndarray:
    """Smooth noise in [0, 1], float32 [H, W], of three octaves; `cell`: the coarsest, pixels."""
    noise = np.zeros((height, width), np.float32)
    for octave in range(3):
        step = max(cell / 2**octave, 1.0)
        coarse = rng.random((int(height / step) + 3, int(width / step) + 3), dtype=np.float32)
        fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        noise += fine * np.float32(0.5**octave)
    return cv2.normalize(noise, None, 0, 1, cv2.NORM_MINMAX)


def _stripes(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """Straight bands."""
    return 0.5 + 0.5 * np.sin(2 * np.pi * grid[0])


def _checks(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """A chessboard with soft edges."""
    x, y = grid
    return 0.5 + 0.5 * np.tanh(4 * np.sin(np.pi * x) * np.sin(np.pi * y))


def _marble(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """Ridges of noise, as veins in stone."""
    x, y = grid
    height, width = x.shape
    period = np.sqrt(height * width / (np.ptp(x) * np.ptp(y)))
    noise = fractal_noise(rng, height, width, cell=2.5 * period)
    return np.abs(np.sin(2.5 * np.pi * noise))


def _cells(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """Voronoi cells, each of one value, with dark seams."""
    x, y = grid
    height, width = x.shape
    area = float(np.ptp(x) * np.ptp(y))
    count = int(np.clip(1.2 * area, 12, 900))
    seeds = np.full((height, width), 255, np.uint8)
    seeds[rng.integers(0, height, count), rng.integers(0, width, count)] = 0
    _, nearest = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    values = rng.uniform(0.25, 1, int(nearest.max()) + 1).astype(np.float32)
    field = values[nearest]
    seam = cv2.morphologyEx(field, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    field[seam] = 0
    return cv2.GaussianBlur(field, (0, 0), 0.8)


def _spots(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """Round dots on a hexagonal lattice."""
    x, y = grid
    nearest = np.full(x.shape, 9, np.float32)
    for shift in (0.0, 0.5):  # a hexagonal lattice is two rectangular ones
        dx = (x + shift) % 1 - 0.5
        dy = ((y / 1.732 + shift) % 1 - 0.5) * 1.732
        nearest = np.minimum(nearest, dx * dx + dy * dy)
    return 0.5 + 0.5 * np.tanh(14 * (0.33 - np.sqrt(nearest)))


def _rings(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """Concentric rings about a point of the texture."""
    x, y = grid
    u, v = rng.uniform(0.2, 0.8, 2)
    centre_x = x.min() + u * np.ptp(x)
    centre_y = y.min() + v * np.ptp(y)
    return 0.5 + 0.5 * np.sin(2 * np.pi * np.hypot(x - centre_x, y - centre_y))


def _scales(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """Rows of overlapping round scales, each shaded from its root to its rim."""
    x, y = grid
    field = np.zeros_like(x)
    rows = 2 * y
    for above in (1, 0):  # a row's scales reach over the next row and are covered by its own
        row = np.floor(rows) - above
        dx = (x + 0.5 * (row % 2)) % 1 - 0.5
        distance = np.hypot(dx, (rows - row) / 2) / 0.62
        field = np.where(distance < 1, 1 - distance**3, field)
    return field


def _zigzag(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """Chevrons."""
    x, y = grid
    return 0.5 + 0.5 * np.tanh(2 * np.sin(2 * np.pi * (y + np.abs(x % 2 - 1))))


Pattern = Callable[[np.random.Generator, Grid], np.ndarray]
PATTERNS: dict[str, dict[str, Pattern]] = {
    "train": {"stripes": _stripes, "checks": _checks, "marble": _marble, "cells": _cells},
    "valid": {"spots": _spots, "rings": _rings, "scales": _scales, "zigzag": _zigzag},
}


def palette(
    rng: np.random.Generator,
    hue: float,
    saturation: tuple[float, float],
    value: tuple[float, float],
    contrast: float,
) -> np.ndarray:
    """Three colours near a hue, from dark to light: float32 [3, 3], RGB in [0, 1].

    contrast: difference in HSV value between the first and the last.
    """
    middle = rng.uniform(*value)
    colours = []
    for step in (-0.5, 0.0, 0.5):
        colours.append(
            colorsys.hsv_to_rgb(
                (hue + rng.uniform(-0.045, 0.045)) % 1,
                float(np.clip(rng.uniform(*saturation) - 0.2 * step, 0, 1)),
                float(np.clip(middle + step * contrast, 0.06, 1)),
            )
        )
    return np.asarray(colours, np.float32)


def render_texture(
    rng: np.random.Generator,
    pattern: Pattern,
    colours: np.ndarray,
    shape: tuple[int, int],
    period: float,
    warp: float,
) -> np.ndarray:
    """A texture, float32 [H, W, 3] in [0, 1].

    colours: float32 [P, 3]; period: of the pattern, pixels; warp: how far smooth noise bends the
    pattern, in periods.
    """
    height, width = shape
    angle = rng.uniform(0, 2 * np.pi)
    ys, xs = np.mgrid[:height, :width].astype(np.float32) / np.float32(period)
    x = np.float32(np.cos(angle)) * xs - np.float32(np.sin(angle)) * ys
    y = np.float32(np.sin(angle)) * xs + np.float32(np.cos(angle)) * ys
    x += np.float32(warp) * (fractal_noise(rng, height, width, 4 * period) - 0.5)
    y += np.float32(warp) * (fractal_noise(rng, height, width, 4 * period) - 0.5)
    field = np.clip(pattern(rng, (x, y)), 0, 1)
    stops = np.linspace(0, 255, len(colours))
    table = np.stack([np.interp(np.arange(256), stops, channel) for channel in colours.T], axis=1)
    texture = table.astype(np.float32)[(255 * field).astype(np.uint8)]
    shade = 0.88 + 0.24 * fractal_noise(rng, height, width, 3 * period)
    return np.clip(texture * shade[..., None], 0, 1)
