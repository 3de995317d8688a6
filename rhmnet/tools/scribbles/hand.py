"""Strokes as a hand would draw them, from masks.

An object's stroke follows the longest path through its skeleton, and now and then a side branch;
it stops short of the ends, strays a little from the middle and never leaves the object. Background
strokes wander through what is left, away from the objects. Every draw depends on the generator
alone, so that a seed gives the same bytes whatever the number of workers.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np
from skimage.graph import MCP_Geometric
from skimage.morphology import skeletonize

from rhmnet.errors import check, flag, number
from rhmnet.tools.scribbles import draw_lines

SKELETON_SIDE = 96  # larger objects are shrunk to it, pixels: a hand sees no finer skeleton
MAX_PIECES = 8  # of an object get strokes, the largest: nobody dots every leaf of a tree
BACKGROUND_SIDE = 64  # longer side of the grid through which background strokes find their way


@dataclass(frozen=True)
class HandOptions:
    """What a hand does. Lengths are pixels at 480p: they scale with the image's short side."""

    thickness: float = number(7.0, "of a stroke, pixels at 480p", 0.1, 1000)
    coverage: float = number(
        0.8, "share of a skeleton path that its stroke covers on average", 0, 1
    )
    branch_chance: float = number(0.35, "probability that a side branch gets a stroke too", 0, 1)
    max_branches: int = number(3, "side branches that are considered, longest first", 0, 100)
    jitter: float = number(0.25, "straying from the middle, share of the half-width there", 0, 1)
    piece_share: float = number(
        0.2,
        "a separate piece of an object gets a stroke from this share of the largest one on",
        0,
        1,
    )
    background: bool = flag(True, "draw background strokes")
    background_strokes: int = number(3, "how many of them", 0, 100)
    background_length: float = number(
        0.4, "of each background stroke on average, share of the image's longer side", 0, 1
    )
    background_margin: float = number(
        12.0,
        "that background strokes keep from objects where there is room, pixels at 480p",
        0,
        10000,
    )
    min_area: float = number(0.0, "objects of fewer pixels (at 480p) get no stroke", 0, 10**9)

    def __post_init__(self) -> None:
        for option in fields(self):
            name = f"stroke option {option.name}"
            check(name, getattr(self, option.name), option.metadata["rule"])


def draw_scribble(
    labels: np.ndarray,
    num_objects: int,
    rng: np.random.Generator,
    options: HandOptions = HandOptions(),
    avoid: np.ndarray | None = None,
) -> np.ndarray:
    """Scribble of a dense label map, as on disk.

    labels: uint8 [H, W], 0 background, 1..N objects; other values are nobody's and stay free.
    num_objects: N.
    avoid: bool [H, W], where background strokes must not go although no object is labelled there.
    Returns uint8 [H, W]: 0 unlabelled, n the stroke of object n, N + 1 the background's strokes.
    No stroke leaves its object, and every object of `min_area` has at least one stroke pixel.
    """
    scale = min(labels.shape) / 480
    thickness = max(1, round(options.thickness * scale))
    scribble = np.zeros(labels.shape, np.uint8)
    for value in range(1, num_objects + 1):
        mask = (labels == value).view(np.uint8)
        x, y, width, height = cv2.boundingRect(mask)
        window = np.s_[y : y + height, x : x + width]
        area = cv2.countNonZero(mask)
        if area and area >= options.min_area * scale**2:
            stroke = object_stroke(mask[window] > 0, thickness, rng, options)
            scribble[window][stroke] = value
    if options.background and options.background_strokes:
        free = labels == 0 if avoid is None else (labels == 0) & ~avoid
        margin = options.background_margin * scale
        stroke = background_strokes(free, thickness, margin, rng, options)
        scribble[stroke] = num_objects + 1
    return scribble


def object_stroke(
    mask: np.ndarray, thickness: int, rng: np.random.Generator, options: HandOptions
) -> np.ndarray:
    """bool [H, W]: the strokes of one object, every pixel of them inside its mask.

    mask: bool [H, W], cropped to the object, not empty. thickness: pixels.
    """
    small, factor = shrink(mask, SKELETON_SIDE)
    half_width = distance_inside(small) * factor
    lines = []
    for window, piece in pieces_of(small, options.piece_share):
        corner = [window[0].start, window[1].start]
        paths = skeleton_paths(piece, options.branch_chance, options.max_branches, rng)
        for path in paths:
            path = _shorten(path + corner, options.coverage, rng)
            room = half_width[path[:, 0], path[:, 1]]
            path = path * factor + (factor - 1) / 2
            lines.append(steer(path, room, thickness, options.jitter, rng))
    stroke = draw_lines(mask.shape, lines, thickness) & mask
    if not stroke.any():  # a sliver that shrinking or smoothing missed: a dot in its thickest place
        stroke.flat[distance_inside(mask).argmax()] = True
    return stroke


