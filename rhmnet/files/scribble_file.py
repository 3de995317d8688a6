"""One reader of strokes as people save them: label maps, and pictures that they painted.

A label map (values of 8-bit grey, palette indices) is read as it is. Anything else is painted: on a
transparent layer, in colours on a black or white canvas, or over the frame itself. What was
understood comes as one line, for people to see.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from rhmnet.errors import InputError, check_number
from rhmnet.files.decoding import (
    BMP_MAGIC,
    JPEG_MAGIC,
    open_pillow,
    stored_orientation,
    upright,
)
from rhmnet.files.images import (
    CERTAIN,
    is_blended,
    join_blends,
    read_image,
    read_indexed_bmp,
    read_labels,
)
from rhmnet.files.legend import PaintOptions, davis_number, number_strokes
from rhmnet.files.painting import (
    FAINT,
    HALF_OPAQUE,
    Ground,
    NotClear,
    distance,
    exact_colours,
    packed,
    separate,
)
from rhmnet.files.reading import read_bytes
from rhmnet.labels import BACKGROUND, MAX_OBJECTS, davis_palette, from_disk

PAINTED_SUFFIXES = (".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".jpg", ".jpeg")
_WANTED = "strokes: a label map, or a picture painted in an editor"
_STRAY_SHARE = 0.05  # of strokes' pixels in other colours than DAVIS', where the rest is in its
_DARKEST_PAINT = 64  # grey RGB below it is a label map that was saved as RGB
_CANVAS_NOISE = 8  # distance up to which a pixel of a lossless file is still ground
_BARE_SHARE = 0.65  # of a frame that is painted over, at least
_ANOTHER_FRAME = 12  # distance, beyond which it is another frame; JPEG's and WebP's noise is half
_OPAQUE = 250  # of 255: such a pixel has its stroke's own colour
_LEAST_EDGE = 8  # half opaque pixels to judge by


class UnderstoodStrokes(NamedTuple):
    """Strokes, and how they were understood."""

    labels: np.ndarray
    """uint8 [H, W]: 0 none, 1.. objects, 255 background; of a label map its values."""
    how: str | None
    """One line; None for a label map that was read as it is."""
    blended: bool = False
    """Whether it is a label map whose edges were anti-aliased."""


def read_scribble(
    path: str | Path,
    num_objects: int | None = None,
    *,
    frame: np.ndarray | None = None,
    background_color: str | None = None,
) -> np.ndarray:
    """Read strokes from a file, as `Tracker.start` takes them.

    path: a label map (PNG, BMP), or strokes painted in an image editor: on a transparent layer, in
    colours on black or white, or over the frame. num_objects: N; then N + 1 in a label map is the
    background too, as in the release's files. frame: uint8 [H, W, 3], for strokes painted over it.
    background_color: of the background's strokes, as `white`, `#ff8800` or `none`.
    Returns uint8 [H, W]: 0 no stroke, 1..N objects, 255 background. Warns where the largest label
    could be the background's too, and how painted strokes were understood.
    Raises InputError that names the file.
    """
    if num_objects is not None:
        num_objects = check_number(num_objects, f"{path}: num_objects")
        if not 1 <= num_objects <= MAX_OBJECTS:
            raise InputError(f"{path}: num_objects={num_objects}: expected 1..{MAX_OBJECTS}")
    if frame is not None and not (
        isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.shape[2:] == (3,)
    ):
        raise InputError(f"{path}: frame: expected an array uint8 [H, W, 3], as read from an image")
    options = PaintOptions(frame, background_color, num_objects)
    reading = read_strokes_file(path, options)
    doubt = reading.how or unclear_labels([reading.labels], num_objects, "num_objects=")
    if doubt:
        warnings.warn(f"{path}: {doubt}", stacklevel=2)
    largest = int(reading.labels[reading.labels < BACKGROUND].max(initial=0))
    count = largest if num_objects is None else num_objects
    if count > MAX_OBJECTS:
        raise InputError(f"{path}: label {count}: expected 1..{MAX_OBJECTS} for objects, or 255")
    try:
        return from_disk(reading.labels, max(count, 1))
    except ValueError as error:
        raise InputError(f"{path}: {error}; correct num_objects") from None


def unclear_labels(maps: Sequence[np.ndarray], num_objects: int | None, option: str) -> str | None:
    """A line where the labels of a video's maps could mean something else than was understood.

    The largest may be an object's or, as in the release, the background's; of an object with a
    larger number than there are objects, it is worth saying that the label is its number.
    option: by which to say N, as `--num-objects `.
    """
    found = np.unique(np.concatenate([np.unique(labels) for labels in maps]))
    objects = found[(found > 0) & (found < BACKGROUND)].tolist()
    if num_objects is not None or not objects or objects[-1] == 1:
        return None
    largest = objects[-1]
    if BACKGROUND not in found:
        return (
            f"label {largest}, the largest, is read as an object, as no pixel is {BACKGROUND}; "
            f"if it is the background's, give {option}{largest - 1}"
        )
    if len(objects) < largest:
        told = ", ".join(map(str, objects))
        return f"labels are objects' numbers: {told}, and no stroke of the other numbers up to it"
    return None


def read_strokes_file(path: str | Path, options: PaintOptions) -> UnderstoodStrokes:
    """Read strokes from a label map or a painted picture; raises InputError that names the file."""
    picture, data = _open(path)
    lossy = _is_lossy(picture, data)
    if not _is_painted(picture, lossy):
        return _read_map(path)
    if data.startswith(JPEG_MAGIC):  # decoded as frames are, so that they are equal where bare
        rgba = cv2.cvtColor(read_image(path), cv2.COLOR_RGB2RGBA)
    else:
        rgba = upright(np.array(picture.convert("RGBA")), stored_orientation(data))
    try:
        return _read_painted(rgba, lossy, options)
    except NotClear as error:
        raise InputError(f"{path}: {error}") from None


def _open(path: str | Path) -> tuple[Image.Image, bytes]:
    """A picture of any mode, as stored, and the file's bytes."""
    data = read_bytes(path, _WANTED)
    indexed = read_indexed_bmp(path, data) if data.startswith(BMP_MAGIC) else None
    if indexed is None:
        return open_pillow(path, data, _WANTED), data
    indices, colours = indexed
    picture = Image.fromarray(indices)
    picture.putpalette(colours.tobytes())
    return picture, data


