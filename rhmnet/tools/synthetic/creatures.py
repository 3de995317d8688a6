"""Creatures and their textures: textured parts that hang together at joints, swing, bend, breathe.

A texture is a pattern (a grey field) coloured by a palette. Training and validation draw from
disjoint families of shapes, and of patterns, for objects and backgrounds alike. Coordinates are
those of the creature: x to its head, y down, its body about one unit in radius.
"""

from __future__ import annotations

from collections.abc import Callable
from colorsys import hsv_to_rgb
from dataclasses import dataclass

import cv2
import numpy as np

SPRITE_EXTENT = 1.7
"""A sprite shows the square of this half side, in units."""
Grid = tuple[np.ndarray, np.ndarray]
"""x and y of every pixel, float32 [H, W] each; one unit is one period of the pattern."""


@dataclass(frozen=True)
class Part:
    """A textured piece of a creature."""

    outline: np.ndarray
    """float [P, 2], closed."""
    joint: tuple[float, float] = (0.0, 0.0)
    swing: float = 0.0
    """Largest turn about the joint, radians."""
    phase: float = 0.0
    """Of the swing, radians."""
    accent: bool = False
    """Drawn in the creature's second texture."""
    eyes: tuple[tuple[float, float], ...] = ()
    """Centres of the eyes."""


@dataclass(frozen=True)
class Body:
    """A creature's build; `parts` from the furthest to the nearest."""

    parts: tuple[Part, ...]
    bend: float = 0.0
    """Amplitude of the wave that runs through it, units, growing from head to tail."""
    breath: float = 0.04
    """Amplitude of its swelling and shrinking, relative."""

    @property
    def reach(self) -> float:
        """Distance from the middle, units, that no part exceeds however it moves."""
        furthest = max(
            np.hypot(*part.joint) + np.linalg.norm(part.outline - part.joint, axis=1).max()
            for part in self.parts
        )
        return float((furthest + self.bend) * (1 + self.breath))


def _ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0.0) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    points = np.stack([rx * np.cos(turn), ry * np.sin(turn)], axis=1)
    cos, sin = np.cos(angle), np.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]]) + (x, y)


def _limb(start: tuple[float, float], angle: float, length: float, width: float) -> np.ndarray:
    """An ellipse that begins at `start` and points along `angle`."""
    x = start[0] + 0.5 * length * np.cos(angle)
    y = start[1] + 0.5 * length * np.sin(angle)
    return _ellipse(x, y, 0.5 * length, 0.5 * width, angle)


def _lobes(rng: np.random.Generator, count: int, depth: float, rough: float) -> np.ndarray:
    """A closed curve of `count` lobes, made irregular by `rough`."""
    turn = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    radius = 1 + depth * np.cos(count * turn)
    for harmonic in range(2, 5):
        amplitude = rough * rng.uniform(-1, 1) / harmonic
        radius += amplitude * np.cos(harmonic * turn + rng.uniform(0, 2 * np.pi))
    return radius[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1) / (1 + depth)


def _pebble(rng: np.random.Generator) -> Body:
    outline = _lobes(rng, 3, 0.0, 0.75) * (1.0, rng.uniform(0.7, 1.0))
    eyes = ((0.55, -0.2), (0.55, 0.2))
    return Body((Part(outline, eyes=eyes),), bend=0.12, breath=0.1)


def _fish(rng: np.random.Generator) -> Body:
    height = rng.uniform(0.45, 0.65)
    tail = np.array([(-0.7, 0), (-1.1, -0.5), (-1.5, -0.62), (-1.25, 0), (-1.5, 0.62), (-1.1, 0.5)])
    fin = _limb((0.1, -0.6 * height), -2.2, 0.8, 0.4)
    side = _limb((0.1, 0.15), 2.6, 0.55, 0.3)
    parts = (
        Part(tail, (-0.8, 0), 0.35, accent=True),
        Part(fin, (0.1, -0.6 * height), 0.15, accent=True),
        Part(_ellipse(0, 0, 1.0, height), eyes=((0.66, -0.12),)),
        Part(side, (0.1, 0.15), 0.4, 1.0, accent=True),
    )
    return Body(parts, bend=0.16)


def _turtle(rng: np.random.Generator) -> Body:
    legs = []
    for index, (x, side) in enumerate([(0.5, -1), (0.5, 1), (-0.55, 1), (-0.55, -1)]):
        joint = (x, 0.5 * side)
        leg = _limb(joint, side * (0.9 if x > 0 else 2.2), rng.uniform(0.7, 0.9), 0.36)
        legs.append(Part(leg, joint, 0.45, index * np.pi / 2, accent=True))
    eyes = ((1.15, -0.14), (1.15, 0.14))
    head = Part(_ellipse(1.05, 0, 0.36, 0.28), (0.7, 0), 0.25, accent=True, eyes=eyes)
    shell = Part(_ellipse(0, 0, 0.95, rng.uniform(0.7, 0.85)))
    return Body((*legs, head, shell))


def _starfish(rng: np.random.Generator) -> Body:
    outline = 1.25 * _lobes(rng, 5, 0.36, 0.15)
    return Body((Part(outline, eyes=((0.12, -0.16), (0.12, 0.16))),), bend=0.1, breath=0.08)


