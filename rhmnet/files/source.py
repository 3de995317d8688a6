"""What is to be segmented: a video file, a folder of images, or images by a pattern."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import Protocol

from rhmnet.errors import InputError
from rhmnet.files.image_sequence import Frames, ImageSequence
from rhmnet.files.listing import IMAGE_SUFFIXES, list_files, sort_naturally
from rhmnet.files.video_file import VideoFile

_PRINTF = re.compile(r"%0?\d*d")


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

    fps: frames per second of images, which do not say; overrides a video's own.
    Raises InputError where there is nothing to be read.
    """
    place = Path(path)
    if place.is_dir():
        paths = list_files(place, IMAGE_SUFFIXES)
        if not paths:
            raise InputError(f"{path}: holds no images; expected {', '.join(IMAGE_SUFFIXES)}")
        return ImageSequence(place.resolve().name, paths, fps)
    if place.is_file():
        if place.suffix.lower() in IMAGE_SUFFIXES:
            return ImageSequence(place.stem, [place], fps)
        return VideoFile(place, fps)
    if _PRINTF.search(path) or glob.has_magic(path):
        paths = _matches(path)
        if not paths:
            raise InputError(f"{path}: no image fits this pattern; quote it, as in 'frames/*.png'")
        return ImageSequence(place.parent.name or "frames", sort_naturally(paths), fps)
    raise InputError(
        f"{path}: no such video; expected a video file, a folder of images or 'a/*.png'"
    )


def _matches(pattern: str) -> list[Path]:
    """Images that fit a shell pattern, or one with a number as in %05d."""
    if not _PRINTF.search(pattern):
        paths = map(Path, glob.glob(pattern))
        return [p for p in paths if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
    folder, name = Path(pattern).parent, Path(pattern).name
    literal = [re.escape(part) for part in _PRINTF.split(name)]
    wanted = re.compile(r"\d+".join(literal))
    return [p for p in folder.glob("*") if wanted.fullmatch(p.name)]
