"""Tell apart the colours that strokes were painted in, soft edges and compression allowed for.

A stroke is painted on a ground: a transparent layer, a canvas of one colour, or the frame itself.
Where a brush is soft, or lines are anti-aliased, a pixel is a blend of its stroke and the ground;
it belongs to the stroke if at least half of it does.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

FAINT = 24
"""A distance from the ground, of 441: nearer is hardly a stroke."""
HALF_OPAQUE = 128
"""Of 255, from which on a layer's pixel is a stroke."""
_TOP_REACH, _TOP_SHARE = 3, 0.92  # pixels around, share of the strongest there
_FLAT = 24  # spread of a channel around a pixel that is no edge
_NEARNESS = 0.03  # weight of a colour's distance beside that of its blends with the ground
_LINK = 28.0  # shades nearer to each other than this are one colour
_CELL = 8  # shades are counted in cells of this width
_MOST_CELLS = 1500  # more of them are a photograph
_LEAST_PIXELS = {False: 3, True: 12}  # of a colour, by whether the file was compressed with losses
_LEAST_SHARE = 0.004  # of the strokes' pixels, in files compressed with losses


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


class Separated(NamedTuple):
    """Strokes by colour."""

    colours: np.ndarray
    """uint8 [N, 3] RGB, in order of first appearance from top to bottom."""
    index: np.ndarray
    """int16 [H, W]: 0 for no stroke, n for the n-th colour."""


def separate(picture: np.ndarray, opacity: np.ndarray | None, ground: Ground) -> Separated:
    """Tell the strokes' colours apart and give each pixel to one of them, or to none.

    picture: uint8 [H, W, 3]; opacity: uint8 [H, W] of a layer, else None.
    Raises NotClear where the shades are those of a photograph.
    """
    if ground.kind == "layer":
        inked = opacity >= HALF_OPAQUE
        strength = None
        tops = _flat_within(picture, inked)
        tops = tops if tops.sum() >= 0.3 * inked.sum() else inked  # thin lines have no middle
    else:
        strength = distance(picture, ground.pixels)
        inked = strength > ground.noise
        if ground.kind == "frame":
            inked = _without_specks(inked, strength > 2 * ground.noise)
        around = cv2.dilate(strength, np.ones([2 * _TOP_REACH + 1] * 2, np.uint8))
        tops = inked & (strength >= _TOP_SHARE * around)
        if ground.kind == "frame":
            tops |= _flat_within(picture, inked)
            tops &= strength > max(2 * ground.noise, 2 * FAINT)
            inked &= tops.any()
    if not inked.any():
        return Separated(np.zeros((0, 3), np.uint8), np.zeros(inked.shape, np.int16))
    colours = _find_colours(picture[tops], None if strength is None else strength[tops], ground)
    index = _assign(picture, inked, ground, colours)
    kept = _true_colours(picture, ground, colours, index)
    if len(kept) < len(colours):
        colours = colours[kept]
        index = _assign(picture, inked, ground, colours)
    if ground.kind == "frame":
        index = _fill_holes(index, picture, colours)
    _check_shades(picture, ground, colours, index)
    index = _give_rims(index, picture, colours, ground)
    if ground.lossy or ground.kind == "frame":
        index = _drop_specks(index)
    if ground.lossy:
        index = _drop_thin(index)
    return _in_order(colours, index)


def exact_colours(picture: np.ndarray, inked: np.ndarray) -> Separated:
    """Each colour by itself. picture: uint8 [H, W, 3]; inked: bool [H, W], the strokes' pixels."""
    codes = packed(picture[inked])
    found, inverse = np.unique(codes, return_inverse=True)
    colours = np.stack([found >> 16, found >> 8 & 255, found & 255], axis=1).astype(np.uint8)
    index = np.zeros(inked.shape, np.int16)
    index[inked] = inverse + 1
    return _in_order(colours, index)


def packed(colours: np.ndarray) -> np.ndarray:
    """uint32 [...]: each colour, uint8 [..., 3], as one number."""
    return colours.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)


def _flat_within(picture: np.ndarray, inked: np.ndarray) -> np.ndarray:
    """Inked pixels whose inked neighbours have about their colour."""
    square = np.ones((3, 3), np.uint8)
    high = cv2.dilate(np.where(inked[..., None], picture, 0), square)
    low = cv2.erode(np.where(inked[..., None], picture, 255), square)
    return inked & ((high.astype(np.int16) - low).max(axis=2) <= _FLAT)


