"""Masks made small, measured, taken to pieces and to paths along their skeletons."""

from __future__ import annotations

import cv2
import numpy as np
from skimage.graph import MCP_Geometric
from skimage.morphology import skeletonize

MAX_PIECES = 8  # of an object get strokes, the largest: nobody dots every leaf of a tree


def shrink(mask: np.ndarray, side: int, whole: bool = False) -> tuple[np.ndarray, int]:
    """Shrink a mask by the integer that brings its longer side to `side`; also that integer.

    A cell is set where more than half of its pixels are, with `whole` where all are. Thin masks
    would fall apart; those stay at full size.
    """
    factor = -(-max(mask.shape) // side)
    if factor == 1:
        return mask, 1
    height, width = (-(-size // factor) for size in mask.shape)
    padded = np.zeros((height * factor, width * factor), np.uint8)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    cells = padded.reshape(height, factor, width, factor).sum(axis=(1, 3), dtype=np.int32)
    if whole:
        small = cells == factor**2
        return (small, factor) if small.any() else (mask, 1)
    small = 2 * cells > factor**2
    lost = np.count_nonzero((cells > 0) & ~small)
    return (small, factor) if lost < np.count_nonzero(small) else (mask, 1)


def distance_inside(mask: np.ndarray, border_counts: bool = True) -> np.ndarray:
    """float32 [H, W]: of each pixel to the mask's outside; beyond the border is outside or not."""
    if not border_counts and mask.all():
        return np.full(mask.shape, max(mask.shape), np.float32)
    pad = int(border_counts)
    padded = np.pad(mask, pad).view(np.uint8)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return distance[pad : distance.shape[0] - pad, pad : distance.shape[1] - pad]


def pieces_of(mask: np.ndarray, share: float) -> list[tuple[tuple[slice, slice], np.ndarray]]:
    """Connected pieces of at least a share of the largest one's area: window, bool mask in it."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA]
    pieces = []
    for index in np.argsort(-areas, kind="stable")[:MAX_PIECES] + 1:
        x, y, width, height, area = (int(value) for value in stats[index])
        if area >= share * areas.max():
            window = np.s_[y : y + height, x : x + width]
            pieces.append((window, labels[window] == index))
    return pieces


def skeleton_paths(
    piece: np.ndarray, branch_chance: float, max_branches: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """The longest path through the skeleton of a connected mask, then branches of it by chance.

    piece: bool [H, W]. max_branches: side branches that are considered, longest first.
    Returns int [P, 2] (y, x) each; none where the skeleton is empty.
    """
    skeleton = skeletonize(piece)
    if not skeleton.any():
        return []
    search = MCP_Geometric(np.where(skeleton, 1.0, -1.0))  # negative: no way through
    start = _farthest(search, np.argwhere(skeleton)[:1])[-1]  # two sweeps find a longest path
    main = _farthest(search, start[None])
    paths, drawn = [main], main
    for _ in range(max_branches):
        branch = _farthest(search, drawn)
        if len(branch) < max(6, 0.2 * len(main)):
            break
        if rng.random() < branch_chance:
            paths.append(branch)
        drawn = np.concatenate([drawn, branch])
    return paths


def _farthest(search: MCP_Geometric, starts: np.ndarray) -> np.ndarray:
    """The path from the starts to the reachable pixel farthest from them, int [P, 2] (y, x)."""
    distance, _ = search.find_costs(starts.tolist())
    distance[~np.isfinite(distance)] = -1
    return np.array(search.traceback(np.unravel_index(distance.argmax(), distance.shape)))
