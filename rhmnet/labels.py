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

import numpy as np

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


def objects_in(strokes: np.ndarray, num_objects: int) -> np.ndarray:
    """bool [O]: the objects that have a stroke in a map as in memory."""
    return np.bincount(strokes.ravel(), minlength=BACKGROUND + 1)[1 : num_objects + 1] > 0
