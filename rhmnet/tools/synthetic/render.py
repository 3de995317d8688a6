"""Compose the frames of a scene: what is seen, and which object each pixel shows."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from rhmnet.tools.synthetic.creatures import SPRITE_EXTENT
from rhmnet.tools.synthetic.scene import Creature, Scene

SUPERSAMPLING = 2
"""Creatures are drawn at twice the frame's size, so that edges are smooth and labels fair."""
SHADOW_REACH = 0.3
"""How far a creature's shadow falls beyond it, units."""
LEAST_VISIBLE = 0.015
"""Share of the frame that every object shows of itself from its first frame on."""


class Frame(NamedTuple):
    """A frame of a scene and what it shows."""

    image: np.ndarray
    """uint8 [H, W, 3], RGB."""
    labels: np.ndarray
    """uint8 [H, W], dense: 0 background, 1..N objects."""


def render(scene: Scene, index: int) -> Frame:
    """Compose one frame of a scene."""
    time = index / max(scene.length - 1, 1)
    height, width = scene.shape
    camera = _camera(scene, time)
    rows, columns = scene.background.shape[:2]
    centred = np.array([[1, 0, (width - columns) / 2], [0, 1, (height - rows) / 2], [0, 0, 1]])
    canvas = cv2.warpAffine(
        scene.background,
        (camera @ centred)[:2],
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    ).astype(np.float32)
    shares = np.zeros((len(scene.creatures) + 1, height, width), np.float32)
    shares[0] = 1
    for number, creature in scene.creatures:
        if index >= creature.appears:
            _paint(canvas, shares, number, creature, camera, time)
    canvas *= np.float32(scene.light[0] + time * (scene.light[1] - scene.light[0]))
    image = np.clip(np.round(canvas), 0, 255).astype(np.uint8)
    return Frame(image, np.argmax(shares, axis=0).astype(np.uint8))


def shows_everything(scene: Scene, frames: list[Frame]) -> bool:
    """Whether every object shows enough of itself on each frame from its first one on."""
    return all(
        (frame.labels == number).mean() >= LEAST_VISIBLE
        for number, creature in scene.creatures
        for frame in frames[creature.appears :]
    )


def _camera(scene: Scene, time: float) -> np.ndarray:
    """float [3, 3], from the scene to the frame, pixels."""
    height, width = scene.shape
    zoom = scene.zoom[0] + time * (scene.zoom[1] - scene.zoom[0])
    roll = np.degrees((time - 0.5) * scene.roll)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), roll, zoom)
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
    size = (int(right - left), int(bottom - top))
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
