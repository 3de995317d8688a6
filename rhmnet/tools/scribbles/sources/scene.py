"""What a hand must know to scribble on an image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Scene(NamedTuple):
    """One image to scribble on."""

    name: str
    """Of the scribble file, without suffix; it also seeds the strokes."""
    labels: np.ndarray
    """uint8 [H, W], 0 background, 1..N objects."""
    num_objects: int
    """N: the background's strokes get N + 1."""
    avoid: np.ndarray
    """bool [H, W], where background strokes must not go: what was annotated but has no label."""
    background: bool = True
    """Whether all objects in view are known, so that the rest can be called background."""
