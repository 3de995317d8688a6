"""A scene: a textured background, a moving camera, and one to three creatures in depth order."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from rhmnet.data.synthetic.creatures import BODIES, REACH, SPRITE_EXTENT, Body, render_sprite
from rhmnet.data.synthetic.texture import PATTERNS, fractal_noise, palette, render_texture

SUPERSAMPLING = 2
"""Scenes are composed at twice the frame's size, so that edges are smooth and labels fair."""
LEAST_VISIBLE = 0.015
"""Share of the frame that an object shows where it first appears."""


class Frame(NamedTuple):
    """A frame of a scene and what it shows."""

    image: np.ndarray
    """uint8 [H, W, 3], RGB."""
    labels: np.ndarray
    """uint8 [H, W], dense: 0 background, 1..N objects."""


@dataclass(frozen=True)
class Path:
    """A slow move from one point to another with a sway; points and sway in frame sizes."""

    start: np.ndarray
    end: np.ndarray
    sway: float
    phase: float

    def at(self, time: float) -> np.ndarray:
        """float [2], x and y; time from 0 at the first frame to 1 at the last."""
        eased = time * time * (3 - 2 * time)
        turn = 2 * np.pi * time + self.phase
        sway = self.sway * np.array([np.sin(turn), np.cos(1.3 * turn)])
        return self.start + eased * (self.end - self.start) + sway


@dataclass(frozen=True)
class Creature:
    """One object of a scene."""

    kind: str
    body: Body
    sprites: tuple[np.ndarray, ...]
    """One a part: uint8 [S, S, 4], RGB premultiplied by alpha."""
    size: float
    """Pixels of the composed frame in one unit."""
    path: Path
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
class Scene:
    """Everything that `render` needs; creatures from the furthest to the nearest."""

    shape: tuple[int, int]
    """H, W of a frame."""
    length: int
    """Frames."""
    background: np.ndarray
    """uint8 [H', W', 3], larger than a composed frame."""
    creatures: tuple[tuple[int, Creature], ...]
    """(object number, creature)."""
    pan: Path
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
    late: bool = False,
) -> Scene:
    """Draw a scene.

    split: "train" or "valid", which choose disjoint creatures and patterns; shape: (H, W) of a
    frame; length: frames; late: its last object comes in later (such a scene has two at least).
    """
    count = int(rng.integers(2, 4)) if late else int(rng.choice([1, 2, 3], p=[0.2, 0.45, 0.35]))
    patterns = [PATTERNS[split][name] for name in rng.permutation(sorted(PATTERNS[split]))]
    # Hues are spread over the circle so that no two things of a scene share one.
    hues = rng.random() + (np.arange(count + 1) + rng.uniform(-0.15, 0.15, count + 1)) / (count + 1)
    composed = (shape[0] * SUPERSAMPLING, shape[1] * SUPERSAMPLING)
    kinds = rng.permutation(sorted(BODIES[split]))
    slots = (np.arange(count) + 0.5) / count
    starts, ends = rng.permutation(slots), rng.permutation(slots)
    creatures = []
    for index in range(count):
        appears = int(length * rng.uniform(0.3, 0.5)) if late and index == count - 1 else 0
        path = _creature_path(rng, starts[index], ends[index], appears, length)
        body = BODIES[split][kinds[index]](rng)
        share = rng.uniform(0.06, 0.17 - 0.03 * count)
        pattern = patterns[1 + index]
        sprites, size = _sprites(rng, body, pattern, hues[1 + index], share, composed)
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
    return Scene(
        shape=shape,
        length=length,
        background=_background(rng, patterns[0], hues[0], composed),
        creatures=tuple((int(index) + 1, creatures[index]) for index in order),
        pan=Path(-drift, drift, rng.uniform(0, 0.015), rng.uniform(0, 2 * np.pi)),
        roll=rng.uniform(-0.12, 0.12),
        zoom=(rng.uniform(0.94, 1.06), rng.uniform(0.94, 1.06)),
        light=(rng.uniform(0.9, 1.08), rng.uniform(0.9, 1.08)),
    )


