"""What a video is started from: strokes, or a dense mask, on its first frame; further strokes."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from rhmnet.data.davis import Davis, DavisVideo
from rhmnet.data.youtube import YoutubeVideo as YoutubeVideo
from rhmnet.data.youtube import YoutubeVos
from rhmnet.errors import InputError
from rhmnet.files.images import read_image
from rhmnet.files.legend import Legend, PaintOptions
from rhmnet.files.scribble_file import read_strokes_file
from rhmnet.inputs import capped_size, resize_labels
from rhmnet.labels import BACKGROUND, MAX_OBJECTS, UNLABELLED, from_disk


class Appearance(NamedTuple):
    """The strokes of objects that appear on a later frame."""

    scribble: np.ndarray
    """uint8 [H, W], 0 no stroke, else the object."""
    path: Path
    """The file it was read from."""


class Prompt(NamedTuple):
    """The tracker's input, on the first frame and where further objects appear."""

    scribble: np.ndarray
    """uint8 [H, W], 0 no stroke, 1..N objects, 255 background, on the first frame."""
    num_objects: int
    path: Path
    """The file it was read from."""
    later: Mapping[str, Appearance] = MappingProxyType({})
    """{stem of the frame: strokes on it}."""

    @property
    def paths(self) -> list[Path]:
        """All files it was read from."""
        return [self.path, *(appearance.path for appearance in self.later.values())]

    def strokes_on(self, index: int, frame: Path) -> np.ndarray | None:
        """The strokes on a frame, the index-th of its video; None for most."""
        if index == 0:
            return self.scribble
        appearance = self.later.get(frame.stem)
        return appearance and appearance.scribble


def read_prompt(
    davis: Davis, video: DavisVideo, group: int, *, with_bg: bool = False, mask_init: bool = False
) -> Prompt:
    """Read a video's strokes of one scribble set, or its first mask.

    with_bg: keep the background strokes, which the release drops (the whole background of a mask).
    mask_init: start from the dense mask of the first frame.
    Raises InputError that names the file for strokes of another size than the annotations, without
    an object, or with a label out of range.
    """
    first = video.annotations[0]
    annotation = davis.first_annotation(video)
    num_objects = int(annotation.labels.max())
    if mask_init:
        scribble, path = annotation.labels, first
        if with_bg:
            scribble = np.where(scribble == UNLABELLED, np.uint8(BACKGROUND), scribble)
    else:
        path = davis.scribble(video.name, group, video.frames[0].stem)
        strokes = _read(path, video.frames[0], None if annotation.binary else num_objects)
        if strokes.shape != annotation.labels.shape:
            raise InputError(
                f"{path}: {size_text(strokes)} pixels, but the frames of {video.name} have "
                f"{size_text(annotation.labels)}; draw the strokes on the first frame as it is"
            )
        if annotation.binary:
            num_objects = _objects_of(strokes, path)
        try:
            scribble = from_disk(strokes, num_objects)
        except ValueError as error:
            raise InputError(f"{path}: {error} (objects as in {first})") from None
        if not with_bg:
            scribble = np.where(scribble == BACKGROUND, np.uint8(UNLABELLED), scribble)
    if not ((scribble != UNLABELLED) & (scribble != BACKGROUND)).any():
        raise InputError(f"{path}: empty: no object in it; expected labels 1..N for objects")
    return Prompt(scribble, num_objects, path)


def read_late_prompt(
    tree: YoutubeVos, video: YoutubeVideo, *, with_bg: bool = False, width: int | None = None
) -> Prompt:
    """Read the strokes of a YouTube-VOS video, one map for each frame at which objects appear.

    Of each map only the strokes of the objects that appear there are kept: others would correct
    what is tracked already. with_bg: keep the first frame's background strokes, too; they play no
    part where objects appear later. width: at which strokes must still be visible, pixels.
    Raises InputError that names the file for a map that is missing or of another size than the
    first, a label out of range, and an object without a stroke where it appears.
    """
    maps: dict[str, Appearance] = {}
    frames, legend = {picture.stem: picture for picture in video.frames}, Legend()
    for frame, numbers in video.appearances().items():
        path = tree.scribble(video.name, frame, numbers)
        strokes = _read(path, frames[frame], video.num_objects, legend)
        first = next(iter(maps.values())).scribble if maps else strokes
        if strokes.shape != first.shape:
            raise InputError(
                f"{path}: {size_text(strokes)} pixels, but the strokes on the first frame of "
                f"{video.name} have {size_text(first)}; draw them on the frames as they are"
            )
        try:
            strokes = from_disk(strokes, video.num_objects)
        except ValueError as error:
            raise InputError(f"{path}: {error} (objects as in meta.json)") from None
        kept = [*numbers, BACKGROUND] if with_bg and not maps else numbers
        scribble = np.where(np.isin(strokes, kept), strokes, np.uint8(UNLABELLED))
        _check_strokes(path, scribble, numbers, width)
        maps[frame] = Appearance(scribble, path)
    (scribble, path), *_ = maps.values()
    return Prompt(scribble, video.num_objects, path, dict(list(maps.items())[1:]))


def _read(
    path: Path, frame: Path | None, num_objects: int | None, legend: Legend | None = None
) -> np.ndarray:
    """Labels of a map, or of strokes painted in colours, which are told once."""
    read_frame = functools.partial(read_image, frame) if frame else None
    options = PaintOptions(read_frame, None, num_objects, legend or Legend())
    try:
        labels, how, _ = read_strokes_file(path, options)
    except InputError as error:
        if "--background-color" in str(error):
            raise InputError(f"{error} of scripts/convert_scribbles.py") from None
        raise
    if how:
        warnings.warn(f"{path}: {how}", stacklevel=2)
    return labels


def _check_strokes(
    path: Path, scribble: np.ndarray, numbers: Sequence[int], width: int | None
) -> None:
    """Raise InputError unless each object has a stroke, at the size at which it is tracked."""
    small = resize_labels(scribble, capped_size(scribble.shape, width))
    for number in np.setdiff1d(numbers, small):
        if number in scribble:
            raise InputError(
                f"{path}: the stroke of object {number} is too thin to be seen at --size {width}; "
                "give a larger one"
            )
        raise InputError(f"{path}: no stroke of object {number}, which appears here; draw one")


def _objects_of(strokes: np.ndarray, path: Path) -> int:
    """N where annotations don't say: they are binary, but the strokes tell objects apart.

    The largest label is then the background, unless that is 255; none below it may be left out.
    Where it could as well be an object, how it was read is told.
    """
    values = np.unique(strokes[(strokes != UNLABELLED) & (strokes != BACKGROUND)])
    if len(values) == 0:
        return 1
    largest = int(values[-1])
    if largest != len(values) or largest > MAX_OBJECTS + 1:
        raise InputError(
            f"{path}: label {largest} is out of range: there are strokes of "
            f"{', '.join(map(str, values))}; expected 1..N for objects, then N + 1 for background"
        )
    if largest == 1 or BACKGROUND in strokes:
        return largest
    warnings.warn(
        f"{path}: label {largest}, the largest, is read as the background, as in the release (the "
        "annotations are binary and do not tell); if it is an object's, give background strokes "
        "255",
        stacklevel=3,
    )
    return largest - 1


def size_text(labels: np.ndarray) -> str:
    """A map's size as messages give it, width first."""
    return f"{labels.shape[1]}x{labels.shape[0]}"
