"""A scene: a still seen by a moving camera, and what was cut out of others, in depth order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from rhmnet.tools.clips.motion import Wobble, camera_path, curve, draw_wobble, sprite_path
from rhmnet.tools.clips.stills import Picture
from rhmnet.tools.scribbles.sources.maps import VOID

MARGIN = 3  # pixels of a cut-out around its object, for soft edges
MOST_OF_GROUND = 3  # objects of the ground that count; its smaller ones are nobody's
LEAST_SHARE = 0.012  # of its still, that an object worth cutting out covers
MOST_SHARE = 0.7
TWIN_CHANCE = 0.15  # that one cut-out is there twice, to be told apart
BYSTANDER_CHANCE = 0.2  # that a cut-out is nobody's object but part of the background
BEHIND_CHANCE = 0.3  # that a cut-out passes behind the ground's objects


class CutOut(NamedTuple):
    """An object without its surroundings."""

    pixels: np.ndarray
    """uint8 [h, w, 4], RGB premultiplied by alpha."""


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
class Scene:
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
) -> Scene:
    """Draw a scene of up to three cut-outs of `others`, one from each, over the ground."""
    ground, count = _keep_largest(ground)
    cut_outs = [cut for picture in others if (cut := _draw_cut_out(rng, picture)) is not None]
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
    return Scene(
        ground=ground,
        sprites=tuple(sprites[i] for i in order),
        camera=camera_path(rng, shape, length),
        light=_light(rng, length, 0.12),
        shutter=float(rng.uniform(0.2, 0.6) * (rng.random() < 0.5)),
        softness=float(rng.uniform(0.4, 1.0) * (rng.random() < 0.3)),
        grain=float(rng.uniform(1, 5) * (rng.random() < 0.4)),
        num_objects=count,
    )


def _keep_largest(picture: Picture) -> tuple[Picture, int]:
    """The picture with its largest objects numbered from 1 on, the rest nobody's; their number."""
    counts = np.bincount(picture.labels.ravel(), minlength=256)
    counts[0] = counts[VOID] = 0
    kept = [int(v) for v in np.argsort(-counts, kind="stable")[:MOST_OF_GROUND] if counts[v]]
    table = np.full(256, VOID, np.uint8)
    table[0] = 0
    table[kept] = np.arange(1, len(kept) + 1)
    return Picture(picture.image, cv2.LUT(picture.labels, table)), len(kept)


def _draw_cut_out(rng: np.random.Generator, picture: Picture) -> CutOut | None:
    """One of the picture's objects that is neither tiny nor all there is; None without any.

    Those that the border cuts off by much come last: moved elsewhere, they would show a straight
    edge.
    """
    counts = np.bincount(picture.labels.ravel(), minlength=256)
    shares = counts / picture.labels.size
    values = [v for v in range(1, VOID) if LEAST_SHARE <= shares[v] <= MOST_SHARE]
    if not values:
        return None
    tries = rng.permutation(values)
    border = np.concatenate([picture.labels[[0, -1]].ravel(), picture.labels[:, [0, -1]].ravel()])
    on_border = np.bincount(border, minlength=256)
    whole = [v for v in tries if on_border[v] < 0.6 * np.sqrt(counts[v])]
    return _cut_out(picture, int(whole[0] if whole else tries[0]))


def _cut_out(picture: Picture, value: int) -> CutOut:
    """Cut along the outline, a little inside it, with an edge as soft as a lens draws it."""
    mask = (picture.labels == value).astype(np.uint8)
    x, y, width, height = cv2.boundingRect(mask)
    window = np.s_[y : y + height, x : x + width]
    pad = [(MARGIN, MARGIN), (MARGIN, MARGIN)]
    mask = np.pad(mask[window], pad)
    image = np.pad(picture.image[window], [*pad, (0, 0)], mode="edge").astype(np.float32)
    inner = cv2.erode(mask, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
    if np.count_nonzero(inner) < 0.75 * np.count_nonzero(mask):
        inner = mask  # thin: nothing would be left of it
    sure = inner.astype(np.float32)
    # colours of the inside run on beyond the edge, so that none of the surroundings comes along
    spread = cv2.GaussianBlur(image * sure[..., None], (0, 0), 1.5)
    weight = cv2.GaussianBlur(sure, (0, 0), 1.5)[..., None]
    image = np.where(sure[..., None] > 0, image, spread / np.maximum(weight, 1e-3))
    alpha = cv2.GaussianBlur(sure, (0, 0), 0.8)[..., None]
    pixels = np.dstack([image.clip(0, 255) * alpha, 255 * alpha])
    return CutOut(pixels.round().astype(np.uint8))


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