def _is_lossy(picture: Image.Image, data: bytes) -> bool:
    """Whether a file's kind of compression changes colours."""
    return picture.format in ("JPEG", "MPO", "AVIF", "JPEG2000") or data[12:16] == b"VP8 "


def _read_map(path: str | Path) -> UnderstoodStrokes:
    labels = read_labels(path)
    if not is_blended(labels, CERTAIN):
        return UnderstoodStrokes(labels, None)
    joined = join_blends(labels)
    if joined is None:
        raise InputError(
            f"{path}: anti-aliased edges: labels in between run along the strokes; draw and resize "
            "without anti-aliasing (nearest neighbours), or paint in colours"
        )
    found = ", ".join(map(str, np.unique(joined[joined > 0]).tolist()))
    return UnderstoodStrokes(joined, f"anti-aliased: greys in between were joined to {found}", True)


def _is_painted(picture: Image.Image, lossy: bool) -> bool:
    """Whether a picture is no label map: it has colours, or a palette whose indices mean nothing.

    Indices are labels where the palette is DAVIS' or a ramp of greys, and wherever most pixels have
    index 0 that is not white. Where the colours are DAVIS' at other indices, the colours tell.
    """
    if picture.mode == "L" or picture.mode[0] in "IF":  # deep greys: `read_labels` refuses them
        return lossy
    if picture.mode != "P":
        return True
    indices = np.array(picture)
    counts = np.bincount(indices.ravel(), minlength=256)
    used = np.flatnonzero(counts)
    colours = _palette(picture)[used]
    ramp = (colours == used[:, None]).all()
    own = (colours == davis_palette()[used]).all()
    if ramp or own:
        return False
    if picture.format == "GIF" or "transparency" in picture.info:
        return True
    davis = [0 if not colour.any() else davis_number(colour, 0) for colour in colours]
    canvas = used[0] == 0 and colours[0].min() == 255  # white
    return None not in davis or counts.argmax() != 0 or canvas