def render(scene: Scene, index: int) -> Frame:
    """Compose one frame of a scene."""
    time = index / max(scene.length - 1, 1)
    height, width = (side * SUPERSAMPLING for side in scene.shape)
    camera = _camera(scene, time, width, height)
    rows, columns = scene.background.shape[:2]
    centred = np.array([[1, 0, (width - columns) / 2], [0, 1, (height - rows) / 2], [0, 0, 1]])
    canvas = cv2.warpAffine(
        scene.background,
        (camera @ centred)[:2],
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    ).astype(np.float32)
    coverage = np.zeros((len(scene.creatures) + 1, height, width), np.float32)
    coverage[0] = 1
    for number, creature in scene.creatures:
        if index >= creature.appears:
            _paint(canvas, coverage, number, creature, camera, time)
    gain = scene.light[0] + time * (scene.light[1] - scene.light[0])
    small = (scene.shape[1], scene.shape[0])
    image = cv2.resize(canvas, small, interpolation=cv2.INTER_AREA) * np.float32(gain)
    shares = [cv2.resize(layer, small, interpolation=cv2.INTER_AREA) for layer in coverage]
    labels = np.argmax(shares, axis=0).astype(np.uint8)
    return Frame(np.clip(np.round(image), 0, 255).astype(np.uint8), labels)


def shows_everything(scene: Scene) -> bool:
    """Whether every object shows enough of itself on the frame where it first appears."""
    for appears, group in itertools.groupby(
        sorted(scene.creatures, key=lambda item: item[1].appears), lambda item: item[1].appears
    ):
        labels = render(scene, appears).labels
        if any((labels == number).mean() < LEAST_VISIBLE for number, _ in group):
            return False
    return True


def _creature_path(
    rng: np.random.Generator, start: float, end: float, appears: int, length: int
) -> Path:
    """From one column of the frame towards another; a late one comes in over the nearer border."""
    first = np.array([0.12 + 0.76 * start, rng.uniform(0.3, 0.7)])
    last = np.array([0.12 + 0.76 * end, rng.uniform(0.3, 0.7)])
    last = first + rng.uniform(0.45, 0.75) * (last - first)
    if appears:
        border = 0.02 if last[0] < 0.5 else 0.98
        entry = appears / (length - 1)
        eased = entry * entry * (3 - 2 * entry)
        first = last + (np.array([border, last[1]]) - last) / (1 - eased)
    return Path(first, last, rng.uniform(0.01, 0.03), rng.uniform(0, 2 * np.pi))


def _sprites(rng, body, pattern, hue, share, composed) -> tuple[tuple[np.ndarray, ...], float]:
    """Sprites of a body's parts and the size at which it covers `share` of the frame."""
    outlines = np.zeros((256, 256), np.uint8)
    for part in body.parts:
        points = (part.outline + SPRITE_EXTENT) * 128 / SPRITE_EXTENT
        cv2.fillPoly(outlines, [points.round().astype(np.int32)], 1)
    area = outlines.mean() * (2 * SPRITE_EXTENT) ** 2
    size = float(np.sqrt(share * composed[0] * composed[1] / area))
    side = int(np.ceil(2 * SPRITE_EXTENT * size))
    textures = []
    for _ in range(2):
        colours = palette(rng, hue, (0.6, 0.95), (0.55, 0.8), rng.uniform(0.35, 0.6))
        period = rng.uniform(0.35, 0.6) * size
        warp = rng.uniform(0.2, 0.8)
        textures.append(render_texture(rng, pattern, colours, (side, side), period, warp))
    sprites = tuple(render_sprite(part, textures[part.accent]) for part in body.parts)
    return sprites, size


