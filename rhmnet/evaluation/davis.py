"""The DAVIS validation tree: lists, frames, dense annotations and drawn scribbles.

    ImageSets/<year>/<set>.txt          one video a line
    JPEGImages/480p/<video>/*.jpg       frames; .png and .jpeg as well
    Annotations/480p/<video>/*.png      label maps, one a frame
    valid_scribbles{0..4}/<video>.bmp   or <video>/00000.bmp, the first frame's name; .png as well

DAVIS-2016 writes its one object as 255. The videos of DAVIS-2016 that DAVIS-2017 annotates object
by object can be read in two ways (docs/method.md, section 9): see `Reading`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rhmnet.errors import InputError
from rhmnet.files.label_maps import read_labels
from rhmnet.files.listing import FRAME_SUFFIXES, MAP_SUFFIXES, list_files
from rhmnet.files.text import read_list

YEARS = (2016, 2017)
_BINARY_OBJECT = 255
_RESOLUTION = "480p"


class DavisError(InputError):
    """Something is missing in a DAVIS folder. Made by `_error`."""

    found: str
    """The message without its remedy, which names options that only the evaluation has."""


class Reading(Enum):
    """Which objects are scored; the value is what reports call it."""

    OBJECTS = "every object by itself (official DAVIS-2017 protocol)"
    MERGED = "all objects merged into one (official DAVIS-2016 protocol)"
    OBJECT1 = "object 1 alone (the RHMNet release's reading of DAVIS-2016)"

    def apply(self, labels: np.ndarray) -> np.ndarray:
        """uint8 [H, W] label map -> the same with the objects that this reading scores, from 1."""
        if self is Reading.OBJECTS:
            return labels
        kept = labels > 0 if self is Reading.MERGED else labels == 1
        return kept.view(np.uint8)


class Video(NamedTuple):
    """One video's files, in order; as many annotations as frames, of the same names."""

    name: str
    frames: tuple[Path, ...]
    annotations: tuple[Path, ...]

    @property
    def masked(self) -> tuple[Path, ...]:
        """The frames whose masks are written: all."""
        return self.frames


class Annotation(NamedTuple):
    """A dense label map."""

    labels: np.ndarray
    """uint8 [H, W], 0 background, 1..N objects."""
    binary: bool
    """True where the file marks its one object as 255, as DAVIS-2016 does."""


@dataclass(frozen=True)
class Davis:
    """One list of videos of a DAVIS folder. Use `open_davis`, which checks that it is there."""

    root: Path
    year: int
    split: str

    def names(self) -> list[str]:
        """The list's videos, in its order."""
        path = self.root / "ImageSets" / str(self.year) / f"{self.split}.txt"
        names = read_list(path)
        if not names:
            raise InputError(f"{path}: no videos in it; expected one name a line")
        return names

    def video(self, name: str) -> Video:
        """Find a video's files. Raises InputError that names it where frames and masks differ."""
        frames = _files(self.root / "JPEGImages" / _RESOLUTION / name, FRAME_SUFFIXES)
        annotations = _files(self.root / "Annotations" / _RESOLUTION / name, (".png",))
        lone = sorted({p.stem for p in frames} ^ {p.stem for p in annotations})
        if lone:
            raise InputError(
                f"video {name}: {len(frames)} frames in {frames[0].parent} but {len(annotations)} "
                f"annotations in {annotations[0].parent} (first without its other half: {lone[0]})"
                "; restore the missing file"
            )
        if len(frames) < 3:
            raise InputError(
                f"video {name}: {len(frames)} frames; expected 3 or more, since the first and the "
                "last are not scored"
            )
        return Video(name, frames, annotations)

    def first_annotation(self, video: Video) -> Annotation:
        """The label map that says which objects a video has. Raises InputError if it is empty."""
        annotation = self.annotation(video.annotations[0])
        if not annotation.labels.any():
            raise InputError(f"{video.annotations[0]}: no object in it; expected labels 1..N")
        return annotation

    def annotation(self, path: Path) -> Annotation:
        """Read a label map. Raises InputError for 255 beside other labels, or in DAVIS-2017."""
        labels = read_labels(path)
        foreign = labels == _BINARY_OBJECT
        if not foreign.any():
            return Annotation(labels, binary=False)
        if self.year == 2017:
            raise _error(
                f"{path}: label 255 is not an object; expected ids 1..N as in DAVIS-2017",
                "0/255 masks are DAVIS-2016's: --year 16",
            )
        if ((labels > 0) & ~foreign).any():
            raise InputError(f"{path}: 255 beside other labels; expected 0 and 255, or ids 1..N")
        return Annotation(foreign.view(np.uint8), binary=True)

    def groups(self) -> list[int]:
        """Numbers of the `valid_scribbles<k>` folders that exist."""
        folders = [p.name for p in self.root.glob("valid_scribbles*") if p.is_dir()]
        numbers = [re.fullmatch(r"valid_scribbles(\d+)", name) for name in folders]
        return sorted(int(match[1]) for match in numbers if match)

    def scribble(self, name: str, group: int, first: str = "00000") -> Path:
        """The file that holds a video's strokes on its first frame, in the given scribble set.

        first: the name of that frame, without suffix.
        """
        folder = self.root / f"valid_scribbles{group}"
        ends = dict.fromkeys(("", f"/{first}", "/00000"))
        choices = [f"{name}{end}{suffix}" for suffix in MAP_SUFFIXES for end in ends]
        for choice in choices:
            if (folder / choice).is_file():
                return folder / choice
        raise InputError(f"{folder}: no scribble of {name}; expected one of {', '.join(choices)}")


