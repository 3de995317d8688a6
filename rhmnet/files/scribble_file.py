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

import numpy as np
from PIL import Image

from rhmnet.bounds import check_number
from rhmnet.errors import InputError
from rhmnet.files.antialiasing import CERTAIN, is_blended, join_blends
from rhmnet.files.bmp import read_indexed
from rhmnet.files.colour import davis_number
from rhmnet.files.decoding import BMP_MAGIC, JPEG_MAGIC, open_pillow, read_bytes
from rhmnet.files.ground import Ground, NotClear, find_ground
from rhmnet.files.images import read_image, stored_orientation
from rhmnet.files.label_maps import read_labels
from rhmnet.files.legend import PaintOptions, number_strokes
from rhmnet.files.orientation import upright
from rhmnet.files.painting import exact_colours, separate
from rhmnet.files.premultiplied import straightened
from rhmnet.labels import BACKGROUND, MAX_OBJECTS, davis_palette, from_disk

PAINTED_SUFFIXES = (".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".jpg", ".jpeg")
_WANTED = "strokes: a label map, or a picture painted in an editor"
_STRAY_SHARE = 0.05  # of strokes' pixels in other colours than DAVIS', where the rest is in its
_DARKEST_PAINT = 64  # grey RGB below it is a label map that was saved as RGB


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
    rgba = upright(np.array(picture.convert("RGBA")), stored_orientation(data))
    if data.startswith(JPEG_MAGIC):  # decoded as frames are, so that they are equal where bare
        rgba[..., :3] = read_image(path)
    try:
        return _read_painted(rgba, lossy, options)
    except NotClear as error:
        raise InputError(f"{path}: {error}") from None


def _open(path: str | Path) -> tuple[Image.Image, bytes]:
    """A picture of any mode, as stored, and the file's bytes."""
    data = read_bytes(path, _WANTED)
    indexed = read_indexed(path, data) if data.startswith(BMP_MAGIC) else None
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
    if (opacity < 128).any():
        if not (opacity >= 128).any():
            raise NotClear("nothing in it is at least half opaque; paint with an opaque brush")
        colours = straightened(rgba)[..., :3]
        ground, inked = Ground("layer", None, 0.0, lossy), opacity >= 128
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
    place = np.array([1 << 16, 1 << 8, 1], np.uint32)
    return np.isin(colours.astype(np.uint32) @ place, davis_palette()[1:].astype(np.uint32) @ place)


def _ground_of(colours: np.ndarray, frame: np.ndarray | None, lossy: bool) -> Ground:
    try:
        return find_ground(colours, frame, lossy)
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