def _background(rng, pattern, hue, composed) -> np.ndarray:
    """uint8 [H', W', 3]: a large, pale pattern under a gradient, soft blobs and grain."""
    height, width = (round(1.3 * side) for side in composed)
    colours = palette(rng, hue, (0.15, 0.45), (0.45, 0.75), rng.uniform(0.15, 0.35))
    period = rng.uniform(0.2, 0.4) * composed[0]
    texture = render_texture(rng, pattern, colours, (height, width), period, rng.uniform(0.5, 1.5))
    tint = palette(rng, hue + rng.uniform(-0.1, 0.1), (0.1, 0.4), (0.4, 0.8), 0.3)
    blobs = fractal_noise(rng, height, width, 0.5 * composed[0])
    share = np.clip(3 * (blobs - 0.45), 0, 0.8)[..., None]
    texture += share * (tint[1] - texture)
    slope = np.linspace(rng.uniform(0.8, 1.1), rng.uniform(0.8, 1.1), height, dtype=np.float32)
    grain = 0.92 + 0.16 * fractal_noise(rng, height, width, 0.02 * composed[0])
    texture *= slope[:, None, None] * grain[..., None]
    return np.clip(255 * texture, 0, 255).round().astype(np.uint8)


def _camera(scene: Scene, time: float, width: int, height: int) -> np.ndarray:
    """float [3, 3], from the scene to the composed frame, pixels."""
    zoom = scene.zoom[0] + time * (scene.zoom[1] - scene.zoom[0])
    roll = np.degrees((time - 0.5) * scene.roll)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), roll, zoom)
    matrix[:, 2] += scene.pan.at(time) * (width, height)
    return np.vstack([matrix, (0, 0, 1)])


def _paint(canvas, coverage, number, creature, camera, time) -> None:
    """Compose a creature and its shadow over the canvas [H, W, 3] and its share into coverage."""
    height, width = canvas.shape[:2]
    middle = camera @ np.append(creature.path.at(time) * (width, height), 1)
    pixels = float(creature.size * np.sqrt(np.linalg.det(camera[:2, :2])))
    reach = REACH * pixels
    left, top = np.floor(np.maximum(middle[:2] - reach, 0)).astype(int)
    right, bottom = np.ceil(np.minimum(middle[:2] + reach, (width, height))).astype(int)
    if left >= right or top >= bottom:
        return
    x = (np.arange(left, right, dtype=np.float32) + 0.5 - np.float32(middle[0])) / pixels
    y = (np.arange(top, bottom, dtype=np.float32) + 0.5 - np.float32(middle[1])) / pixels
    roll = np.arctan2(camera[1, 0], camera[0, 0])
    layer = _draw_creature(creature, *np.meshgrid(x, y), roll, time)
    alpha = layer[..., 3:] / 255
    window = (slice(top, bottom), slice(left, right))
    shift = 0.12 * pixels
    drop = np.float32([[1, 0, 0.5 * shift], [0, 1, shift]])
    shadow = cv2.warpAffine(alpha[..., 0], drop, (right - left, bottom - top))
    shadow = cv2.GaussianBlur(shadow, (0, 0), max(0.1 * pixels, 0.5))
    canvas[window] *= 1 - 0.35 * shadow[..., None]
    canvas[window] *= 1 - alpha
    canvas[window] += layer[..., :3]
    coverage[(slice(None), *window)] *= 1 - alpha[..., 0]
    coverage[(number, *window)] += alpha[..., 0]


def _draw_creature(creature: Creature, x, y, roll: float, time: float) -> np.ndarray:
    """float32 [h, w, 4], premultiplied: the creature over a window whose pixels lie at (x, y).

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
    layer = np.zeros((*x.shape, 4), np.float32)
    for part, sprite in zip(creature.body.parts, creature.sprites, strict=True):
        turn = part.swing * np.sin(beat + part.phase)
        cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        dx, dy = along - np.float32(part.joint[0]), across - np.float32(part.joint[1])
        u = cos * dx + sin * dy + np.float32(part.joint[0])
        v = cos * dy - sin * dx + np.float32(part.joint[1])
        per_unit = np.float32(sprite.shape[0] / (2 * SPRITE_EXTENT))
        u, v = (w * per_unit + (np.float32(SPRITE_EXTENT) * per_unit - 0.5) for w in (u, v))
        drawn = cv2.remap(sprite, u, v, cv2.INTER_LINEAR, borderValue=(0, 0, 0, 0))
        layer *= 1 - drawn[..., 3:].astype(np.float32) / 255
        layer += drawn
    return layer
