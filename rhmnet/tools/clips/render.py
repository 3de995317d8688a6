"""Compose the frames of a scene: what is seen, and which object each pixel shows."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from rhmnet.tools.clips.scene import Scene, Sprite
from rhmnet.tools.scribbles.sources.maps import VOID

LEAST_VISIBLE = 0.004
"""Share of the frame that every object shows of itself in the first frame, and in most others."""
LEAST_FREE = 0.12
"""Share of every frame that is nobody's object, so that there is room for background strokes."""
LONGEST_BLUR = 15.0  # pixels that motion smears a thing over


class Frame(NamedTuple):
    """A frame of a scene and what it shows."""

    image: np.ndarray
    """uint8 [H, W, 3], RGB."""
    labels: np.ndarray
    """uint8 [H, W]: 0 background, 1..N objects, 255 nobody's."""


def render(scene: Scene, rng: np.random.Generator) -> list[Frame]:
    """All frames of a scene; rng: of the sensor's noise."""
    return [_finish(scene, index, *_compose(scene, index), rng) for index in range(scene.length)]


def shows_everything(scene: Scene, frames: list[Frame]) -> bool:
    """Whether every object can be scribbled on from the first frame on, and the background too."""
    shares = np.stack(
        [np.bincount(frame.labels.ravel(), minlength=256) / frame.labels.size for frame in frames]
    )
    objects = shares[:, 1 : scene.num_objects + 1]
    return bool(
        (shares[:, 0] >= LEAST_FREE).all()
        and (objects[0] >= LEAST_VISIBLE).all()
        and (np.median(objects, axis=0) >= LEAST_VISIBLE).all()
    )


def _compose(scene: Scene, index: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture, float32 [H, W, 3], and the labels, uint8 [H, W]."""
    camera = scene.camera[index]
    height, width = scene.ground.labels.shape
    canvas, labels = (
        cv2.warpAffine(
            source, camera[:2], (width, height), flags=how, borderMode=cv2.BORDER_REFLECT_101
        )
        for source, how in (
            (scene.ground.image, cv2.INTER_LINEAR),
            (scene.ground.labels, cv2.INTER_NEAREST),
        )
    )
    middle = np.array([(width - 1) / 2, (height - 1) / 2, 1])
    canvas = _smear(canvas, scene.shutter * _speed([m @ middle for m in scene.camera], index))
    canvas = canvas.astype(np.float32)
    behind = [sprite for sprite in scene.sprites if sprite.behind]
    if behind:
        ground, own, of_ground = canvas.copy(), labels.copy(), (labels > 0) & (labels < VOID)
        for sprite in behind:
            _paint(canvas, labels, sprite, scene, index)
        front = cv2.GaussianBlur(of_ground.astype(np.float32), (0, 0), 0.7)
        canvas += front[..., None] * (ground - canvas)
        labels[of_ground] = own[of_ground]
    for sprite in scene.sprites:
        if not sprite.behind:
            _paint(canvas, labels, sprite, scene, index)
    return canvas, labels


def _paint(
    canvas: np.ndarray, labels: np.ndarray, sprite: Sprite, scene: Scene, index: int
) -> None:
    """Compose a sprite over the canvas, and its number over the labels, in place."""
    height, width = labels.shape
    rows, columns = sprite.cut_out.pixels.shape[:2]
    path = [camera @ pose for camera, pose in zip(scene.camera, sprite.path, strict=True)]
    matrix = path[index]
    middle = np.array([(columns - 1) / 2, (rows - 1) / 2, 1])
    smear = scene.shutter * _speed([m @ middle for m in path], index)
    corners = np.array([[0, 0, 1], [columns, 0, 1], [0, rows, 1], [columns, rows, 1]], float)
    outline = (matrix @ corners.T)[:2].T
    size = np.sqrt(abs(np.linalg.det(matrix[:2, :2])))
    room = 2 + 1.5 * sprite.wobble.depth * size + np.abs(smear).max()
    room += 0.15 * size * rows * (sprite.shadow > 0)
    left, top = np.floor(np.maximum(outline.min(axis=0) - room, 0)).astype(int)
    right, bottom = np.ceil(np.minimum(outline.max(axis=0) + room, (width, height))).astype(int)
    if left >= right or top >= bottom:
        return
    inverse = np.linalg.inv(matrix).astype(np.float32)
    x, y = np.meshgrid(
        np.arange(left, right, dtype=np.float32), np.arange(top, bottom, dtype=np.float32)
    )
    u = inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2]
    v = inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2]
    u, v = sprite.wobble.apply(u, v, index / max(scene.length - 1, 1))
    layer = cv2.remap(sprite.cut_out.pixels, u, v, cv2.INTER_LINEAR, borderValue=(0, 0, 0, 0))
    layer = _smear(layer, smear).astype(np.float32)
    alpha = layer[..., 3:] * np.float32(1 / 255)
    window = np.s_[top:bottom, left:right]
    if sprite.shadow:
        drop = np.float32([[1, 0, 0.03 * size * rows], [0, 1, 0.06 * size * rows]])
        cast = cv2.warpAffine(alpha, drop, (alpha.shape[1], alpha.shape[0]))
        cast = cv2.GaussianBlur(cast, (0, 0), max(0.04 * size * rows, 0.5))
        canvas[window] *= 1 - np.float32(sprite.shadow) * cast[..., None]
    canvas[window] *= 1 - alpha
    canvas[window] += layer[..., :3] * sprite.gain[index].astype(np.float32)
    labels[window][alpha[..., 0] > 0.5] = sprite.number


def _finish(
    scene: Scene, index: int, canvas: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> Frame:
    """What the camera's light, lens and sensor make of it."""
    canvas = canvas * scene.light[index].astype(np.float32)
    if scene.softness:
        canvas = cv2.GaussianBlur(canvas, (0, 0), scene.softness)
    if scene.grain:
        canvas += np.float32(scene.grain) * rng.standard_normal(canvas.shape, dtype=np.float32)
    return Frame(np.clip(np.round(canvas), 0, 255).astype(np.uint8), labels)


def _speed(points: list[np.ndarray], index: int) -> np.ndarray:
    """float [2]: pixels a frame at which a point moves, of its places in all frames."""
    before, after = max(index - 1, 0), min(index + 1, len(points) - 1)
    return (points[after] - points[before])[:2] / max(after - before, 1)


def _smear(picture: np.ndarray, way: np.ndarray) -> np.ndarray:
    """Blur along a way (x, y) in pixels; shorter than one does nothing."""
    length = float(np.hypot(*way))
    if length < 1:
        return picture
    way = way * min(1.0, LONGEST_BLUR / length)
    side = 2 * int(np.ceil(np.abs(way).max() / 2)) + 1
    kernel = np.zeros((side, side), np.float32)
    ends = [tuple(int(v) for v in np.round(16 * (side // 2 + s * way / 2))) for s in (-1, 1)]
    cv2.line(kernel, *ends, 1.0, 1, cv2.LINE_AA, 4)
    return cv2.filter2D(picture, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)