def _find_colours(shades: np.ndarray, strength: np.ndarray | None, ground: Ground) -> np.ndarray:
    """uint8 [N, 3]: the colours that shades, uint8 [P, 3], belong to; raises NotClear."""
    codes = packed(shades // _CELL)
    cells, place, counts = np.unique(codes, return_inverse=True, return_counts=True)
    frequent = counts >= max(1, len(shades) // 1000)
    if frequent.sum() > _MOST_CELLS:
        raise NotClear(f"it has {len(cells)} shades, as a photograph")
    means = np.stack(
        [np.bincount(place, shades[:, channel], len(cells)) for channel in range(3)], axis=1
    )
    means = means[frequent] / counts[frequent, None]
    group = np.full(len(cells), -1)
    group[frequent] = _linked(means)
    of_shade = group[place]
    least = _LEAST_PIXELS[ground.lossy]
    least = max(least, _LEAST_SHARE * len(shades)) if ground.lossy else least
    colours, sizes = [], np.bincount(of_shade[of_shade >= 0])
    for number in np.flatnonzero(sizes >= min(least, sizes.max())):
        here = of_shade == number
        colours.append(_typical(shades[here], None if strength is None else strength[here]))
    return np.array(colours, np.uint8)


def _linked(points: np.ndarray) -> np.ndarray:
    """int [P]: groups of points, [P, 3], that chains of near neighbours hold together."""
    near = np.linalg.norm(points[:, None] - points, axis=2) < _LINK
    group = np.full(len(points), -1)
    for first in range(len(points)):
        if group[first] >= 0:
            continue
        number, edge = group.max() + 1, np.arange(len(points)) == first
        while edge.any():
            group[edge] = number
            edge = near[edge].any(axis=0) & (group < 0)
    return group


def _typical(shades: np.ndarray, strength: np.ndarray | None) -> np.ndarray:
    """uint8 [3]: the colour itself, of all its shades; the strongest, where a ground shines in."""
    if strength is not None:
        shades = shades[strength >= 0.9 * np.quantile(strength, 0.98)]
    values, counts = np.unique(shades, axis=0, return_counts=True)
    if counts.max() >= 0.2 * len(shades):
        return values[counts.argmax()]
    return np.median(shades, axis=0).round().astype(np.uint8)


def _assign(
    picture: np.ndarray, inked: np.ndarray, ground: Ground, colours: np.ndarray
) -> np.ndarray:
    """int16 [H, W]: the colour of inked pixels, 0 where less than half of them is paint.

    A pixel is taken for a blend of the ground with the colour that explains it best, and nearly
    as well for the nearest colour. On a layer it is the nearest colour's.
    """
    shades = picture[inked].astype(np.float32)
    bare = None if ground.pixels is None else ground.pixels.astype(np.float32)
    if bare is not None and bare.ndim == 3:
        bare = bare[inked]
    number, least = np.zeros(len(shades), np.int16), np.full(len(shades), np.inf, np.float32)
    for n, colour in enumerate(colours.astype(np.float32), start=1):
        off = np.linalg.norm(shades - colour, axis=1)
        if bare is not None:
            way = colour - bare
            share = ((shades - bare) * way).sum(-1) / np.maximum((way * way).sum(-1), 1)
            blend = bare + share.clip(0, 1)[:, None] * way
            off = np.linalg.norm(shades - blend, axis=1) + _NEARNESS * off
        better = off < least
        number[better] = n if bare is None else np.where(share[better] >= 0.5, n, 0)
        least[better] = off[better]
    index = np.zeros(inked.shape, np.int16)
    index[inked] = number
    return index


def _true_colours(
    picture: np.ndarray, ground: Ground, colours: np.ndarray, index: np.ndarray
) -> np.ndarray:
    """int [M]: the colours that are not mere blends, along the edges of strokes of other colours.

    index: int16 [H, W], the nearest colour of each pixel.
    """
    reach, allowed = np.ones((13, 13), np.uint8), 1.7 * FAINT if ground.lossy else FAINT
    near = [cv2.dilate((index == n + 1).astype(np.uint8), reach) > 0 for n in range(len(colours))]
    sizes = np.bincount(index.ravel(), minlength=len(colours) + 1)[1:]
    kept = [int(n) for n in np.argsort(-sizes, kind="stable")]
    for number in kept[::-1]:  # the rarest first
        y, x = np.nonzero(index == number + 1)
        shades = picture[y, x].astype(np.float32)
        blended = np.zeros(len(y), bool)
        others = [n for n in kept if n != number]
        for other in others:
            here, end = near[other][y, x], colours[other].astype(np.float32)
            starts = [(colours[n], near[n][y, x]) for n in others if n < other]
            if ground.kind != "layer":
                bare = ground.pixels if ground.pixels.ndim == 1 else ground.pixels[y, x]
                starts.append((bare, True))
            for start, there in starts:
                blended |= here & there & _lies_between(shades, start, end, allowed)
        if len(y) == 0 or blended.mean() > 0.5:
            kept.remove(number)
    return np.array(sorted(kept), int)


def _lies_between(
    shades: np.ndarray, start: np.ndarray, end: np.ndarray, allowed: float
) -> np.ndarray:
    """bool [P]: shades, [P, 3], blends of two colours ([3] or [P, 3]), not the second."""
    way = end - start.astype(np.float32)
    from_start = shades - start
    share = (from_start * way).sum(-1) / np.maximum((way * way).sum(-1), 1)
    off = np.linalg.norm(from_start - share[..., None] * way, axis=-1)
    return (off <= allowed) & (share > -0.1) & (share < 0.95)


def _check_shades(
    picture: np.ndarray, ground: Ground, colours: np.ndarray, index: np.ndarray
) -> None:
    """Raise NotClear where most pixels have neither their stroke's colour nor a blend of it."""
    inked = index > 0
    shades = picture[inked].astype(np.float32)
    ends = colours[index[inked] - 1].astype(np.float32)
    told = np.linalg.norm(shades - ends, axis=1) <= 2 * _LINK
    if ground.kind != "layer":
        bare = ground.pixels if ground.pixels.ndim == 1 else ground.pixels[inked]
        told |= _lies_between(shades, bare, ends, 2 * FAINT)
    if len(told) and told.mean() < 0.6:
        raise NotClear("its shades are those of a photograph, not of strokes")


def _fill_holes(index: np.ndarray, picture: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Where the frame has a stroke's colour, painting it changed nothing: close such holes."""
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    for number, colour in enumerate(colours, start=1):
        mask = (index == number).astype(np.uint8)
        closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, disk) > 0
        index[closed & (index == 0) & (distance(picture, colour) <= FAINT)] = number
    return index


def _give_rims(
    index: np.ndarray, picture: np.ndarray, colours: np.ndarray, ground: Ground
) -> np.ndarray:
    """Give blends that look like a third colour to the stroke that they are the edge of.

    Such patches are thin, and most of their pixels lie beside another stroke.
    """
    square = np.ones((3, 3), np.uint8)
    for number in range(1, len(colours) + 1):
        mask = (index == number).astype(np.uint8)
        if not mask.any() or len(colours) == 1:
            continue
        others = np.where(index == number, 0, index)
        beside = cv2.dilate(others, square)
        count, patches = cv2.connectedComponents(mask, connectivity=8)
        inside = cv2.erode(mask, square, borderValue=0) > 0
        sizes = np.bincount(patches.ravel(), minlength=count)
        touching = np.bincount(patches.ravel(), (beside > 0).ravel(), minlength=count)
        thick = np.bincount(patches.ravel(), inside.ravel(), minlength=count) > 0
        rim = (touching >= 0.6 * sizes) & ~thick
        rim[0] = False
        own = sizes[1:].max() if count > 1 else 0
        for patch in np.flatnonzero(rim & (sizes < max(own, 2))):
            here = patches == patch
            neighbours = beside[here & (beside > 0)]
            index[here] = np.bincount(neighbours).argmax()
    return index


def _without_specks(inked: np.ndarray, counted: np.ndarray, least: int = 6) -> np.ndarray:
    """Without patches that have fewer counted pixels than a stroke."""
    count, patches = cv2.connectedComponents(inked.astype(np.uint8), connectivity=8)
    large = np.bincount(patches.ravel(), counted.ravel(), minlength=count) >= least
    large[0] = False
    return large[patches]


def _drop_specks(index: np.ndarray) -> np.ndarray:
    """Without patches of a few pixels, where the colour has larger ones: compression's noise."""
    for number in range(1, int(index.max()) + 1):
        mask = index == number
        kept = _without_specks(mask, mask)
        if kept.any():
            index[mask & ~kept] = 0
    return index


def _drop_thin(index: np.ndarray) -> np.ndarray:
    """Without colours that compression makes beside strokes; NotClear for thin lines."""
    square, around = np.ones((3, 3), np.uint8), np.ones((13, 13), np.uint8)
    for number in range(1, int(index.max()) + 1):
        mask = (index == number).astype(np.uint8)
        inside = cv2.erode(mask, square, borderValue=0)
        if not mask.any() or inside.sum() >= 0.08 * mask.sum():
            continue
        others = ((index > 0) & (index != number)).astype(np.uint8)
        if (cv2.dilate(others, around)[mask > 0] > 0).mean() < 0.6:
            raise NotClear(
                "its lines are too thin for JPEG and its like; save a PNG, or draw broader"
            )
        index[mask > 0] = 0
    return index


def _in_order(colours: np.ndarray, index: np.ndarray) -> Separated:
    """Colours as they appear from top to bottom, those without a pixel left out."""
    values, first = np.unique(index, return_index=True)
    order = values[np.argsort(first)]
    order = order[order > 0]
    new = np.zeros(len(colours) + 1, np.int16)
    new[order] = np.arange(1, len(order) + 1)
    return Separated(colours[order - 1], new[index])


def distance(picture: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """float32 [H, W]: Euclidean, of 441."""
    off = picture.astype(np.float32)
    off -= ground
    return np.sqrt(np.einsum("hwc,hwc->hw", off, off))
