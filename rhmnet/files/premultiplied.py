"""Layers whose colours were multiplied by their opacity, as some programs save them."""

from __future__ import annotations

import cv2
import numpy as np

_OPAQUE = 250  # of 255: such a pixel has its stroke's own colour
_HALF = 128  # of 255, below which no pixel is a stroke
_LEAST = 8  # half opaque pixels to judge by


def straightened(rgba: np.ndarray) -> np.ndarray:
    """Colours of a transparent layer as they were painted: uint8 [H, W, 4].

    Where they were multiplied by opacity, the edges of strokes are darker than strokes are, and
    would look like colours of their own. Told by the nearest pixel that is opaque: whether its
    colour, or that times the opacity, is nearer to what half opaque pixels have.
    """
    opacity = rgba[..., 3]
    opaque = opacity >= _OPAQUE
    edge = (opacity >= _HALF) & ~opaque
    if not opaque.any() or np.count_nonzero(edge) < _LEAST:
        return rgba
    _, nearest = cv2.distanceTransformWithLabels(
        (~opaque).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    own = np.zeros((nearest.max() + 1, 3), np.float32)
    own[nearest[opaque]] = rgba[opaque][:, :3]
    shades, painted = rgba[edge][:, :3].astype(np.float32), own[nearest[edge]]
    share = opacity[edge][:, None].astype(np.float32) / 255
    as_it_is = np.abs(shades - painted).sum(axis=1)
    multiplied = np.abs(shades - painted * share).sum(axis=1)
    if np.median(multiplied - as_it_is) >= 0 or multiplied.mean() >= as_it_is.mean():
        return rgba
    result = rgba.copy()
    partly = (opacity > 0) & (opacity < 255)
    colours = rgba[partly][:, :3] * (255 / opacity[partly][:, None].astype(np.float32))
    result[partly, :3] = colours.round().clip(0, 255)
    return result
