"""Scenes of a textured ground, a moving camera, and creatures in depth order; their frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from rhmnet.tools.synthetic.creatures import (
    BODIES,
    PATTERNS,
    SPRITE_EXTENT,
    Body,
    Pattern,
    fractal_noise,
    palette,
    relief,
    render_sprite,
    render_texture,
)

SUPERSAMPLING = 2
"""Creatures are drawn at twice the frame's size, so that edges are smooth and labels fair."""
SHADOW_REACH = 0.3
"""How far a creature's shadow falls beyond it, units."""
SPRITE_DETAIL = 1.5
"""Pixels of a sprite per pixel of a frame."""


@dataclass(frozen=True)
class Course:
    """A slow move from one point to another with a sway; points and sway in frame sizes."""

    start: np.ndarray
    end: np.ndarray
    sway: float
    phase: float

    def at(self, time: float) -> np.ndarray:
        """float [2], x and y; time from 0 at the first frame to 1 at the last."""
        turn = 2 * np.pi * time + self.phase
        sway = self.sway * np.array([np.sin(turn), np.cos(1.3 * turn)])
        return self.start + _ease(time) * (self.end - self.start) + sway


@dataclass(frozen=True)
class Creature:
    """One object of a scene."""

    kind: str
    body: Body
    sprites: tuple[np.ndarray, ...]
    """One a part: uint8 [S, S, 4], RGB premultiplied by alpha."""
    size: float
    """Pixels of a frame in one unit."""
    path: Course
    heading: float
    """Angle of its x axis, radians, at time 0."""
    turn: float
    """By how much the heading sways, radians."""
    mirrored: bool
    """Faces left."""
    pace: float
    """Cycles of its limbs in the whole scene."""
    appears: int
    """First frame in which it is there."""


@dataclass(frozen=True)
class CreatureScene:
    """Everything that `render` needs; creatures from the furthest to the nearest."""

    shape: tuple[int, int]
    """H, W of a frame."""
    length: int
    """Frames."""
    background: np.ndarray
    """uint8 [H', W', 3], larger than a frame."""
    creatures: tuple[tuple[int, Creature], ...]
    """(object number, creature)."""
    pan: Course
    roll: float
    """Turn of the camera over the scene, radians."""
    zoom: tuple[float, float]
    """At the first and the last frame."""
    light: tuple[float, float]
    """Brightness at the first and the last frame."""


def sample_scene(
    rng: np.random.Generator,
    split: str,
    shape: tuple[int, int],
    length: int,
    count: int,
    late: bool = False,
) -> CreatureScene:
    """Draw a scene.

    split: "train" or "valid", which choose disjoint creatures and patterns; shape: (H, W) of a
    frame; length: frames; count: objects, 1 to 3; late: the last of several comes in later.
    """
    patterns = [PATTERNS[split][name] for name in rng.permutation(sorted(PATTERNS[split]))]
    # Hues are spread over the circle so that no two things of a scene share one.
    hues = rng.random() + (np.arange(count + 1) + rng.uniform(-0.15, 0.15, count + 1)) / (count + 1)
    kinds = rng.permutation(sorted(BODIES[split]))
    starts, ends = _spread_points(rng, count), _spread_points(rng, count)
    creatures = []
    for index in range(count):
        appears = int(length * rng.uniform(0.3, 0.5)) if late and index == count - 1 else 0
        path = _creature_path(rng, starts[index], ends[index], appears, length)
        body = BODIES[split][kinds[index]](rng)
        share = rng.uniform(0.06, 0.19 - 0.03 * count)
        sprites, size = _sprites(rng, body, patterns[1 + index], hues[1 + index], share, shape)
        creatures.append(
            Creature(
                kind=str(kinds[index]),
                body=body,
                sprites=sprites,
                size=size,
                path=path,
                heading=rng.uniform(-0.4, 0.4),
                turn=rng.uniform(0.05, 0.3),
                mirrored=bool(path.end[0] < path.start[0]),
                pace=rng.uniform(1.0, 2.0),
                appears=appears,
            )
        )
    order = rng.permutation(count)
    drift = rng.uniform(-0.06, 0.06, 2)
    return CreatureScene(
        shape=shape,
        length=length,
        background=_background(rng, patterns[0], hues, shape),
        creatures=tuple((int(index) + 1, creatures[index]) for index in order),
        pan=Course(-drift, drift, rng.uniform(0, 0.015), rng.uniform(0, 2 * np.pi)),
        roll=rng.uniform(-0.12, 0.12),
        zoom=(rng.uniform(0.94, 1.06), rng.uniform(0.94, 1.06)),
        light=(rng.uniform(0.9, 1.08), rng.uniform(0.9, 1.08)),
    )


