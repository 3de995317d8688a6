"""What is to be segmented: a video file, a folder of images, or images by a pattern.

A reader has `size`, `note`, `count`, `count_exactly`, `fps`, `identity`; `read(begin, end)`, the
frames in order; `stems`, their own names if they have some; and `each_alone`, which says that a
frame takes no longer to reach than the one behind the frame read last.
"""

from __future__ import annotations

import glob
import re
import threading
from collections import OrderedDict
from collections.abc import Generator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from rhmnet.errors import InputError
from rhmnet.files import IMAGE_SUFFIXES, is_hidden, list_files, sort_naturally
from rhmnet.files.concurrency import read_ahead
from rhmnet.files.image_frames import ImageSequence, ImageStack, count_frames
from rhmnet.files.images import resize_image
from rhmnet.files.video_file import VideoFile

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".gif", ".wmv")
Frames = Generator[np.ndarray, None, None]
"""Images one after the other, uint8 [H, W, 3] RGB."""
DEFAULT_FPS = 25.0
"""Frames per second of images, which say none."""
_CHUNK_BYTES = 128 << 20
"""Frames that are decoded forward to be handed out backward take up to twice this."""
_LEAST_CHUNK = 8  # frames
_CACHE_BYTES = 128 << 20
"""Frames that `Source.frame` keeps."""
_LEAST_CACHE = 2  # frames
_PRINTF = re.compile(r"%0?\d*d")
_ANIMATIONS = (".gif", ".apng")


