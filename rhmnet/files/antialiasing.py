"""Label maps that were anti-aliased, or resized by interpolation: labels in between along edges."""

from __future__ import annotations

import cv2
import numpy as np

SUSPECT, CERTAIN = 0.4, 0.55
"""Shares of strokes' borders; where strokes merely touch, it is a few per cent."""
_PLATEAU_SHARE = 0.25  # of a patch's pixels that have its label, where it was drawn with one


def is_blended(labels: np.ndarray, share: float) -> bool:
    """Whether steps from stroke to nothing pass through labels in between.

    They do where strokes were anti-aliased, or resized by interpolation: hardly any label above
    the lowest then lies directly beside 0. labels: uint8 [H, W]; share: SUSPECT or CERTAIN.
    """
    square = np.ones((3, 3), np.uint8)
    by_nothing = (labels > 0) & (cv2.erode(labels, square) == 0)
    if not by_nothing.any():
        return False
    between = by_nothing & (cv2.dilate(labels, square) > labels)
    direct = by_nothing & ~between & (labels > labels[labels > 0].min())
    fringe = np.count_nonzero(between)
    return fringe > 8 and fringe > share * (fringe + np.count_nonzero(direct))


def join_blends(labels: np.ndarray) -> np.ndarray | None:
    """The map without its blends, where it is clear what they are of: uint8 [H, W]; else None.

    It is clear where every patch of strokes has one label, the largest in it, and much of it; the
    pixels that reach half of that label are the stroke's. Patches of two labels are not clear.
    """
    count, patches = cv2.connectedComponents((labels > 0).astype(np.uint8), connectivity=8)
    flat, values = patches.ravel(), labels.ravel()
    top = np.zeros(count, np.uint8)
    np.maximum.at(top, flat, values)
    top[0] = 0
    sizes = np.bincount(flat, minlength=count)
    reached = np.bincount(flat, values == top[flat], minlength=count)
    if count < 2 or not (reached[1:] >= _PLATEAU_SHARE * sizes[1:]).all():
        return None
    # a label of its own inside a patch, beside nothing: a second stroke that touches
    inner = (values > 0) & (values < top[flat])
    shades = np.bincount(values[inner], minlength=256)
    if (shades > _PLATEAU_SHARE * np.count_nonzero(values)).any():
        return None
    joined = np.where(2 * labels.astype(int) >= top[patches], top[patches], 0)
    return joined.astype(np.uint8)
