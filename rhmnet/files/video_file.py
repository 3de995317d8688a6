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
import threading
import weakref
import zlib
from array import array
from collections.abc import Generator
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorTrc, Interpolation, VideoReformatter

from rhmnet.errors import InputError

_KEYS_BACK = (0, 1, 4)
"""At which key frame before the wanted frame a seek aims, in turn, until one proves right."""
_NEAR = 16
"""Frames that are sooner decoded than a seek's pipeline is full again."""
_TURNS = {
    90: cv2.ROTATE_90_COUNTERCLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_CLOCKWISE,
}
_HEAD_AND_TAIL = 1 << 20  # bytes that tell a video from another


class _Place:
    """A position in an open file. Raises InputError where there is no video in it."""

    def __init__(self, path: Path) -> None:
        self.index = -1
        """The frame that was grabbed last."""
        self.in_order = True
        """All frames before it were grabbed, from the beginning."""
        try:
            # absolute: to ffmpeg a colon in a relative name is a protocol
            self._file = av.open(str(path.absolute()))
        except (av.error.FFmpegError, OSError) as error:
            raise _cannot_open(path, str(error)) from None
        # a file and its streams name each other: what decoders hold would stay for a while
        weakref.finalize(self, self._file.close)
        if not self._file.streams.video or self._file.streams.video[0].codec_context is None:
            raise _cannot_open(path, "no video in it, or of a kind that this ffmpeg lacks")
        self.stream = self._file.streams.video[0]
        self.stream.thread_type = "AUTO"
        self._frames = _decode(self._file, self.stream)
        self._frame: av.VideoFrame | None = None

    def seek(self, time: int) -> None:
        """Go to a key frame at or before a time, or so; `index` is not known then."""
        self.in_order, self.index = False, -1
        try:
            self._file.seek(time, stream=self.stream, backward=True)
        except av.error.FFmpegError:
            self._frames = iter(())
        else:
            self._frames = _decode(self._file, self.stream)

    def grab(self) -> bool:
        """Decode the next frame; False at the end."""
        self._frame = next(self._frames, None)
        return self._frame is not None

    @property
    def time(self) -> int | None:
        """Of the grabbed frame, in the stream's unit."""
        return self._frame.pts

    @property
    def at_key(self) -> bool:
        return self._frame.key_frame

    def retrieve(self, reformatter: VideoReformatter) -> np.ndarray:
        """The grabbed frame, uint8 [H, W, 3] RGB, turned as the file says.

        Made as OpenCV makes it, bicubic, by way of BGR, in the primaries and transfer of BT.709, it
        has the same bits, but where frames are interlaced: OpenCV 5.0 gives no picture there.
        """
        image = reformatter.reformat(
            self._frame,
            format="bgr24",
            interpolation=Interpolation.BICUBIC,
            dst_color_primaries=ColorPrimaries.BT709,
            dst_color_trc=ColorTrc.BT709,
        ).to_ndarray()
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        turn = _TURNS.get(self._frame.rotation % 360)
        return image if turn is None else cv2.rotate(image, turn)

    def announced(self) -> tuple[int, int, float]:
        """Frames that the file announces, those to be shown among them, and frames per second.

        0 where it does not. An mp4's edit list leaves frames out, by times.
        """
        fps = float(self.stream.average_rate or self.stream.guessed_rate or 0)
        by_time = int((self._file.duration or 0) / av.time_base * fps + 0.5)
        count = self.stream.frames or by_time
        edited = by_time > 0 and "mp4" in self._file.format.name
        return count, min(count, by_time) if edited else count, fps


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
        self._front: _Place | None = None  # idle, on the frame noted last
        self._spare: _Place | None = None  # idle, anywhere else
        place = _Place(path)
        if not place.grab():
            raise InputError(f"{path}: no frame of it can be read; replace the file")
        self._converting = threading.Lock()
        self._reformatter = VideoReformatter()  # one: its tables take seconds for HDR
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
            for _ in self.read(len(self._times)):
                pass
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

    def _reach(self, place: _Place | None, index: int) -> tuple[_Place, np.ndarray | None]:
        """Frame `index` and the place on it; None where the file ends before it."""
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
            place = _Place(self._path)
        return place, self._read_on(place, index)

    def _candidates(self, place: _Place | None, index: int) -> Generator[_Place, None, None]:
        """Places at or before a noted frame, none of them proven: the one at hand, then seeks."""
        key = bisect.bisect_right(self._keys, index) - 1
        near = self._keys[key] - _NEAR if key >= 0 else -1
        if place is not None and near <= place.index < index:
            yield place
        if not self._times_tell:
            return
        if place is None or place.in_order:
            place = _Place(self._path)
        for back in _KEYS_BACK:
            if key - back <= 0:  # the beginning, where reading in order needs no proof
                return
            self._seek(place, self._keys[key - back])
            if 0 <= place.index <= index:
                yield place

    def _seek(self, place: _Place, index: int) -> None:
        """Aim at a noted frame; the time of the frame grabbed then tells which one it is."""
        place.seek(self._times[index])
        if place.grab() and place.time is not None:
            here = bisect.bisect_left(self._times, place.time)
            if here < len(self._times) and self._times[here] == place.time:
                place.index = here

    def _read_on(self, place: _Place, index: int) -> np.ndarray | None:
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
            new = place.in_order and place.index == len(self._times)
            if new or place.index == index:
                image = self._retrieve(place)
            if new:
                self._note(place, image)
        return image

    def _retrieve(self, place: _Place) -> np.ndarray | None:
        """The grabbed frame, uint8 [H, W, 3] RGB; None if it is none of these after a seek."""
        with self._converting:
            image = place.retrieve(self._reformatter)
        if image.shape[:2] == self.size:
            return image
        if not place.in_order:
            return None
        raise InputError(
            f"{self._path}: frame {place.index} has {image.shape[1]}x{image.shape[0]} pixels, "
            f"those before {self.size[1]}x{self.size[0]}; cut the video there"
        )

    def _note(self, place: _Place, image: np.ndarray) -> None:
        checksum = zlib.crc32(image)
        with self._lock:
            if place.index != len(self._times):  # another thread was faster
                return
            last = self._times[-1] if self._times else None
            time = place.time
            if time is None or (last is not None and time <= last):
                self._times_tell = False
            if place.at_key:
                self._keys.append(place.index)
            self._checksums.append(checksum)
            self._times.append(last or 0 if time is None else time)

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


def _decode(
    file: av.container.InputContainer, stream: av.VideoStream
) -> Generator[av.VideoFrame, None, None]:
    """The frames from where a file stands on, those that are broken left out."""
    packets = file.demux(stream)
    while True:
        try:
            yield from next(packets).decode()
        except StopIteration:
            return
        except av.error.InvalidDataError:  # of one packet: what comes after may be whole
            continue
        except av.error.FFmpegError:
            return


def _cannot_open(path: Path, why: str) -> InputError:
    return InputError(
        f"{path}: cannot be opened as a video ({why}); replace it, or name a folder of its frames"
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