def _ease(time: float) -> float:
    """Progress at this time of a move that starts and ends at rest, all from 0 to 1."""
    return time * time * (3 - 2 * time)


def _spread_points(rng: np.random.Generator, count: int) -> np.ndarray:
    """float [count, 2]: points of the frame, x and y, that share neither column nor row."""
    slots = (np.arange(count) + 0.5) / count - 0.5
    columns = 0.5 + 0.76 * rng.permutation(slots)
    rows = 0.5 + 0.55 * rng.permutation(slots) + rng.uniform(-0.09, 0.09, count)
    return np.stack([columns, rows], axis=1)


def _creature_path(
    rng: np.random.Generator, start: np.ndarray, end: np.ndarray, appears: int, length: int
) -> Course:
    """Part of the way from start to end; a late creature comes in over the nearer side instead."""
    end = start + rng.uniform(0.45, 0.75) * (end - start)
    if appears:
        border = np.array([0.02 if end[0] < 0.5 else 0.98, end[1]])
        start = end + (border - end) / (1 - _ease(appears / (length - 1)))
    return Course(start, end, rng.uniform(0.01, 0.03), rng.uniform(0, 2 * np.pi))


def _sprites(
    rng: np.random.Generator,
    body: Body,
    pattern: Pattern,
    hue: float,
    share: float,
    shape: tuple[int, int],
) -> tuple[tuple[np.ndarray, ...], float]:
    """Sprites of a body's parts and the size at which the body covers `share` of the frame."""
    outlines = np.zeros((256, 256), np.uint8)
    for part in body.parts:
        points = (part.outline + SPRITE_EXTENT) * 128 / SPRITE_EXTENT
        cv2.fillPoly(outlines, [points.round().astype(np.int32)], 1)
    area = outlines.mean() * (2 * SPRITE_EXTENT) ** 2
    size = float(np.sqrt(share * shape[0] * shape[1] / area))
    side = int(np.ceil(2 * SPRITE_EXTENT * size * SPRITE_DETAIL))
    textures = []
    for shift in (0.0, rng.uniform(-0.1, 0.1)):  # the accent's hue is a neighbour
        colours = palette(rng, hue + shift, (0.4, 0.9), (0.5, 0.8), rng.uniform(0.35, 0.65))
        period = rng.uniform(0.35, 0.65) * size * SPRITE_DETAIL
        warp = rng.uniform(0.2, 0.8)
        textures.append(render_texture(rng, pattern, colours, (side, side), period, warp))
    sprites = tuple(render_sprite(part, textures[part.accent]) for part in body.parts)
    return sprites, size


