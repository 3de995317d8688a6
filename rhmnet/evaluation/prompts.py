"""What a video is started from: strokes, or a dense mask, on its first frame."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from rhmnet.data.files import read_labels
from rhmnet.errors import InputError
from rhmnet.evaluation.davis import Davis, Video
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
    davis: Davis, video: Video, group: int, *, with_bg: bool = False, mask_init: bool = False
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
        path = davis.scribble(video.name, group)
        strokes = read_labels(path)
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


def _objects_of(strokes: np.ndarray, path: Path) -> int:
    """N where annotations don't say: they are binary, but the strokes tell objects apart.

    The largest label is then the background, and none below it may be left out.
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
    return max(1, largest - 1)


def size_text(labels: np.ndarray) -> str:
    """A map's size as messages give it, width first."""
    return f"{labels.shape[1]}x{labels.shape[0]}"
