"""DAVIS: where everything lies, the training videos, and the lists that are evaluated.

    ImageSets/<year>/<set>.txt          one video a line
    JPEGImages/480p/<video>/*.jpg       frames; .png and .jpeg as well
    Annotations/480p/<video>/*.png      label maps, one a frame; only ever scored against
    train_scribbles/<video>/*.bmp       for training, one a frame; .png as well
    valid_scribbles{0..4}/<video>.bmp   or <video>/00000.bmp, the first frame's name; .png as well

DAVIS-2016 writes its one object as 255.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rhmnet.data import Prompt, VideoScribbles, read_painted, size_text, where_from
from rhmnet.errors import InputError
from rhmnet.files import FRAME_SUFFIXES, MAP_SUFFIXES, list_files
from rhmnet.files.images import read_labels
from rhmnet.files.reading import read_list
from rhmnet.labels import BACKGROUND, MAX_OBJECTS, UNLABELLED, from_disk

DAVIS = "DAVIS"
"""The folder's name under `data.root`."""
YEARS = (2016, 2017)
_BINARY_OBJECT = 255


@dataclass(frozen=True)
class DavisFolder:
    """Where everything lies below a DAVIS folder."""

    root: Path

    @property
    def images(self) -> Path:
        return self.root / "JPEGImages" / "480p"

    @property
    def annotations(self) -> Path:
        return self.root / "Annotations" / "480p"

    @property
    def train_scribbles(self) -> Path:
        return self.root / "train_scribbles"

    def valid_scribbles(self, group: int) -> Path:
        return self.root / f"valid_scribbles{group}"

    def list_file(self, year: int | str, split: str) -> Path:
        """The names of the videos of `train`, `val` or another list."""
        return self.root / "ImageSets" / str(year) / f"{split}.txt"

    def groups(self) -> list[int]:
        """Numbers of the `valid_scribbles<k>` folders that exist."""
        folders = [p.name for p in self.root.glob("valid_scribbles*") if p.is_dir()]
        numbers = [re.fullmatch(r"valid_scribbles(\d+)", name) for name in folders]
        return sorted(int(match[1]) for match in numbers if match)

    def scribble(self, name: str, group: int, first: str = "00000") -> Path:
        """The file that holds a video's strokes on its first frame, in the given scribble set.

        first: the name of that frame, without suffix.
        """
        folder = self.valid_scribbles(group)
        ends = dict.fromkeys(("", f"/{first}", "/00000"))
        choices = [f"{name}{end}{suffix}" for suffix in MAP_SUFFIXES for end in ends]
        for choice in choices:
            if (folder / choice).is_file():
                return folder / choice
        raise InputError(f"{folder}: no scribble of {name}; expected one of {', '.join(choices)}")


def open_davis_training(root: Path, min_length: int) -> VideoScribbles:
    """The training videos under `root`, the folder that holds `DAVIS`; see `VideoScribbles`."""
    folder = DavisFolder(root / DAVIS)
    listing = folder.list_file(2017, "train")
    if not listing.is_file():
        raise InputError(f"{listing}: no such file; {where_from(DAVIS)}")
    names = read_list(listing)
    if not names:
        raise InputError(f"{listing}: names no video; expected one name a line")
    return VideoScribbles(
        DAVIS, folder.images, folder.train_scribbles, names, min_length=min_length
    )


class DavisError(InputError):
    """Something is missing in a DAVIS folder. Made by `_error`."""

    found: str
    """The message without its remedy, which names options that only the evaluation has."""


class DavisVideo(NamedTuple):
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
class Davis(DavisFolder):
    """One list of videos of a DAVIS folder. Use `open_davis`, which checks that it is there."""

    year: int
    split: str

    def names(self) -> list[str]:
        """The list's videos, in its order."""
        path = self.list_file(self.year, self.split)
        names = read_list(path)
        if not names:
            raise InputError(f"{path}: no videos in it; expected one name a line")
        return names

    def video(self, name: str) -> DavisVideo:
        """Find a video's files. Raises InputError that names it where frames and masks differ."""
        frames = _files(self.images / name, FRAME_SUFFIXES)
        annotations = _files(self.annotations / name, (".png",))
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
        return DavisVideo(name, frames, annotations)

    def first_annotation(self, video: DavisVideo) -> Annotation:
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


def open_davis(root: str | Path, year: int | None = None, split: str = "val") -> Davis:
    """Find a list of videos; the newest year that has it, where none is given.

    Raises InputError that names what is missing and which lists there are.
    """
    folder = DavisFolder(Path(root))
    root = folder.root
    if not (root / "ImageSets").is_dir():
        raise _error(
            f"{root}: not a DAVIS folder (no ImageSets in it)",
            "give the folder that holds ImageSets, JPEGImages and Annotations as --data-root",
        )
    for candidate in [year] if year else sorted(YEARS, reverse=True):
        if folder.list_file(candidate, split).is_file():
            return Davis(root, candidate, split)
    wanted = folder.list_file(year or f"<{'|'.join(map(str, YEARS))}>", split)
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
        strokes = read_painted(path, video.frames[0], None if annotation.binary else num_objects)
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