def _palette(picture: Image.Image) -> np.ndarray:
    """uint8 [256, 3], black where the file's palette ends."""
    said = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)[:256]
    return np.concatenate([said, np.zeros((256 - len(said), 3), np.uint8)])


def _read_painted(rgba: np.ndarray, lossy: bool, options: PaintOptions) -> UnderstoodStrokes:
    colours, opacity = rgba[..., :3], rgba[..., 3]
    if (opacity < HALF_OPAQUE).any():
        if not (opacity >= HALF_OPAQUE).any():
            raise NotClear("nothing in it is at least half opaque; paint with an opaque brush")
        colours = straightened(rgba)[..., :3]
        ground, inked = Ground("layer", None, 0.0, lossy), opacity >= HALF_OPAQUE
    else:
        values = _grey_labels(colours)
        if values is not None:
            return UnderstoodStrokes(values, "labels saved as RGB: read as values")
        frame = options.frame() if callable(options.frame) else options.frame
        ground = _ground_of(colours, frame, lossy)
        inked = (colours != ground.pixels).any(axis=2)
    known = inked & _is_davis(colours)
    others = np.count_nonzero(inked) - np.count_nonzero(known)
    if known.any() and others <= _STRAY_SHARE * np.count_nonzero(inked):
        labels, how = number_strokes(exact_colours(colours, known), ground, options)
        dropped = f"; {others} pixels of other colours (anti-aliasing) dropped" if others else ""
        return UnderstoodStrokes(labels, how + dropped)
    return UnderstoodStrokes(*number_strokes(separate(colours, opacity, ground), ground, options))


def _is_davis(colours: np.ndarray) -> np.ndarray:
    """bool [H, W]: pixels in the very colour of a label of DAVIS' palette."""
    return np.isin(packed(colours), packed(davis_palette()[1:]))


def _ground_of(colours: np.ndarray, frame: np.ndarray | None, lossy: bool) -> Ground:
    try:
        return _find_ground(colours, frame, lossy)
    except NotClear as error:
        if frame is not None and frame.shape != colours.shape:
            sizes = (f"{shape[1]}x{shape[0]}" for shape in (colours.shape, frame.shape))
            raise NotClear(
                "{} pixels of paint on a frame of {}; paint over the frame as it is, or on a "
                "transparent layer".format(*sizes)
            ) from None
        raise NotClear(
            f"not clear what is stroke: {error}; paint on a transparent layer, on black, on white, "
            "or over the very frame that the strokes are for (its name, or --frame, says which), "
            "at its size"
        ) from None


def _grey_labels(colours: np.ndarray) -> np.ndarray | None:
    """The values of a label map that was saved as RGB: greys too dark for paint, perhaps 255."""
    values = colours[..., 0]
    if (colours != values[..., None]).any():
        return None
    painted = values[(values > 0) & (values < BACKGROUND)]
    return values.copy() if 0 < painted.max(initial=0) < _DARKEST_PAINT else None


def _find_ground(picture: np.ndarray, frame: np.ndarray | None, lossy: bool) -> Ground:
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


def straightened(rgba: np.ndarray) -> np.ndarray:
    """Colours of a transparent layer as they were painted: uint8 [H, W, 4].

    Where they were multiplied by opacity, the edges of strokes are darker than strokes are, and
    would look like colours of their own. Told by the nearest pixel that is opaque: whether its
    colour, or that times the opacity, is nearer to what half opaque pixels have.
    """
    opacity = rgba[..., 3]
    opaque = opacity >= _OPAQUE
    edge = (opacity >= HALF_OPAQUE) & ~opaque
    if not opaque.any() or np.count_nonzero(edge) < _LEAST_EDGE:
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