class Source:
    """The frames of a video, in any order, without holding more than a few of them.

    Any frame by its number, or all in one direction; the pixels are the same. Frames may be read in
    several threads at once. A file that OpenCV reads, a folder of images, a pattern
    (`frames/*.png`, `frames/%05d.png`), or an image file with several frames; what is there by
    this name is taken before what a pattern would mean.

    fps: frames per second of images, which do not say; overrides a video's own.
    name: the video's own, without folder and suffix. size: H, W in pixels, as shown (turned, where
    the file says so). reader: what reads the frames.
    Raises InputError where there is nothing to be read, here and while reading.
    """

    def __init__(self, path: str | Path, fps: float | None = None) -> None:
        self.name, self.reader = _open(str(path))
        self.size = self.reader.size
        self._wanted_fps = fps
        self._numbers = {stem: i for i, stem in enumerate(self.reader.stems or ())}
        self._lock = threading.Lock()  # of the cache
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()  # the one asked for last at end

    def __len__(self) -> int:
        """The number of frames that can be read; reads through a video file once."""
        return self.count_exactly()

    def count_exactly(self) -> int:
        """The number of frames that can be read; reads through a video file once."""
        return self.reader.count_exactly()

    def count(self) -> int | None:
        """The number of frames, as far as is known without reading them all."""
        return self.reader.count()

    @property
    def note(self) -> str | None:
        """What the user should know of the file, found while reading."""
        return self.reader.note

    @cached_property
    def fps(self) -> float:
        """Frames per second, the mean where they vary; reads through a video file once."""
        return self._wanted_fps or self.reader.fps() or DEFAULT_FPS

    @property
    def names(self) -> list[str]:
        """The names of all frames' results, without suffix."""
        return [self.frame_name(index) for index in range(len(self))]

    def frame_name(self, index: int) -> str:
        """The name of a frame's results, without suffix: an image's own, else its number."""
        return self.reader.stems[index] if self.reader.stems else f"{index:05d}"

    def frame_number(self, stem: str) -> int | None:
        """The frame that a file with this name is for; None if it names none.

        A frame's own name; else its number, where all frames are numbers; else its place.
        """
        if stem in self._numbers:
            return self._numbers[stem]
        if not stem.isdecimal():
            return None
        if self._numbers and all(name.isdecimal() for name in self._numbers):
            same = [i for name, i in self._numbers.items() if int(name) == int(stem)]
            return same[0] if same else len(self._numbers)
        return int(stem)

    def identity(self) -> dict[str, object]:
        """What tells this source from another, for a run that goes on."""
        return self.reader.identity()

    def frame(self, index: int) -> np.ndarray:
        """Frame `index`, counted from 0: uint8 [H, W, 3] RGB, not to be written to.

        A video file is read in order up to this frame, once. Raises IndexError for a frame that is
        not there.
        """
        with self._lock:
            if index in self._cache:
                self._cache.move_to_end(index)
                return self._cache[index]
            going_back = index + 1 in self._cache
        room = max(_LEAST_CACHE, _CACHE_BYTES // (3 * self.size[0] * self.size[1]))
        run = min(room // 2, _LEAST_CHUNK) if going_back and not self.reader.each_alone else 1
        begin = max(0, index + 1 - run)
        images = list(self.reader.read(begin, index + 1)) if index >= 0 else []
        if len(images) < index + 1 - begin or not images:
            raise IndexError(f"{self.name} has no frame {index}, but {len(self)}, from 0")
        for image in images:
            image.flags.writeable = False
        with self._lock:
            self._cache.update(zip(range(begin, index + 1), images, strict=True))
            while len(self._cache) > room:
                self._cache.popitem(last=False)
        return images[-1]

    def forward(self, start: int, size: tuple[int, int]) -> Frames:
        """Frames start, start + 1, ... up to the last, uint8 [H, W, 3] RGB, resized to `size`."""
        for image in self.reader.read(start):
            yield resize_image(image, size)

    def backward(self, start: int, size: tuple[int, int]) -> Frames:
        """Frames start, start - 1, ... down to 0, likewise.

        Decoded forward in chunks of bounded size, the last one first; each comes reversed. While
        one is handed out, the next is decoded.
        """
        chunk = max(_LEAST_CHUNK, _CHUNK_BYTES // (3 * size[0] * size[1]))
        chunk = 1 if self.reader.each_alone else chunk
        yield from read_ahead(self._reversed(start, size, chunk), chunk)

    def _reversed(self, start: int, size: tuple[int, int], chunk: int) -> Frames:
        for end in range(start + 1, 0, -chunk):
            read = self.reader.read(max(0, end - chunk), end)
            images = [resize_image(image, size) for image in read]
            while images:
                yield images.pop()


def _open(path: str) -> tuple[str, VideoFile | ImageSequence | ImageStack]:
    """What a path stands for: its name, and what reads it."""
    if not path:
        raise InputError("the video's name is empty; expected a video file or a folder of images")
    place = Path(path)
    if place.is_dir():
        paths = list_files(place, IMAGE_SUFFIXES)
        if not paths:
            raise InputError(f"{path}: holds no images; expected {', '.join(IMAGE_SUFFIXES)}")
        return place.resolve().name, ImageSequence(paths)
    if place.is_file():
        if place.suffix.lower() not in (*IMAGE_SUFFIXES, *_ANIMATIONS):
            return place.stem, VideoFile(place)
        several = count_frames(place) > 1
        return place.stem, ImageStack(place) if several else ImageSequence([place])
    if _PRINTF.search(place.name) or glob.has_magic(path):
        paths = _matches(path)
        if not paths:
            raise InputError(f"{path}: no image fits this pattern; quote it, as in 'frames/*.png'")
        return place.parent.name or "frames", ImageSequence(sort_naturally(paths))
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


def find_videos(paths: Sequence[Path]) -> list[Path]:
    """The videos that are named, and those in folders that are named; a folder of images is one.

    Raises InputError that names what is none.
    """
    found = []
    for path in paths:
        if not (path.is_file() or path.is_dir()):
            raise InputError(f"{path}: no such video; expected a video file or a folder")
        if path.is_file() or list_files(path, IMAGE_SUFFIXES):
            found.append(path)
            continue
        inside = sort_naturally([p for p in path.iterdir() if not is_hidden(p.name)])
        videos = [p for p in inside if p.is_file() and p.suffix.lower() in VIDEO_SUFFIXES]
        folders = [p for p in inside if p.is_dir()]
        videos += [p for p in folders if list_files(p, IMAGE_SUFFIXES)]
        if not videos:
            raise InputError(f"{path}: holds no video and no images; name a video file")
        found += videos
    return found
