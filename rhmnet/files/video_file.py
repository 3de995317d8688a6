"""Frames of a video file, any of them, each with the very pixels of reading in order.

Neither which frame a seek lands on nor how it decodes is to be trusted: frame rates vary, edit
lists shift times, headers announce what is not there, and the first frames of an open group refer
to the group before. So on the way in order the time of each frame and a checksum of its pixels, as
they are decoded, are noted. A seek counts only if it gives these pixels; else an earlier one is
tried, at last reading from the beginning.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
import sys
import threading
import zlib
from array import array
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from rhmnet.errors import InputError
from rhmnet.files.reading import parse_json, sealed_bytes, unsealed_bytes
from rhmnet.files.video_place import Place

_KEYS_BACK = (0, 1, 4)
"""At which key frame before the wanted frame a seek aims, in turn, until one proves right."""
_NEAR = 16
"""Frames that are sooner decoded than a seek's pipeline is full again."""
_HEAD_AND_TAIL = 1 << 20  # bytes that tell a video from another


class VideoFile:
    """A reader (see `Source`) of one file that ffmpeg reads. Turned as the file says.

    May be read in several threads at once. Raises InputError for a file that cannot be opened or
    has no frame, or frames of several sizes.
    """

    stems = None
    each_alone = False

    def __init__(self, path: Path) -> None:
        self.note: str | None = None
        self._path = path
        self._lock = threading.Lock()  # of what follows
        self._times = array("q")  # in the stream's unit, of all frames read in order so far
        self._checksums = array("L")  # of their pixels
        self._keys = array("L")  # those among them that are key frames
        self._times_tell = True  # every frame has a time of its own, later than the one before
        self._ended = False
        self.on_first_sight: Callable[[int, int, Callable[[int], np.ndarray]], object] | None = None
        """Called with each frame that is read for the first time: its number, how many frames lie
        between it and the key frame before it, and what gives a small picture by its width."""
        self._front: Place | None = None  # idle, on the frame noted last
        self._spare: Place | None = None  # idle, anywhere else
        place = Place(path)
        if not place.grab():
            raise InputError(f"{path}: no frame of it can be read; replace the file")
        self._converting = threading.Lock()
        self._reformatter = VideoReformatter()  # one: its tables take seconds for HDR
        self._small_reformatter = VideoReformatter()
        self.size = place.retrieve(self._reformatter).shape[:2]
        self._announced, self._shown, self._announced_fps = place.announced()
        self._unit = place.stream.time_base

    def count(self) -> int | None:
        """Frames read, once all are; before, what the file announces."""
        if self._ended:
            return len(self._times)
        return self._announced if self._announced > 0 else None

    def count_exactly(self) -> int:
        """The number of frames; reads through the file if that was not done yet."""
        while not self._ended:
            place = self._take(len(self._times)) or Place(self._path)
            try:
                self._read_on(place, sys.maxsize)
            finally:
                self._leave(place)
        return len(self._times)

    def fps(self) -> float | None:
        """The mean rate, for which all is read; else what the file announces."""
        if self.count_exactly() > 1 and self._times[-1] > self._times[0]:
            return float((len(self._times) - 1) / ((self._times[-1] - self._times[0]) * self._unit))
        return self._announced_fps if self._announced_fps > 0 else None

    def read(self, begin: int, end: int | None = None) -> Generator[np.ndarray, None, None]:
        """Frames begin, begin + 1, ... before `end`, or up to the last; uint8 [H, W, 3] RGB."""
        place = self._take(begin)
        try:
            for index in itertools.count(begin) if end is None else range(begin, end):
                place, image = self._reach(place, index)
                if image is None:
                    return
                yield image
        finally:
            self._leave(place)

    def identity(self) -> dict[str, object]:
        return file_identity(self._path)

    def index(self) -> bytes:
        """What reading through the file told, for `take_index` of a later process; reads it."""
        self.count_exactly()
        head = {**self._made_of(), "counts": [len(self._times), len(self._keys)]}
        head["times tell"] = self._times_tell
        columns = (self._times, self._checksums, self._keys)
        text = json.dumps(head).encode() + b"\n"
        return sealed_bytes(text + b"".join(np.asarray(c, "<i8").tobytes() for c in columns))

    def take_index(self, data: bytes) -> bool:
        """Spare reading through the file; False where the index is of another file or decoder.

        What it says is proven as everything is, by the frames' checksums.
        """
        head, _, body = (unsealed_bytes(data) or b"").partition(b"\n")
        try:
            told = parse_json(head, str(self._path))
            counts, numbers = told.pop("counts"), np.frombuffer(body, "<i8")
            times_tell = told.pop("times tell")
            times, checksums, keys = np.split(numbers, [counts[0], 2 * counts[0]])
            known = told == self._made_of() and len(times) == len(checksums) == counts[0]
            if not known or len(keys) != counts[1] or not counts[0]:
                return False
        except (InputError, ValueError, TypeError, KeyError, AttributeError):
            return False
        with self._lock:
            self._times = array("q", times.tolist())
            self._checksums, self._keys = array("L", checksums.tolist()), array("L", keys.tolist())
            self._times_tell = bool(times_tell)
        self._end(counts[0])
        return True

    def farthest_from_key(self) -> int:
        """Frames between a frame and the key frame before it, at most."""
        edges = [*self._keys, len(self._times)]
        return max((b - a - 1 for a, b in itertools.pairwise(edges)), default=0)

    def look_through(self) -> Generator[tuple[int, int, Callable[[int], np.ndarray]], None, None]:
        """All frames in order once more, as `on_first_sight` is told of them."""
        place, behind = Place(self._path), -1
        while place.grab():
            place.index += 1
            behind = 0 if place.at_key else behind + 1
            yield place.index, behind, partial(place.small, reformatter=self._small_reformatter)

    def _made_of(self) -> dict[str, object]:
        return {**self.identity(), "decoder": av.__version__}

    def _reach(self, place: Place | None, index: int) -> tuple[Place, np.ndarray | None]:
        """Frame `index` and the place on it; None where the file ends before it."""
        if index < len(self._times):
            for sought in self._candidates(place, index):
                image = self._read_on(sought, index)
                if image is not None and (
                    sought.in_order or self._checksum(sought, image) == self._checksums[index]
                ):
                    return sought, image
        elif place is not None and not place.in_order:  # a seek cannot be proven from here on
            self._leave(place)
            place = self._take(index)
        if place is None or not place.in_order or place.index >= index:
            place = Place(self._path)
        return place, self._read_on(place, index)

    def _candidates(self, place: Place | None, index: int) -> Generator[Place, None, None]:
        """Places at or before a noted frame, none of them proven: the one at hand, then seeks."""
        key = bisect.bisect_right(self._keys, index) - 1
        near = self._keys[key] - _NEAR if key >= 0 else -1
        if place is not None and near <= place.index < index:
            yield place
        if not self._times_tell:
            return
        if place is None or place.in_order:
            place = Place(self._path)
        for back in _KEYS_BACK:
            if key - back <= 0:  # the beginning, where reading in order needs no proof
                return
            self._seek(place, self._keys[key - back])
            if 0 <= place.index <= index:
                yield place

    def _seek(self, place: Place, index: int) -> None:
        """Aim at a noted frame; the time of the frame grabbed then tells which one it is."""
        place.seek(self._times[index])
        if place.grab() and place.time is not None:
            here = bisect.bisect_left(self._times, place.time)
            if here < len(self._times) and self._times[here] == place.time:
                place.index = here

    def _read_on(self, place: Place, index: int) -> np.ndarray | None:
        """Frame `index`, at or after a place; None if it cannot be had from there.

        What is read in order for the first time is noted.
        """
        image = None if place.index < index else self._retrieve(place)
        while place.index < index:
            if not place.grab():
                if place.in_order:
                    self._end(place.index + 1)
                return None
            place.index += 1
            if place.index == index:
                image = self._retrieve(place)
            if place.in_order and place.index == len(self._times):
                self._note(place, image)
        return image

    def _retrieve(self, place: Place) -> np.ndarray | None:
        """The grabbed frame, uint8 [H, W, 3] RGB; None if it is none of these after a seek."""
        if place.size != self.size and not place.in_order:
            return None
        self._check_size(place)
        with self._converting:
            return place.retrieve(self._reformatter)

    def _check_size(self, place: Place) -> None:
        if place.size != self.size:
            raise InputError(
                f"{self._path}: frame {place.index} has {place.size[1]}x{place.size[0]} pixels, "
                f"those before {self.size[1]}x{self.size[0]}; cut the video there"
            )

    def _checksum(self, place: Place, image: np.ndarray | None) -> int:
        """What tells the grabbed frame's pixels; image: they, if there was need of them."""
        checksum = place.checksum()
        if checksum is None:
            checksum = zlib.crc32(self._retrieve(place) if image is None else image)
        return checksum

    def _note(self, place: Place, image: np.ndarray | None) -> None:
        self._check_size(place)
        checksum = self._checksum(place, image)
        with self._lock:
            if place.index != len(self._times):  # another thread was faster
                return
            last = self._times[-1] if self._times else None
            time = place.time
            if time is None or (last is not None and time <= last):
                self._times_tell = False
            if place.at_key:
                self._keys.append(place.index)
            behind = place.index - (self._keys[-1] if self._keys else 0)
            self._checksums.append(checksum)
            self._times.append(last or 0 if time is None else time)
        if self.on_first_sight is not None:
            small = partial(place.small, reformatter=self._small_reformatter)
            self.on_first_sight(place.index, behind, small)

    def _end(self, count: int) -> None:
        """Reading in order ended after `count` frames."""
        if count < len(self._times):
            raise self._changed(count)
        with self._lock:
            self._ended, self._front = True, None
        if count < self._shown - 1:
            self.note = (
                f"{self._path}: announces {self._shown} frames, but only {count} can be read; "
                "went on with these"
            )

    def _take(self, index: int) -> Place | None:
        """The idle place from which to read a frame, if there is one."""
        with self._lock:
            if index < len(self._times):
                place, self._spare = self._spare, None
            else:
                place, self._front = self._front, None
        return place

    def _leave(self, place: Place | None) -> None:
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


def file_identity(path: Path) -> dict[str, object]:
    """What tells a file from another: its length, the digest of its first and last bytes."""
    digest = hashlib.sha256()
    length = path.stat().st_size
    with open(path, "rb") as file:
        digest.update(file.read(_HEAD_AND_TAIL))
        file.seek(max(0, length - _HEAD_AND_TAIL))
        digest.update(file.read())
    return {"bytes": length, "head and tail": digest.hexdigest()}