def _background(
    rng: np.random.Generator, pattern: Pattern, hues: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """uint8 [H', W', 3]: a large, pale pattern, patches of another tint, pebbles and grain.

    hues: the ground's own, then the creatures'.
    """
    height, width = (round(1.3 * side) for side in shape)
    colours = palette(rng, hues[0], (0.15, 0.55), (0.45, 0.75), rng.uniform(0.2, 0.45))
    period = rng.uniform(0.2, 0.4) * shape[0]
    ground = render_texture(rng, pattern, colours, (height, width), period, rng.uniform(0.5, 1.5))
    tint = palette(rng, hues[0] + rng.uniform(-0.15, 0.15), (0.1, 0.5), (0.4, 0.8), 0.3)
    patches = fractal_noise(rng, height, width, 0.5 * shape[0])
    share = np.clip(3 * (patches - 0.45), 0, 0.8)[..., None]
    ground += share * (tint[1] - ground)
    _scatter_pebbles(rng, ground, hues, shape[0])
    slope = np.linspace(rng.uniform(0.8, 1.1), rng.uniform(0.8, 1.1), height, dtype=np.float32)
    grain = 0.92 + 0.16 * fractal_noise(rng, height, width, 0.02 * shape[0])
    ground *= slope[:, None, None] * grain[..., None]
    return np.clip(255 * ground, 0, 255).round().astype(np.uint8)


def _scatter_pebbles(
    rng: np.random.Generator, ground: np.ndarray, hues: np.ndarray, unit: int
) -> None:
    """Lay pebbles of the scene's hues, but duller, on the ground, in place.

    ground: float32 [H, W, 3] in [0, 1]; unit: height of a frame, pixels.
    """
    height, width = ground.shape[:2]
    alpha = np.zeros((height, width), np.uint8)
    colours = np.zeros_like(ground)
    for _ in range(rng.integers(6, 22)):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        radius = unit * rng.uniform(0.015, 0.07)
        axes = (round(radius), round(radius * rng.uniform(0.6, 0.9)))
        angle = rng.uniform(0, 180)
        colour = palette(rng, rng.choice(hues), (0.1, 0.6), (0.35, 0.75), 0.2)[1].tolist()
        cv2.ellipse(alpha, centre, axes, angle, 0, 360, 255, -1, cv2.LINE_AA)
        # Wider than the pebble, so that its soft edge takes no black in.
        cv2.ellipse(colours, centre, (axes[0] + 2, axes[1] + 2), angle, 0, 360, colour, -1)
    share = alpha[..., None] / np.float32(255)
    shadow = cv2.GaussianBlur(alpha, (0, 0), 0.015 * unit)[..., None] / np.float32(255)
    ground *= 1 - 0.4 * shadow
    ground += share * (colours * relief(alpha, 0.2 * unit)[..., None] - ground)


class DrawnFrame(NamedTuple):
    """A frame of a scene and what it shows."""

    image: np.ndarray
    """uint8 [H, W, 3], RGB."""
    labels: np.ndarray
    """uint8 [H, W], dense: 0 background, 1..N objects."""


def render(scene: CreatureScene, index: int) -> DrawnFrame:
    """Compose one frame of a scene."""
    time = index / max(scene.length - 1, 1)
    height, width = scene.shape
    camera = _camera(scene, time)
    rows, columns = scene.background.shape[:2]
    centred = np.array([[1, 0, (width - columns) / 2], [0, 1, (height - rows) / 2], [0, 0, 1]])
    canvas = cv2.warpAffine(
        scene.background, (camera @ centred)[:2], (width, height), borderMode=cv2.BORDER_REFLECT
    ).astype(np.float32)
    shares = np.zeros((len(scene.creatures) + 1, height, width), np.float32)
    shares[0] = 1
    for number, creature in scene.creatures:
        if index >= creature.appears:
            _paint(canvas, shares, number, creature, camera, time)
    canvas *= np.float32(scene.light[0] + time * (scene.light[1] - scene.light[0]))
    labels = np.argmax(shares, axis=0).astype(np.uint8)
    return DrawnFrame(np.clip(np.round(canvas), 0, 255).astype(np.uint8), labels)


def _camera(scene: CreatureScene, time: float) -> np.ndarray:
    """float [3, 3], from the scene to the frame, pixels."""
    height, width = scene.shape
    zoom = scene.zoom[0] + time * (scene.zoom[1] - scene.zoom[0])
    turn = np.degrees((time - 0.5) * scene.roll)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, zoom)
    matrix[:, 2] += scene.pan.at(time) * (width, height)
    return np.vstack([matrix, (0, 0, 1)])


