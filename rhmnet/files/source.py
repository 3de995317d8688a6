"""What is to be segmented: a video file, a folder of images, or images by a pattern."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import Protocol

from rhmnet.errors import InputError
from rhmnet.files.image_sequence import Frames, ImageSequence
from rhmnet.files.image_stack import ImageStack, count_frames
from rhmnet.files.names import IMAGE_SUFFIXES, is_hidden, list_files, sort_naturally
from rhmnet.files.video_file import VideoFile

_PRINTF = re.compile(r"%0?\d*d")
_ANIMATIONS = (".gif", ".apng")


class Source(Protocol):
    """Frames that can be read in both directions without holding more than a few of them."""

    name: str
    """The video's own name, without folder and suffix."""
    size: tuple[int, int]
    """H, W in pixels, as shown (turned, where the file says so)."""
    note: str | None
    """What the user should know of the file, found while reading."""

    def count(self) -> int | None:
        """The number of frames, as far as is known without reading them all."""

    def count_exactly(self) -> int:
        """The number of frames that can be read; may read through the file."""

    def frame_number(self, stem: str) -> int | None:
        """The frame, counted from 0, that a file with this name is for; None if it names none."""

    def frame_name(self, index: int) -> str:
        """The name of a frame's results, without suffix."""

    def fps(self) -> float:
        """Frames per second, the mean where they vary."""

    def forward(self, start: int, size: tuple[int, int]) -> Frames:
        """Frames start, start + 1, ... up to the last, uint8 [H, W, 3] RGB, resized to `size`."""

    def backward(self, start: int, size: tuple[int, int]) -> Frames:
        """Frames start, start - 1, ... down to 0, likewise."""

    def identity(self) -> dict[str, object]:
        """What tells this source from another, for a run that goes on."""


def open_source(path: str, fps: float | None = None) -> Source:
    """Open a video file, a folder of images or a pattern (`frames/*.png`, `frames/%05d.png`).

    What is there by this name is taken before what a pattern would mean.
    fps: frames per second of images, which do not say; overrides a video's own.
    Raises InputError where there is nothing to be read.
    """
    if not path:
        raise InputError("the video's name is empty; expected a video file or a folder of images")
    place = Path(path)
    if place.is_dir():
        paths = list_files(place, IMAGE_SUFFIXES)
        if not paths:
            raise InputError(f"{path}: holds no images; expected {', '.join(IMAGE_SUFFIXES)}")
        return ImageSequence(place.resolve().name, paths, fps)
    if place.is_file():
        if place.suffix.lower() not in (*IMAGE_SUFFIXES, *_ANIMATIONS):
            return VideoFile(place, fps)
        if count_frames(place) > 1:
            return ImageStack(place, fps)
        return ImageSequence(place.stem, [place], fps)
    if _PRINTF.search(place.name) or glob.has_magic(path):
        paths = _matches(path)
        if not paths:
            raise InputError(f"{path}: no image fits this pattern; quote it, as in 'frames/*.png'")
        return ImageSequence(place.parent.name or "frames", sort_naturally(paths), fps)
    raise InputError(
        f"{path}: no such video; expected a video file, a folder of images or 'a/*.png'"
    )


def _matches(pattern: str) -> list[Path]:
    """Images that fit a shell pattern, or one with a number as in %05d.

    Brackets that are part of names are taken as such, as in 'shots [1]/*.png'; where no name has
    them, they are a choice of characters.
    """
    name = Path(pattern).name
    literal = [re.escape(part) for part in _PRINTF.split(name)]
    numbered = re.compile(r"\d+".join(literal)) if len(literal) > 1 else None
    if numbered:
        pattern = str(Path(pattern).parent / "*")
    for candidate in (_escape_brackets(pattern), _escape_what_is_there(pattern)):
        paths = [Path(path) for path in glob.glob(candidate)]
        if numbered:
            paths = [path for path in paths if numbered.fullmatch(path.name)]
        images = [p for p in paths if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
        if images:
            return [path for path in images if not is_hidden(path.name)]
    return []


def _escape_brackets(pattern: str) -> str:
    return pattern.replace("[", "[[]")


def _escape_what_is_there(pattern: str) -> str:
    """A pattern in which the folders at its beginning that exist by name are no pattern."""
    parts = Path(pattern).parts
    there = 0
    while there < len(parts) and Path(*parts[: there + 1]).exists():
        there += 1
    return str(Path(*map(glob.escape, parts[:there]), *parts[there:]))