def background_strokes(
    free: np.ndarray,
    thickness: int,
    margin: float,
    rng: np.random.Generator,
    options: HandOptions,
) -> np.ndarray:
    """bool [H, W]: strokes that wander through the free pixels, far from each other and objects.

    free: bool [H, W]. margin: pixels to keep from what is not free, as far as there is room.
    """
    if not free.any():
        return free
    distance = distance_inside(free, border_counts=False)
    margin = min(margin, 0.6 * float(distance.max()))
    small, factor = shrink(free & (distance >= margin), BACKGROUND_SIDE, whole=True)
    room = distance_inside(small, border_counts=False) * factor
    allowed = room >= min(thickness / 2 + factor, 0.6 * float(room.max()))
    cells = np.argwhere(allowed)
    far = np.full(len(cells), np.inf)  # of each cell from the strokes so far, cells
    lines = []
    for _ in range(options.background_strokes):
        # the farthest of a few random cells, so that strokes spread without a pattern
        tries = rng.integers(len(cells), size=6)
        start = cells[tries[far[tries].argmax()]]
        length = options.background_length * rng.uniform(0.6, 1.4) * max(small.shape)
        path = _wander(allowed, start, length, rng)
        for cell in path[::2]:
            far = np.minimum(far, np.abs(cells - cell).max(axis=1))
        # wide rooms do not invite wider swings
        slack = np.minimum(room[path[:, 0], path[:, 1]], 4 * factor + thickness / 2)
        path = path * factor + (factor - 1) / 2
        lines.append(steer(path, slack, thickness, options.jitter, rng))
    stroke = draw_lines(free.shape, lines, thickness) & (distance >= margin)
    if not stroke.any():
        stroke.flat[distance.argmax()] = True
    return stroke


def _wander(
    allowed: np.ndarray, start: np.ndarray, length: float, rng: np.random.Generator
) -> np.ndarray:
    """A path of about `length` cells from `start` through the allowed cells, int [P, 2] (y, x).

    It goes the cheapest way through random hills, which bend it as a hand would.
    """
    hills = rng.random([max(2, size // 10) for size in allowed.shape])
    hills = cv2.resize(hills, allowed.shape[::-1], interpolation=cv2.INTER_CUBIC)
    search = MCP_Geometric(np.where(allowed, 0.3 + np.clip(hills, 0, 1) ** 2, -1.0))
    costs, _ = search.find_costs([tuple(start)])
    ends = np.argwhere(np.isfinite(costs))
    miss = np.abs(np.linalg.norm(ends - start, axis=1) - length)
    near = ends[miss <= miss.min() + 1.5]
    return np.array(search.traceback(tuple(near[rng.integers(len(near))])))


def _shorten(path: np.ndarray, coverage: float, rng: np.random.Generator) -> np.ndarray:
    """A run of about `coverage` of the path, anywhere in it."""
    share = min(1.0, coverage * rng.uniform(0.85, 1.15))
    keep = max(1, round(share * len(path)))
    skipped = len(path) - keep
    # the mean of two draws: mostly both ends are left out, seldom one alone
    first = round(skipped * (rng.random() + rng.random()) / 2)
    return path[first : first + keep]


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


def steer(
    path: np.ndarray, room: np.ndarray, thickness: int, jitter: float, rng: np.random.Generator
) -> np.ndarray:
    """The line that a hand draws along a path; it keeps inside the room that the path has.

    path: [P, 2] (y, x), neighbours about equally far apart. room: [P], pixels to the nearest
    outside of each point. jitter: how far the line strays, share of the room.
    Returns float64 [P, 2] (y, x).
    """
    if len(path) == 1:
        return path.astype(np.float64)
    path = smooth(path.astype(np.float64), 2.0)  # without the steps of the pixel grid
    slack = np.maximum(room - (thickness + 1) / 2, 0)[:, None]
    wish = smooth(path, max(1.0, len(path) / 10))
    # slow wandering off the middle, and a slight tremor
    wander = _noise(len(path), max(6.0, len(path) / 4), rng) + _noise(len(path), 6.0, rng) / 8
    offset = wish - path + jitter * slack * wander
    length = np.linalg.norm(offset, axis=1, keepdims=True)
    offset *= np.minimum(1, slack / np.maximum(length, 1e-9))
    return path + smooth(offset, 1.5)


def smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian smoothing along the first axis, [P, D]; the ends stay where they are.

    The sequence is continued by its point reflection at either end, which neither shortens a path
    nor bends it there.
    """
    reach = min(len(values) - 1, int(3 * sigma + 0.5))
    if reach < 1:
        return values
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    before = 2 * values[0] - values[reach:0:-1]
    after = 2 * values[-1] - values[-2 : -2 - reach : -1]
    longer = np.concatenate([before, values, after])
    columns = [np.convolve(column, kernel, mode="valid") for column in longer.T]
    return np.stack(columns, axis=1)


def _noise(length: int, wavelength: float, rng: np.random.Generator) -> np.ndarray:
    """[P, 2] smooth noise of about unit size whose bumps are `wavelength` points apart."""
    knots = rng.uniform(-1.7, 1.7, size=(int(length / wavelength) + 2, 2))
    place = np.arange(length) / wavelength
    columns = [np.interp(place, np.arange(len(knots)), column) for column in knots.T]
    return smooth(np.stack(columns, axis=1), wavelength / 3)