def _paint(
    canvas: np.ndarray,
    shares: np.ndarray,
    number: int,
    creature: Creature,
    camera: np.ndarray,
    time: float,
) -> None:
    """Compose a creature and its shadow over the canvas, in place.

    canvas: float32 [H, W, 3]; shares: float32 [N + 1, H, W], what each object (0 the ground)
    contributes to each pixel; camera: float [3, 3].
    """
    height, width = canvas.shape[:2]
    middle = camera @ np.append(creature.path.at(time) * (width, height), 1)
    pixels = float(creature.size * np.sqrt(np.linalg.det(camera[:2, :2])))
    reach = (creature.body.reach + SHADOW_REACH) * pixels
    left, top = np.floor(np.maximum(middle[:2] - reach, 0)).astype(int)
    right, bottom = np.ceil(np.minimum(middle[:2] + reach, (width, height))).astype(int)
    if left >= right or top >= bottom:
        return
    window = (slice(top, bottom), slice(left, right))
    size = int(right - left), int(bottom - top)
    fine = (np.arange(SUPERSAMPLING * max(size), dtype=np.float32) + 0.5) / SUPERSAMPLING
    x = (fine[: SUPERSAMPLING * size[0]] + np.float32(left - middle[0])) / pixels
    y = (fine[: SUPERSAMPLING * size[1]] + np.float32(top - middle[1])) / pixels
    roll = np.arctan2(camera[1, 0], camera[0, 0])
    layer = _draw_creature(creature, *np.meshgrid(x, y), roll, time)
    layer = cv2.resize(layer, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    alpha = layer[..., 3] / 255
    drop = np.float32([[1, 0, 0.06 * pixels], [0, 1, 0.12 * pixels]])
    shadow = cv2.GaussianBlur(cv2.warpAffine(alpha, drop, size), (0, 0), max(0.1 * pixels, 0.5))
    canvas[window] *= ((1 - 0.35 * shadow) * (1 - alpha))[..., None]
    canvas[window] += layer[..., :3]
    shares[(slice(None), *window)] *= 1 - alpha
    shares[(number, *window)] = alpha


def _draw_creature(
    creature: Creature, x: np.ndarray, y: np.ndarray, roll: float, time: float
) -> np.ndarray:
    """uint8 [h, w, 4], premultiplied: the creature over a window whose pixels lie at (x, y).

    x, y: float32 [h, w], units, from the creature's middle along the frame's axes.
    """
    beat = 2 * np.pi * creature.pace * time
    angle = creature.heading + creature.turn * np.sin(beat / 2) + roll
    if creature.mirrored:
        x, angle = -x, -angle
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    swell = np.float32(1 + creature.body.breath * np.sin(beat + 1))
    along = (cos * x + sin * y) / swell
    across = (cos * y - sin * x) * swell
    tail = np.clip(0.25 + 0.35 * (1 - along), 0, 1)
    across += np.float32(creature.body.bend) * tail * np.sin(2.2 * along + np.float32(beat))
    layer = np.zeros((*x.shape, 4), np.uint8)
    for part, sprite in zip(creature.body.parts, creature.sprites, strict=True):
        turn = part.swing * np.sin(beat + part.phase)
        cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        dx, dy = along - np.float32(part.joint[0]), across - np.float32(part.joint[1])
        u = cos * dx + sin * dy + np.float32(part.joint[0])
        v = cos * dy - sin * dx + np.float32(part.joint[1])
        per_unit = np.float32(sprite.shape[0] / (2 * SPRITE_EXTENT))
        u, v = (w * per_unit + (np.float32(SPRITE_EXTENT) * per_unit - 0.5) for w in (u, v))
        drawn = cv2.remap(sprite, u, v, cv2.INTER_LINEAR, borderValue=(0, 0, 0, 0))
        shining_through = cv2.merge([255 - drawn[..., 3]] * 4)
        layer = cv2.add(cv2.multiply(layer, shining_through, scale=1 / 255), drawn)
    return layer