def open_davis(root: str | Path, year: int | None = None, split: str = "val") -> Davis:
    """Find a list of videos; the newest year that has it, where none is given.

    Raises InputError that names what is missing and which lists there are.
    """
    root = Path(root)
    if not (root / "ImageSets").is_dir():
        raise _error(
            f"{root}: not a DAVIS folder (no ImageSets in it)",
            "give the folder that holds ImageSets, JPEGImages and Annotations as --data-root",
        )
    for candidate in [year] if year else sorted(YEARS, reverse=True):
        if (root / "ImageSets" / str(candidate) / f"{split}.txt").is_file():
            return Davis(root, candidate, split)
    wanted = root / "ImageSets" / str(year or f"<{'|'.join(map(str, YEARS))}>") / f"{split}.txt"
    found = [p.relative_to(root).as_posix() for p in sorted(root.glob("ImageSets/*/*.txt"))]
    raise _error(
        f"{wanted}: no such file; there is {', '.join(found) or 'no list at all'}",
        "choose with --year 16|17 and --set",
    )


def parse_year(text: str) -> int:
    """16, 17, 2016 or 2017 -> the year."""
    years = {str(y)[-n:]: y for y in YEARS for n in (2, 4)}
    if text not in years:
        raise InputError(f"--year {text}: expected 16 or 17")
    return years[text]


def reading_of(year: int, davis16: str) -> Reading:
    """The protocol of a year; `davis16` (merged or object1) decides for 2016."""
    return Reading.OBJECTS if year == 2017 else Reading[davis16.upper()]


def select(names: Sequence[str], start: int | None, end: int | None, only: str | None) -> list[str]:
    """The slice [start:end] of a list of videos, or the one named `only`."""
    if only is not None:
        if only not in names:
            raise InputError(f"--video_name {only}: not in the list; there are {', '.join(names)}")
        return [only]
    chosen = list(names[start:end])
    if not chosen:
        raise InputError(
            f"--start {start} --end {end}: no video among the {len(names)} of the list"
        )
    return chosen


def _files(folder: Path, suffixes: tuple[str, ...]) -> tuple[Path, ...]:
    """The files of a video in natural order, one of each name."""
    paths = list_files(folder, suffixes)
    kinds = ", ".join(suffixes)
    if not paths:
        why = f"no {kinds} files in it" if folder.is_dir() else "no such folder"
        raise _error(f"{folder}: {why}; expected the video's {kinds} files", "check --data-root")
    alike = [path for path, next_one in pairwise(paths) if path.stem == next_one.stem]
    if alike:
        raise InputError(f"{alike[0]}: another file has the same name but for the suffix; keep one")
    return tuple(paths)


def _error(found: str, remedy: str) -> DavisError:
    error = DavisError(f"{found}; {remedy}")
    error.found = found
    return error
