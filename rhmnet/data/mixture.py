"""Which frames a clip is made of: COCO's shuffled images, or videos drawn by weight.

A source offers draws without end: the clip is made of the first that is accepted (docs/method.md,
section 7).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from rhmnet.config import DataConfig
from rhmnet.data.augmentation import Augmentation, ImageAugmentation, VideoAugmentation
from rhmnet.data.readers import CocoScribbles, Frame, Video, VideoScribbles
from rhmnet.data.sampler import SampleKey


class Source(Protocol):
    """What a stage draws its clips from."""

    name: str
    augmentation: Augmentation

    @property
    def samples_per_epoch(self) -> int:
        """Clips of one epoch, over all processes."""

    @property
    def whole_round(self) -> int:
        """Draws after which everything there is has been drawn from; 0 where nothing says so."""

    def draws(self, rng: np.random.Generator, key: SampleKey) -> Iterator[list[Frame]]:
        """The T frames of one draw after another, without end."""


class ImageSource:
    """Pre-training: each epoch goes through all images once, in an order of its own.

    A rejected image is followed by one drawn at random. Where an epoch needs a few samples more
    than there are images, the order starts anew.
    """

    def __init__(self, images: CocoScribbles, config: DataConfig, seed: int) -> None:
        self.name = f"COCO ({images.root})"
        self.augmentation = ImageAugmentation()
        self._images, self._length, self._seed = images, config.clip_length, seed
        self._order: tuple[int, np.ndarray] | None = None

    @property
    def samples_per_epoch(self) -> int:
        """The number of images."""
        return len(self._images)

    @property
    def whole_round(self) -> int:
        """0: images are many, and drawn with replacement."""
        return 0

    def draws(self, rng: np.random.Generator, key: SampleKey) -> Iterator[list[Frame]]:
        """See `Source`."""
        order = self._epoch_order(key.epoch)
        index = order[key.index % len(order)]
        while True:
            yield [self._images[int(index)]] * self._length
            index = rng.integers(len(order))

    def _epoch_order(self, epoch: int) -> np.ndarray:
        if self._order is None or self._order[0] != epoch:
            shuffle = np.random.Generator(np.random.PCG64([self._seed, epoch]))
            self._order = epoch, shuffle.permutation(len(self._images))
        return self._order[1]


class VideoSource:
    """Video training: a data set by weight, one of its videos, then frames a few apart.

    trees: the data sets; weights: their relative shares, as many.
    """

    def __init__(
        self, trees: list[VideoScribbles], weights: list[float], config: DataConfig
    ) -> None:
        self.name = " and ".join(f"{tree.name} ({tree.images})" for tree in trees)
        self.augmentation = VideoAugmentation(config)
        self.samples_per_epoch = config.samples_per_epoch
        self._trees, self._config = trees, config
        self._shares = np.cumsum(weights) / np.sum(weights)

    @property
    def whole_round(self) -> int:
        """`frame_draws` draws of every video."""
        return self._config.frame_draws * sum(map(len, self._trees))

    def draws(self, rng: np.random.Generator, key: SampleKey) -> Iterator[list[Frame]]:
        """See `Source`. The gap in frames of the film is the same everywhere: skip // spacing."""
        while True:
            for tree, video in self._round(rng):
                for _ in range(self._config.frame_draws):
                    indices = draw_indices(
                        rng,
                        len(video.images),
                        self._config.clip_length,
                        key.skip // tree.frame_spacing,
                        self._config.temporal_flip,
                    )
                    yield [tree.frame(video, index) for index in indices]

    def _round(self, rng: np.random.Generator) -> Iterator[tuple[VideoScribbles, Video]]:
        """All videos once: one drawn by weight, the rest of its data set, then the other sets.

        Drawn anew each time, few usable videos among many might never be met. What a clip of sound
        data needs is drawn first, and an order of the rest only where the first video fails.
        """
        drawn = np.searchsorted(self._shares, rng.random(), side="right")
        first = self._trees[min(int(drawn), len(self._trees) - 1)]
        chosen = int(rng.integers(len(first)))
        yield first, first.videos[chosen]
        for tree in (first, *(tree for tree in self._trees if tree is not first)):
            for index in rng.permutation(len(tree)):
                if tree is not first or index != chosen:
                    yield tree, tree.videos[index]


def draw_indices(
    rng: np.random.Generator, num_frames: int, length: int, skip: int, temporal_flip: float
) -> list[int]:
    """Indices of a clip's frames: each 1..1 + skip after the one before, or all of it reversed.

    Towards the end of a video a gap is drawn from what leaves room for the frames to come.
    """
    indices = [int(rng.integers(num_frames - length, endpoint=True))]
    for remaining in range(length - 2, -1, -1):
        room = num_frames - 1 - remaining - indices[-1]
        indices.append(indices[-1] + int(rng.integers(1, min(1 + skip, room), endpoint=True)))
    return indices[::-1] if rng.random() < temporal_flip else indices
