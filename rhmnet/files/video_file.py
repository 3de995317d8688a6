"""Frames of a video file, any of them, each with the very pixels of reading in order.

Neither which frame a seek lands on nor how it decodes is to be trusted: frame rates vary, edit
lists shift times, headers announce what is not there, and the first frames of an open group refer
to the group before. So on the way in order the time of each frame and a checksum of its pixels are
noted. A seek counts only if it gives these pixels; else an earlier one is tried, at last reading
from the beginning.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import os
import threading
import zlib
from array import array
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from rhmnet.errors import InputError

_MARGINS = (0, 16, 128)
"""How many frames before the wanted one a seek aims, in turn, until one proves right."""
_NEAR = 32
"""Frames over which reading on is not slower than a seek, which begins at a key frame."""
_SAME_TIME = 0.01  # milliseconds
_HEAD_AND_TAIL = 1 << 20  # bytes that tell a video from another


@dataclass
class _Place:
    """A position in an open file."""

    capture: cv2.VideoCapture
    index: int = -1
    """The frame that was grabbed last."""
    in_order: bool = True
    """All frames before it were grabbed, from the beginning."""


class VideoFile:
    """A reader (see `Source`) of one file that OpenCV reads. Turned as the file says.

    May be read in several threads at once. Raises InputError for a file that cannot be opened or
    has no frame, or frames of several sizes.
    """

    stems = None
    each_alone = False

    def __init__(self, path: Path) -> None:
        self.note: str | None = None
        self._path = path
        self._lock = threading.Lock()  # of what follows
        self._times = array("d")  # milliseconds, of all frames read in order so far
        self._checksums = array("L")
        self._times_tell = True  # every frame has a time of its own, later than the one before
        self._ended = False
        self._front: _Place | None = None  # idle, on the frame noted last
        self._spare: _Place | None = None  # idle, anywhere else
        place = self._open()
        found, image = place.capture.read()
        if not found:
            raise InputError(f"{path}: no frame of it can be read; replace the file")
        self.size = image.shape[:2]
        self._announced = int(place.capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._announced_fps = place.capture.get(cv2.CAP_PROP_FPS)

    def count(self) -> int | None:
        """Frames read, once all are; before, what the file announces."""
        if self._ended:
            return len(self._times)
        return self._announced if self._announced > 0 else None

    def count_exactly(self) -> int:
        """The number of frames; reads through the file if that was not done yet."""
        while not self._ended:
            for _ in self.read(len(self._times)):
                pass
        return len(self._times)

    def fps(self) -> float | None:
        """The mean rate, for which all is read; else what the file announces."""
        if self.count_exactly() > 1 and self._times[-1] > self._times[0]:
            return 1000 * (len(self._times) - 1) / (self._times[-1] - self._times[0])
        return self._announced_fps if self._announced_fps > 0 else None

    def read(self, begin: int, end: int | None = None) -> Generator[np.ndarray, None, None]:
        """Frames begin, begin + 1, ... before `end`, or up to the last; uint8 [H, W, 3] RGB."""
        place = self._take(begin)
        try:
            for index in itertools.count(begin) if end is None else range(begin, end):
                place, image = self._reach(place, index)
                if image is None:
                    return
                yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
        finally:
            self._leave(place)

    def identity(self) -> dict[str, object]:
        return file_identity(self._path)

    def _reach(self, place: _Place | None, index: int) -> tuple[_Place, np.ndarray | None]:
        """Frame `index`, BGR, and the place on it; None where the file ends before it."""
        if index < len(self._times):
            for sought in self._candidates(place, index):
                image = self._read_on(sought, index)
                if image is not None and (
                    sought.in_order or zlib.crc32(image) == self._checksums[index]
                ):
                    return sought, image
        elif place is not None and not place.in_order:  # a seek cannot be proven from here on
            self._leave(place)
            place = self._take(index)
        if place is None or not place.in_order or place.index >= index:
            place = self._open()
        return place, self._read_on(place, index)

    def _candidates(self, place: _Place | None, index: int) -> Generator[_Place, None, None]:
        """Places at or before a noted frame, none of them proven: the one at hand, then seeks."""
        if place is not None and place.index < index <= place.index + _NEAR:
            yield place
        if index < _NEAR or not self._times_tell or self._announced_fps <= 0:
            return
        if place is None or place.in_order:
            place = self._open()
        for margin in _MARGINS:
            self._seek(place, max(0, index - margin))
            if 0 <= place.index <= index:
                yield place

    def _seek(self, place: _Place, index: int) -> None:
        """Aim at a noted frame; the time of the frame grabbed then tells which one it is."""
        seconds = (self._times[index] - self._times[0]) / 1000
        place.capture.set(cv2.CAP_PROP_POS_FRAMES, round(seconds * self._announced_fps))
        place.in_order, place.index = False, -1
        if place.capture.grab():
            time = place.capture.get(cv2.CAP_PROP_POS_MSEC)
            with self._lock:
                here = bisect.bisect_left(self._times, time - _SAME_TIME)
                if here < len(self._times) and abs(self._times[here] - time) <= _SAME_TIME:
                    place.index = here

    def _read_on(self, place: _Place, index: int) -> np.ndarray | None:
        """Frame `index`, BGR, at or after a place; None if it cannot be had from there.

        What is read in order for the first time is noted.
        """
        image = None if place.index < index else self._retrieve(place)
        while place.index < index:
            if not place.capture.grab():
                if place.in_order:
                    self._end(place.index + 1)
                return None
            place.index += 1
            new = place.in_order and place.index == len(self._times)
            if new or place.index == index:
                image = self._retrieve(place)
            if new:
                self._note(place, image)
        return image

    def _retrieve(self, place: _Place) -> np.ndarray | None:
        """The grabbed frame, uint8 [H, W, 3] BGR; None if it is none of these after a seek."""
        found, image = place.capture.retrieve()
        if found and image.shape[:2] == self.size:
            return image
        if not place.in_order:
            return None
        if not found:
            raise self._changed(place.index)
        raise InputError(
            f"{self._path}: frame {place.index} has {image.shape[1]}x{image.shape[0]} pixels, "
            f"those before {self.size[1]}x{self.size[0]}; cut the video there"
        )

    def _note(self, place: _Place, image: np.ndarray) -> None:
        time, checksum = place.capture.get(cv2.CAP_PROP_POS_MSEC), zlib.crc32(image)
        with self._lock:
            if place.index != len(self._times):  # another thread was faster
                return
            if self._times and time - self._times[-1] <= 2 * _SAME_TIME:
                self._times_tell = False
            self._checksums.append(checksum)
            self._times.append(time)

    def _end(self, count: int) -> None:
        """Reading in order ended after `count` frames."""
        if count < len(self._times):
            raise self._changed(count)
        with self._lock:
            self._ended, self._front = True, None
        if count < self._announced - 1:
            self.note = (
                f"{self._path}: announces {self._announced} frames, but only {count} can be read; "
                "went on with these"
            )

    def _take(self, index: int) -> _Place | None:
        """The idle place from which to read a frame, if there is one."""
        with self._lock:
            if index < len(self._times):
                place, self._spare = self._spare, None
            else:
                place, self._front = self._front, None
        return place

    def _leave(self, place: _Place | None) -> None:
        """Keep a place for later. The front is worth more: only reading in order leads there."""
        with self._lock:
            if place is None:
                return
            if place.in_order and place.index == len(self._times) - 1 and not self._ended:
                self._front = place
            else:
                self._spare = place

    def _changed(self, index: int) -> InputError:
        return InputError(
            f"{self._path}: frame {index} cannot be decoded, though it was found before; is the "
            "file being written? Try again with a whole copy"
        )

    def _open(self) -> _Place:
        # absolute: to ffmpeg a colon in a relative name is a protocol; bytes: not all are UTF-8;
        # ffmpeg alone: another backend takes digits in a name for the numbers of images
        capture = cv2.VideoCapture(os.fsencode(self._path.absolute()), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise InputError(
                f"{self._path}: cannot be opened as a video (cut off, or of a kind that OpenCV's "
                "ffmpeg lacks); replace it, or name a folder of its frames"
            )
        return _Place(capture)


def file_identity(path: Path) -> dict[str, object]:
    """What tells a file from another: its length, the digest of its first and last bytes."""
    digest = hashlib.sha256()
    length = path.stat().st_size
    with open(path, "rb") as file:
        digest.update(file.read(_HEAD_AND_TAIL))
        file.seek(max(0, length - _HEAD_AND_TAIL))
        digest.update(file.read())
    return {"bytes": length, "head and tail": digest.hexdigest()}
