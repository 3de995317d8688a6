"""Scenes of a still that a moving camera sees, and of cut-outs that move over it; their frames.

Matrices map (x, y, 1) of a source to a target, pixel centres at whole numbers, as OpenCV does.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from rhmnet.tools.clips.cut_outs import CutOut, Picture, draw_cut_out, keep_largest
from rhmnet.tools.scribbles.masks import VOID

TWIN_CHANCE = 0.15  # that one cut-out is there twice, to be told apart
BYSTANDER_CHANCE = 0.2  # that a cut-out is nobody's object but part of the background
BEHIND_CHANCE = 0.3  # that a cut-out passes behind the ground's objects
LEAST_VISIBLE = 0.004
"""Share of the frame that every object shows of itself in the first frame, and in most others."""
LEAST_FREE = 0.12
"""Share of every frame that is nobody's object, so that there is room for background strokes."""
LONGEST_BLUR = 15.0  # pixels that motion smears a thing over


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


@dataclass(frozen=True)
class Sprite:
    """A cut-out on its way through the scene."""

    number: int
    """Its label; 0 makes it part of the background."""
    cut_out: CutOut
    path: list[np.ndarray]
    """One matrix a frame, cut-out to still."""
    wobble: Wobble
    gain: np.ndarray
    """float [length, 3], of RGB."""
    behind: bool
    """Behind the ground's objects."""
    shadow: float
    """Depth of what it throws on the things behind it, 0 to 1."""


@dataclass(frozen=True)
class ClipScene:
    """All that `render` needs; sprites from the furthest to the nearest."""

    ground: Picture
    """Objects are numbered 1.. from the largest on."""
    sprites: tuple[Sprite, ...]
    camera: list[np.ndarray]
    """One matrix a frame, still to frame."""
    light: np.ndarray
    """float [length, 3], of the whole picture's RGB."""
    shutter: float
    """Share of the time between two frames during which light falls in."""
    softness: float
    """Blur of the lens, pixels."""
    grain: float
    """Noise of the sensor, grey values."""
    num_objects: int

    @property
    def length(self) -> int:
        return len(self.camera)


def sample_scene(
    rng: np.random.Generator, ground: Picture, others: list[Picture], length: int
) -> ClipScene:
    """Draw a scene of up to three cut-outs of `others`, one from each, over the ground."""
    ground, count = keep_largest(ground)
    cut_outs = [cut for picture in others if (cut := draw_cut_out(rng, picture)) is not None]
    wanted = int(rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2]))
    cut_outs = cut_outs[:wanted]
    if cut_outs and rng.random() < TWIN_CHANCE:
        cut_outs.append(cut_outs[0])
    shape = ground.labels.shape
    sprites = []
    for index, cut_out in enumerate(cut_outs):
        first = index == 0
        bystander = rng.random() < BYSTANDER_CHANCE and not first
        count += not bystander
        height, width = cut_out.pixels.shape[:2]
        sprites.append(
            Sprite(
                number=0 if bystander else count,
                cut_out=cut_out,
                path=sprite_path(rng, (height, width), shape, length),
                wobble=draw_wobble(rng, max(height, width)),
                gain=_light(rng, length, 0.15) * _adapted(rng, cut_out, ground),
                behind=bool(rng.random() < BEHIND_CHANCE),
                shadow=float(rng.uniform(0.15, 0.5) * (rng.random() < 0.4)),
            )
        )
    order = rng.permutation(len(sprites))
    return ClipScene(
        ground=ground,
        sprites=tuple(sprites[i] for i in order),
        camera=camera_path(rng, shape, length),
        light=_light(rng, length, 0.12),
        shutter=float(rng.uniform(0.2, 0.6) * (rng.random() < 0.5)),
        softness=float(rng.uniform(0.4, 1.0) * (rng.random() < 0.3)),
        grain=float(rng.uniform(1, 5) * (rng.random() < 0.4)),
        num_objects=count,
    )


def _light(rng: np.random.Generator, length: int, reach: float) -> np.ndarray:
    """float [length, 3]: brightness that changes slowly, with a tint."""
    brightness = np.exp(curve(rng, length, reach, still=0.3))
    tint = np.exp(rng.uniform(-0.05, 0.05, 3))
    return brightness[:, None] * tint


def _adapted(rng: np.random.Generator, cut_out: CutOut, ground: Picture) -> float:
    """A factor that brings the cut-out's brightness a random part of the way to the ground's."""
    alpha = max(float(cut_out.pixels[..., 3].mean()) / 255, 1e-3)
    own = float(cut_out.pixels[..., :3].mean()) / alpha
    wanted = (float(ground.image.mean()) + 8) / (own + 8)
    return float(np.clip(wanted ** rng.uniform(0, 0.6), 0.5, 2.0))


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


def render(scene: ClipScene, rng: np.random.Generator) -> list[Picture]:
    """All frames of a scene; rng: of the sensor's noise."""
    return [_finish(scene, index, *_compose(scene, index), rng) for index in range(scene.length)]


def shows_everything(scene: ClipScene, frames: list[Picture]) -> bool:
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


def _compose(scene: ClipScene, index: int) -> tuple[np.ndarray, np.ndarray]:
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
    canvas: np.ndarray, labels: np.ndarray, sprite: Sprite, scene: ClipScene, index: int
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
    scene: ClipScene, index: int, canvas: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> Picture:
    """What the camera's light, lens and sensor make of it."""
    canvas = canvas * scene.light[index].astype(np.float32)
    if scene.softness:
        canvas = cv2.GaussianBlur(canvas, (0, 0), scene.softness)
    if scene.grain:
        canvas += np.float32(scene.grain) * rng.standard_normal(canvas.shape, dtype=np.float32)
    return Picture(np.clip(np.round(canvas), 0, 255).astype(np.uint8), labels)


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
