"""What happens to the frames of a clip, one preset a training stage (docs/method.md, section 7)."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from rhmnet.config import DataConfig
from rhmnet.data import transforms


class Augmentation(Protocol):
    """How the frames of a clip move, one implementation a training stage."""

    def draw_warps(
        self, rng: np.random.Generator, canvas: tuple[int, int], length: int
    ) -> list[np.ndarray] | None:
        """One matrix a frame, canvas to canvas; None where the draw is degenerate."""

    def draw_rescale(self, rng: np.random.Generator) -> float:
        """The factor by which the whole clip is resized before a crop is tried."""

    @property
    def drift(self) -> int:
        """How far the crop moves from frame to frame, pixels."""


class ImageAugmentation:
    """COCO: a flip, then perspective warps that go on in one direction; one crop for all frames."""

    drift = 0

    def draw_warps(
        self, rng: np.random.Generator, canvas: tuple[int, int], length: int
    ) -> list[np.ndarray] | None:
        """See `Augmentation`."""
        flip = _draw_flip(rng, canvas)
        warps = transforms.draw_perspectives(rng, canvas, length)
        return warps and [warp @ flip for warp in warps]

    def draw_rescale(self, rng: np.random.Generator) -> float:
        """Images keep their size."""
        return 1.0


class VideoAugmentation:
    """Videos: one flip for all frames, an affine map each, one rescale, and a crop that drifts."""

    def __init__(self, config: DataConfig) -> None:
        self.drift = config.crop_drift
        self._translate = config.translate

    def draw_warps(
        self, rng: np.random.Generator, canvas: tuple[int, int], length: int
    ) -> list[np.ndarray]:
        """See `Augmentation`."""
        flip = _draw_flip(rng, canvas)
        return [transforms.draw_affine(rng, canvas, self._translate) @ flip for _ in range(length)]

    def draw_rescale(self, rng: np.random.Generator) -> float:
        """See `Augmentation`."""
        return rng.uniform(*transforms.RESCALE_RANGE)


def _draw_flip(rng: np.random.Generator, canvas: tuple[int, int]) -> np.ndarray:
    flipped = rng.random() < transforms.FLIP_PROBABILITY
    return transforms.flip_matrix(canvas) if flipped else np.eye(3)
