"""How things move through a clip: smooth curves, a camera, and the poses of what is cut out.

Matrices map (x, y, 1) of a source to a target, pixel centres at whole numbers, as OpenCV does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def curve(rng: np.random.Generator, length: int, reach: float, still: float = 0.0) -> np.ndarray:
    """float [length]: a smooth move between random values in -reach..reach.

    still: probability that it stays at one value. The draws are the same in number either way.
    """
    start, middle, end = rng.uniform(-reach, reach, 3)
    if rng.random() < still:
        middle = end = start
    time = np.linspace(0, 1, length)
    return (1 - time) ** 2 * start + 2 * time * (1 - time) * middle + time**2 * end


def affine(
    centre: tuple[float, float] | np.ndarray,
    target: tuple[float, float] | np.ndarray,
    scale: tuple[float, float],
    angle: float,
    shear: float = 0.0,
) -> np.ndarray:
    """float [3, 3]: scale (x, y), shear and turn by radians about `centre`; it goes to `target`."""
    cos, sin = np.cos(angle), np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, shear], [0, 1]]) @ np.diag(scale)
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = np.asarray(target) - linear @ np.asarray(centre)
    return matrix


def camera_path(rng: np.random.Generator, shape: tuple[int, int], length: int) -> list[np.ndarray]:
    """One matrix a frame, from the still to the frame, both of `shape` (H, W).

    It zooms, pans as far as the still reaches, and rolls; now and then it stands, or shakes.
    """
    middle = (np.array(shape[::-1]) - 1) / 2
    zoom = 1.18 + curve(rng, length, 0.14, still=0.4)
    room = (zoom - 1)[:, None] * middle
    stands = 1.0 if rng.random() < 0.2 else 0.15
    pan = np.stack([curve(rng, length, 1.0, still=stands) for _ in range(2)], axis=1) * room
    roll = curve(rng, length, np.radians(5), still=0.5)
    shake = rng.uniform(0.3, 1.5) if rng.random() < 0.3 else 0.0
    pan += shake * rng.standard_normal((length, 2))
    return [
        affine(middle, middle + shift, (z, z), angle)
        for shift, z, angle in zip(pan, zoom, roll, strict=True)
    ]


@dataclass(frozen=True)
class Wobble:
    """A bend that runs through a thing which is no rigid body; nothing where `depth` is 0."""

    depth: float
    """Pixels of the cut-out."""
    period: tuple[float, float]
    """Along x and y, pixels of the cut-out."""
    phase: tuple[float, float]
    pace: float
    """Cycles in the whole clip."""

    def apply(self, x: np.ndarray, y: np.ndarray, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Where in the cut-out to look for what is seen at (x, y); time from 0 to 1."""
        if not self.depth:
            return x, y
        turn = 2 * np.pi * self.pace * time
        bend = (2 * np.pi / side for side in self.period)
        along, across = bend
        dx = np.sin(np.float32(across) * y + np.float32(self.phase[0] + turn))
        dy = np.sin(np.float32(along) * x + np.float32(self.phase[1] + turn))
        return x + np.float32(self.depth) * dx, y + np.float32(self.depth) * dy


def draw_wobble(rng: np.random.Generator, size: float) -> Wobble:
    """For a cut-out of about `size` pixels; half of all things are rigid."""
    depth = size * rng.uniform(0.02, 0.07) * (rng.random() < 0.5)
    period = rng.uniform(0.7, 1.6, 2) * size
    phase = rng.uniform(0, 2 * np.pi, 2)
    return Wobble(float(depth), tuple(period), tuple(phase), float(rng.uniform(0.3, 1.2)))


def sprite_path(
    rng: np.random.Generator, size: tuple[int, int], shape: tuple[int, int], length: int
) -> list[np.ndarray]:
    """One matrix a frame, from a cut-out of `size` (H, W) to the still of `shape` (H, W).

    Its middle begins in the still and may end beyond its border; some things do not move.
    """
    frame = np.array(shape[::-1], float)
    reach = rng.uniform(0.25, 0.75) * min(shape)  # of its longer side on the way
    base = reach / max(size)
    stays = 1.0 if rng.random() < 0.15 else 0.0
    start, end = rng.uniform(0.12, 0.88, 2), rng.uniform(-0.05, 1.05, 2)
    share = rng.uniform(0.15, 0.8) * (stays == 0.0)
    time = np.linspace(0, 1, length)
    way = share * time[:, None] * (end - start)
    way += np.stack([curve(rng, length, 0.06, still=stays) for _ in range(2)], axis=1)
    middles = (start + way) * frame
    angle = rng.uniform(-0.35, 0.35) + curve(rng, length, 0.45, still=max(stays, 0.3))
    scale = base * np.exp(curve(rng, length, 0.35, still=max(stays, 0.2)))
    squeeze = np.exp(curve(rng, length, 0.12, still=max(stays, 0.4)))
    shear = curve(rng, length, 0.2, still=max(stays, 0.4))
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    centre = (np.array(size[::-1]) - 1) / 2
    return [
        affine(centre, middles[i], (mirror * scale[i] * squeeze[i], scale[i]), angle[i], shear[i])
        for i in range(length)
    ]
