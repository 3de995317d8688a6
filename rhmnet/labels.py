"""Label values: on disk, in memory, and as channels (docs/method.md, section 0).

| | unlabelled | objects | background |
|---|---|---|---|
| on disk, a frame with N objects | 0 | 1..N | N + 1 |
| label map in memory (uint8) | 0 | 1..O | 255 |
| the K channels of the release | 0 | 1..10 | 11 |

The release cannot do more than 10 objects; here K = max(12, O + 2), background last.
In memory the network's probabilities keep O + 1 channels, objects first and background last: the
unlabelled and unused channels all hold the same tiny value, so they never need to exist.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

UNLABELLED = 0
BACKGROUND = 255
RELEASE_CHANNELS = 12
MAX_OBJECTS = 253
"""Label values are bytes: 0 and 255 are taken, and N + 1 must stay below 255 on disk."""
LEAST_RATIO = 0.15
"""Share of a cell of the network under a stroke, below which it carries no label."""


@functools.cache
def davis_palette() -> np.ndarray:
    """uint8 [256, 3]: the colours of DAVIS (and Pascal VOC) masks.

    A label's lowest three bits become the highest bit of red, green and blue, and so on.
    """
    labels = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            value = (labels >> (3 * bit + channel)) & 1
            palette[:, channel] |= (value << (7 - bit)).astype(np.uint8)
    palette.setflags(write=False)
    return palette


def num_channels(num_objects: int) -> int:
    """K, the number of label channels: the release's 12, grown for more than 10 objects."""
    return max(RELEASE_CHANNELS, num_objects + 2)


def from_disk(scribble: np.ndarray, num_objects: int) -> np.ndarray:
    """Map a scribble as on disk to memory: N + 1 and 255 both become background (255).

    scribble: uint8 [H, W], 0 unlabelled, 1..N objects, N + 1 or 255 background.
    Raises ValueError for a label above N + 1.
    """
    out_of_range = (scribble > num_objects + 1) & (scribble != BACKGROUND)
    if out_of_range.any():
        value = int(scribble[out_of_range].max())
        raise ValueError(
            f"label {value} is out of range: expected 0, 1..{num_objects} for objects, "
            f"{num_objects + 1} or 255 for background"
        )
    return np.where(scribble == num_objects + 1, np.uint8(BACKGROUND), scribble)


def to_disk(scribble: np.ndarray, num_objects: int) -> np.ndarray:
    """Inverse of `from_disk`: background 255 becomes N + 1."""
    return np.where(scribble == BACKGROUND, np.uint8(num_objects + 1), scribble)


def one_hot(labels: Tensor, num_objects: int) -> Tensor:
    """float32 [..., O + 1, H, W] from a uint8 label map [..., H, W]: objects 1..O, background.

    Unlabelled pixels are zero in every channel.
    """
    values = [*range(1, num_objects + 1), BACKGROUND]
    values = torch.tensor(values, dtype=torch.uint8, device=labels.device)
    return (labels.unsqueeze(-3) == values[:, None, None]).float()


def valid_objects(num_objects: Tensor, max_objects: int) -> Tensor:
    """bool [B, O]: True for the objects that a clip has, False for those that pad the batch."""
    return torch.arange(1, max_objects + 1, device=num_objects.device) <= num_objects[:, None]


def relabelled(labels: Tensor, values: dict[int, int]) -> Tensor:
    """A label map uint8 [H, W] with other values; those that are not named become 0."""
    table = torch.zeros(BACKGROUND + 1, dtype=torch.uint8)
    for value, other in values.items():
        table[value] = other
    return table.to(labels.device)[labels.int()]


def strokes_of(labels: Tensor, numbers: Iterable[int]) -> Tensor:
    """The strokes of some objects alone, without background: uint8 [H, W]."""
    return relabelled(labels, {number: number for number in numbers})


def labels_at(prob: Tensor, size: tuple[int, int]) -> Tensor:
    """Labels of the likeliest channel after resizing probabilities, bilinear, to H, W.

    prob: [O + 1, h, w], background last. Returns uint8 [H, W], 0 background; the first channel
    where several are equal. One channel at a time: memory does not grow with the number of objects,
    and torch's argmax over the leading dimension takes as long as a stage of the backbone (CPU).
    """
    best, labels = None, None
    for channel, single in enumerate(prob):
        if single.shape != size:
            single = enlarge(single[None], size)[0]
        label = (channel + 1) % len(prob)
        if best is None:
            best, labels = single, torch.full_like(single, label, dtype=torch.uint8)
            continue
        labels.masked_fill_(single > best, label)
        best = torch.maximum(best, single)
    return labels


def enlarge(prob: Tensor, size: tuple[int, int]) -> Tensor:
    """Probabilities [L, h, w] at the frame's size, bilinear: [L, H, W]."""
    return functional.interpolate(prob[None], size, mode="bilinear", align_corners=False)[0]


class VideoObjects(NamedTuple):
    """The objects of a video, and which rows of its memory they have.

    Row r is that of `numbers[r]`. One row more stands for all objects that have not appeared, where
    there are such: what is known of them is the same.
    """

    count: int
    """N, the largest number."""
    numbers: list[int]
    """Those that have appeared, from the smallest."""
    removed: list[int]
    """Those of them that are tracked no longer."""

    @property
    def absent(self) -> int:
        """How many have not appeared."""
        return self.count - len(self.numbers)

    @property
    def rows(self) -> list[int]:
        """The number of each row; 0 where it stands for the absent."""
        return [*self.numbers, *([0] if self.absent else [])]

    @property
    def live(self) -> list[bool]:
        """Of each row, whether it is tracked."""
        return [number > 0 and number not in self.removed for number in self.rows]

    @property
    def tracked(self) -> set[int]:
        """Those that have appeared and were not removed."""
        return {*self.numbers} - {*self.removed}

    def join(self, new: set[int]) -> VideoObjects:
        """Where some appear, maybe once more."""
        removed = [number for number in self.removed if number not in new]
        return VideoObjects(self.count, sorted({*self.numbers, *new}), removed)

    def rows_before(self, before: VideoObjects) -> list[int]:
        """The row that each row comes from: those that appear, from the one of the absent."""
        rows = {number: row for row, number in enumerate(before.numbers)}
        return [rows.get(number, len(rows)) for number in self.rows]

    def in_rows(self, strokes: Tensor) -> Tensor:
        """Strokes with the numbers of rows, from 1, in place of the objects'."""
        if not self.absent:
            return strokes
        rows = {number: row for row, number in enumerate(self.numbers, 1)}
        return relabelled(strokes, {BACKGROUND: BACKGROUND, **rows})

    @property
    def channels(self) -> list[int] | None:
        """The channel of each of objects 1..N and background; None where they are the same."""
        if not self.absent:
            return None
        rows = {number: row for row, number in enumerate(self.numbers)}
        absent = len(rows)
        return [rows.get(n, absent) for n in range(1, self.count + 1)] + [absent + 1]

    def is_consistent(self) -> bool:
        """Whether its numbers are such, and fit each other."""
        known = {*range(1, min(self.count, MAX_OBJECTS) + 1)}
        return (
            type(self.count) is int
            and bool(self.numbers)
            and self.numbers == sorted({*self.numbers} & known)
            and isinstance(self.removed, list)
            and {*self.removed} <= {*self.numbers}
        )