def _octopus(rng: np.random.Generator) -> Body:
    arms = []
    for index in range(5):
        joint = (-0.35, -0.5 + 0.25 * index)
        angle = np.pi + 0.28 * (2 - index)
        arm = _limb(joint, angle, rng.uniform(0.9, 1.15), 0.34)
        arms.append(Part(arm, joint, 0.3, index * 1.3, accent=index % 2 == 1))
    head = Part(_ellipse(0.15, 0, 0.85, 0.72), eyes=((0.2, -0.28), (0.2, 0.28)))
    return Body((*arms, head), bend=0.14, breath=0.07)


def _butterfly(rng: np.random.Generator) -> Body:
    wings = []
    for side in (-1, 1):
        size = rng.uniform(1.15, 1.35)
        wings.append(Part(_limb((0.05, 0), side * 2.1, 0.8 * size, 0.7), (0, 0), side * 0.3, 0.6))
        wings.append(Part(_limb((0.1, 0), side * 1.15, size, 0.85), (0, 0), side * 0.3))
    trunk = Part(_ellipse(0, 0, 0.8, 0.22), accent=True)
    head = Part(_ellipse(0.75, 0, 0.28, 0.3), accent=True, eyes=((0.84, -0.15), (0.84, 0.15)))
    return Body((*wings, trunk, head))


def _caterpillar(rng: np.random.Generator) -> Body:
    rings = []
    for index in range(5):
        x = -1.15 + 0.48 * index
        rings.append(Part(_ellipse(x, 0, 0.4, rng.uniform(0.4, 0.48)), accent=index % 2 == 1))
    for side in (-1, 1):
        feeler = _limb((1.2, 0), side * 0.8, 0.5, 0.12)
        rings.append(Part(feeler, (1.2, 0), 0.3, side, accent=True))
    head = Part(_ellipse(1.15, 0, 0.45, 0.5), eyes=((1.3, -0.2), (1.3, 0.2)))
    return Body((*rings, head), bend=0.3)


def _rabbit(rng: np.random.Generator) -> Body:
    ears = []
    for side in (-1, 1):
        joint = (1.0, 0.12 * side)
        ear = _limb(joint, side * rng.uniform(1.9, 2.2), 0.95, 0.28)
        ears.append(Part(ear, joint, 0.25, side, accent=True))
    tail = Part(_ellipse(-0.95, 0, 0.24, 0.24), (-0.7, 0), 0.3, accent=True)
    trunk = Part(_ellipse(-0.2, 0, 0.85, rng.uniform(0.58, 0.7)))
    head = Part(_ellipse(0.85, 0, 0.48, 0.42), (0.4, 0), 0.2, eyes=((1.05, -0.16), (1.05, 0.16)))
    return Body((tail, trunk, *ears, head))


BODIES: dict[str, dict[str, Callable[[np.random.Generator], Body]]] = {
    split: {build.__name__.removeprefix("_"): build for build in builds}
    for split, builds in {
        "train": (_pebble, _fish, _turtle, _starfish),
        "valid": (_octopus, _butterfly, _caterpillar, _rabbit),
    }.items()
}


def render_sprite(part: Part, texture: np.ndarray) -> np.ndarray:
    """The part, lit from above: uint8 [S, S, 4], RGB premultiplied by alpha.

    texture: float32 [S, S, 3] in [0, 1].
    """
    side = texture.shape[0]
    per_unit = side / (2 * SPRITE_EXTENT)
    alpha = np.zeros((side, side), np.uint8)
    points = np.round(16 * ((part.outline + SPRITE_EXTENT) * per_unit - 0.5)).astype(np.int32)
    cv2.fillPoly(alpha, [points], 255, lineType=cv2.LINE_AA, shift=4)
    rgb = texture * relief(alpha, per_unit)[..., None]
    for x, y in part.eyes:
        for radius, grey in ((0.13, 0.97), (0.07, 0.04)):
            centre = tuple(round(16 * (place + SPRITE_EXTENT) * per_unit) for place in (x, y))
            cv2.circle(rgb, centre, round(16 * radius * per_unit), (grey,) * 3, -1, cv2.LINE_AA, 4)
    opacity = alpha[..., None].astype(np.float32)
    return np.dstack([np.clip(rgb, 0, 1) * opacity, opacity]).round().astype(np.uint8)


def relief(alpha: np.ndarray, unit: float) -> np.ndarray:
    """Shading of a cushion of this outline, lit from above: float32 [H, W], about 1.

    alpha: uint8 [H, W]; unit: pixels in one unit.
    """
    depth = cv2.distanceTransform((alpha > 127).astype(np.uint8), cv2.DIST_L2, 5) / unit
    rim = np.clip(depth / 0.4, 0, 1)
    height = 0.32 * cv2.GaussianBlur(np.sqrt(rim * (2 - rim)), (0, 0), 0.06 * unit)
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=unit / 8)
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=unit / 8)
    light = (1 + 0.25 * slope_x + 0.6 * slope_y) / np.sqrt(1 + 0.7 * (slope_x**2 + slope_y**2))
    return np.clip(0.25 + 0.78 * light, 0.5, 1.3)


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
    from_centre = np.hypot(x - (x.min() + u * np.ptp(x)), y - (y.min() + v * np.ptp(y)))
    return 0.5 + 0.5 * np.sin(2 * np.pi * from_centre)


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
        near = (hue + rng.uniform(-0.045, 0.045)) % 1
        full = float(np.clip(rng.uniform(*saturation) - 0.2 * step, 0, 1))
        colours.append(hsv_to_rgb(near, full, float(np.clip(middle + step * contrast, 0.06, 1))))
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
