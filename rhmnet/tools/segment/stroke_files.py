"""Strokes on one or several frames: label maps named after their frames, or DAVIS JSON."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rhmnet.errors import InputError
from rhmnet.files import MAP_SUFFIXES, list_files
from rhmnet.files.legend import PaintOptions
from rhmnet.files.scribble_file import (
    PAINTED_SUFFIXES,
    read_strokes_file,
    unclear_labels,
)
from rhmnet.files.source import Source
from rhmnet.labels import BACKGROUND, MAX_OBJECTS, from_disk, objects_in
from rhmnet.tools.scribbles import BACKGROUND_ID, rasterize
from rhmnet.tools.scribbles.line_files import read_davis

_ASPECT_TOLERANCE = 0.02  # relative; another shape is another picture, not another size


class Strokes(NamedTuple):
    """All strokes on a video."""

    maps: dict[int, np.ndarray]
    """{frame: uint8 [H, W]}, in order of frames: 0 none, 1..N objects, 255 background."""
    num_objects: int
    """N, the largest object number."""
    notes: tuple[str, ...] = ()
    """How files were read that are no plain label maps, a line each."""

    def objects(self) -> list[int]:
        """The objects that have a stroke."""
        return sorted({number for numbers in self.frames_of().values() for number in numbers})

    def frames_of(self) -> dict[int, list[int]]:
        """{frame: objects with a stroke on it}, frames without any left out."""
        found = {
            frame: (1 + np.flatnonzero(objects_in(labels, self.num_objects))).tolist()
            for frame, labels in self.maps.items()
        }
        return {frame: numbers for frame, numbers in found.items() if numbers}


class StrokeFileOptions(NamedTuple):
    """How files are to be understood."""

    frame: int | None = None  # of a single map; None: as its name says, or the first
    num_objects: int | None = None  # N: N + 1 is background, as on disk; None: only 255 is
    thickness: float = 5.0  # of lines whose file does not say, pixels at 480p
    resize: bool = False  # fit maps of another size to the video
    background_color: str | None = None  # of painted background strokes
    background_alone: bool = False  # is enough: others are there, or to come


def read_strokes(paths: Sequence[Path], source: Source, options: StrokeFileOptions) -> Strokes:
    """Read the strokes of a video.

    paths: label maps (PNG, BMP) or painted pictures, a folder of them, DAVIS JSON. Of several maps
    each is named after its frame: the frame's own name, or its number counted from 0.
    Raises InputError that names the file: no strokes, another size, an unknown or doubled frame.
    """
    files = [file for path in paths for file in _files(path)]
    places: dict[int, tuple[Path, np.ndarray | None]] = {}
    notes, alone = [], len(files) == 1
    for path in files:
        for frame, labels in _place(path, source, options, alone, notes).items():
            if frame in places:
                raise InputError(f"{path}: frame {frame} has strokes in {places[frame][0]} already")
            places[frame] = path, labels
    raw = _read_maps(places, source, options, notes)
    most = max(int(labels[labels < BACKGROUND].max(initial=0)) for labels in raw.values())
    num_objects = max(most, 1) if options.num_objects is None else options.num_objects
    if most == 0 and not options.background_alone:
        where = ", ".join(str(path) for path in files)
        raise InputError(
            f"{where}: no stroke of an object; expected values 1, 2, ... (255 is background)"
        )
    if not (most <= MAX_OBJECTS + 1 and 1 <= num_objects <= MAX_OBJECTS):
        raise InputError(
            f"strokes with value {most}, --num-objects {num_objects}: expected objects "
            f"1..{MAX_OBJECTS}, and 255 for background"
        )
    maps = {}
    for frame in sorted(raw):
        path, labels = places[frame][0], raw[frame]
        try:
            maps[frame] = from_disk(labels, num_objects)
        except ValueError as error:
            raise InputError(f"{path}: {error}; correct --num-objects") from None
        if not labels.any():
            raise InputError(f"{path}: holds no stroke on frame {frame}; draw one or leave it out")
    strokes = Strokes(maps, num_objects, tuple(notes))
    if not strokes.frames_of() and not options.background_alone:
        raise InputError(f"{files[0]}: only background strokes; draw one on an object (1, 2, ...)")
    return strokes


def describe(strokes: Strokes) -> list[str]:
    """What was understood, so that a wrong reading shows: a line, and one for each painted file."""
    parts = [
        f"frame {frame}: object{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
        for frame, numbers in strokes.frames_of().items()
    ]
    background = any((labels == BACKGROUND).any() for labels in strokes.maps.values())
    said = "; ".join(parts) + (", with" if background else ", without") + " background strokes"
    return [said, *strokes.notes]


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    # pictures of other kinds beside maps are the frames themselves
    files = list_files(path, MAP_SUFFIXES) or list_files(path, PAINTED_SUFFIXES)
    if not files:
        raise InputError(f"{path}: holds no strokes; expected <frame>.png, one for each frame")
    return files


def _place(
    path: Path, source: Source, options: StrokeFileOptions, alone: bool, notes: list[str]
) -> dict[int, np.ndarray | None]:
    """{frame: labels as on disk, None of a map that is not read yet} of one file.

    notes: gets what was mended in it.
    """
    if path.suffix.lower() == ".json":
        maps = _read_lines(path, source, options, notes)
    elif path.suffix.lower() in PAINTED_SUFFIXES:
        maps = {_frame_of(path, source, options, alone): None}
    else:
        raise InputError(
            f"{path}: expected strokes as a picture ({', '.join(PAINTED_SUFFIXES)}) or DAVIS "
            ".json; scripts/convert_scribbles.py makes them of SVG and labelme files"
        )
    for frame in maps:
        _check_frame(path, frame, source)
    return maps


def _read_maps(
    places: dict[int, tuple[Path, np.ndarray | None]],
    source: Source,
    options: StrokeFileOptions,
    notes: list[str],
) -> dict[int, np.ndarray]:
    """{frame: labels as on disk, at the video's size}; notes get how they were understood."""
    painting = PaintOptions(None, options.background_color, options.num_objects)
    raw, plain = {}, []
    for frame in sorted(places):  # in order, so that a colour's first frame numbers it
        path, labels = places[frame]
        if labels is None:
            painting.frame = functools.partial(_picture, source, frame)
            labels, how, _ = read_strokes_file(path, painting)
            labels = _fitted(path, labels, source, options)
            notes += [f"{path.name}: {how}"] if how else []
            plain += [] if how else [labels]
        raw[frame] = labels
    if plain and (doubt := unclear_labels(plain, options.num_objects, "--num-objects ")):
        notes.append(doubt)
    return raw


def _picture(source: Source, frame: int) -> np.ndarray:
    with contextlib.closing(source.forward(frame, source.size)) as frames:
        return next(frames)


def _read_lines(
    path: Path, source: Source, options: StrokeFileOptions, notes: list[str]
) -> dict[int, np.ndarray]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected DAVIS scribbles")
    drawings = read_davis(path, source.size)
    ids = [stroke.object_id for drawing in drawings.values() for stroke in drawing.strokes]
    most = max(ids, default=0)
    notes += [f"{path.name}: dropped {told}" for d in drawings.values() for told in d.mended]
    maps = {}
    for frame, drawing in drawings.items():
        try:
            labels = rasterize(drawing, most, options.thickness)
        except ValueError as error:
            raise InputError(f"{path}: frame {frame}: {error}") from None
        maps[frame] = from_disk(labels, most) if BACKGROUND_ID in ids else labels
    return maps


def _fitted(
    path: Path, labels: np.ndarray, source: Source, options: StrokeFileOptions
) -> np.ndarray:
    """Labels at the video's size."""
    if labels.shape == source.size:
        return labels
    there, wanted = _text(labels.shape), _text(source.size)
    if not options.resize:
        raise InputError(
            f"{path}: strokes of {there} pixels on a video of {wanted}; draw them on a frame of "
            "that size, or give --resize-scribble"
        )
    ratio = (labels.shape[0] / labels.shape[1]) / (source.size[0] / source.size[1])
    if abs(ratio - 1) > _ASPECT_TOLERANCE:
        raise InputError(
            f"{path}: strokes of {there} pixels cannot be resized to {wanted}: another shape; draw "
            "them on a frame as it is shown (a phone's video may be turned)"
        )
    from rhmnet.inputs import resize_strokes  # loads PyTorch, which the canvas must not wait for

    return resize_strokes(labels, source.size)


def _frame_of(path: Path, source: Source, options: StrokeFileOptions, alone: bool) -> int:
    if options.frame is not None:
        if not alone:
            raise InputError(
                f"--frame {options.frame}: is for a single map; name several <frame>.png"
            )
        return options.frame
    frame = source.frame_number(path.stem)
    if frame is None and alone:
        return 0
    if frame is None:
        raise InputError(
            f"{path}: of several maps each must be named after its frame, as in 40{path.suffix}"
        )
    return frame


def _check_frame(path: Path, frame: int, source: Source) -> None:
    count = source.count()
    if count is not None and frame >= count:
        count = source.count_exactly()  # what a file announces may be too little
        if frame >= count:
            raise InputError(
                f"{path}: strokes on frame {frame}, but the video has frames 0..{count - 1}; name "
                "the map after its frame, or give --frame"
            )
    if frame < 0:
        raise InputError(f"{path}: --frame {frame}; expected a frame counted from 0")


def _text(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
