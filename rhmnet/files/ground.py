"""What strokes were painted on: a transparent layer, a canvas of one colour, or the frame."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

FAINT = 24
"""A distance from the ground, of 441: nearer is hardly a stroke."""
_CANVAS_NOISE = 8  # distance up to which a pixel of a lossless file is still ground
_BARE_SHARE = 0.65  # of a frame that is painted over, at least
_ANOTHER_FRAME = 12  # distance, beyond which it is another frame; JPEG's and WebP's noise is half


class Ground(NamedTuple):
    """What strokes lie on."""

    kind: str
    """`layer`, `canvas` or `frame`."""
    pixels: np.ndarray | None
    """uint8 [H, W, 3] or [3]; None for a layer."""
    noise: float
    """Distance from the ground up to which a pixel may be bare ground."""
    lossy: bool
    """Whether colours come with the noise of compression."""


class NotClear(Exception):
    """These colours cannot be told apart; the message says why."""


def find_ground(picture: np.ndarray, frame: np.ndarray | None, lossy: bool) -> Ground:
    """The ground of an opaque picture: whichever explains most of its pixels.

    picture: uint8 [H, W, 3]; frame: the same size, or None where it is not known. lossy: whether
    the picture's file is of a kind that compresses with losses.
    Raises NotClear where neither a canvas in black or white nor the frame explains half of them.
    """
    best, explained = None, 0.0
    for colour in (0, 255):
        near = distance(picture, np.full(3, colour, np.uint8)) <= FAINT
        if near.mean() > explained:
            explained = float(near.mean())
            noise = 2.0 * FAINT if lossy else float(_CANVAS_NOISE)
            best = Ground("canvas", np.full(3, colour, np.uint8), noise, lossy)
    if frame is not None and frame.shape == picture.shape:
        bare = _as_shown(frame, picture)
        off = distance(picture, bare)
        rough = lossy or bool((off > 0).mean() > 0.5)
        noise = float(np.clip(6 * np.median(off) + FAINT, FAINT, 48)) if rough else _CANVAS_NOISE
        bare_share = (off <= noise).mean()
        if bare_share >= explained and np.quantile(off, _BARE_SHARE) <= _ANOTHER_FRAME:
            explained, best = 1.0, Ground("frame", bare, noise, lossy)
    if best is None or explained < 0.5:
        raise NotClear(
            "most of it is neither black, white nor transparent"
            + ("" if frame is None else ", nor as its frame is")
        )
    return best


def distance(picture: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """float32 [H, W]: Euclidean, of 441."""
    off = picture.astype(np.float32)
    off -= ground
    return np.sqrt(np.einsum("hwc,hwc->hw", off, off))


def _as_shown(frame: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """The frame in the picture's colours: another player or colour profile shifts them all.

    Both uint8 [H, W, 3]; the shift is affine, and the paint, a smaller part, is left out of it.
    """
    seen = picture.reshape(-1, 3)[:: max(1, frame[..., 0].size // 20000)].astype(np.float64)
    bare = frame.reshape(-1, 3)[:: max(1, frame[..., 0].size // 20000)].astype(np.float64)
    if np.median(np.abs(seen - bare).max(axis=1)) <= 2:
        return frame
    bare = np.column_stack([bare, np.ones(len(bare))])
    fits = np.ones(len(bare), bool)
    for _ in range(5):
        shift = np.linalg.lstsq(bare[fits], seen[fits], rcond=None)[0]
        off = np.linalg.norm(bare @ shift - seen, axis=1)
        fits = off <= np.quantile(off, 0.7)
    if np.abs(shift[:3] - np.eye(3)).max() > 0.5:
        return frame  # another picture
    return (frame @ shift[:3] + shift[3]).clip(0, 255).round().astype(np.uint8)
