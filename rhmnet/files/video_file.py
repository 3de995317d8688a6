"""Frames of a video file, in both directions.

Which frame a seek lands on is not to be trusted (frame rates vary, numbers are made from times), so
the times of all frames are noted on the way forward, and backward a frame is known by its time.
"""

from __future__ import annotations

import bisect
import hashlib
import os
from pathlib import Path

import cv2
import numpy as np

from rhmnet.errors import InputError
from rhmnet.files.concurrency import read_ahead
from rhmnet.files.image_sequence import DEFAULT_FPS, Frames
from rhmnet.inputs import resize_image

_CHUNK_BYTES = 128 << 20
"""Frames that are decoded forward to be handed out backward take up to twice this."""
_LEAST_CHUNK = 8  # frames
_MARGINS = (0, 16, 128)
"""How many frames before the wanted one a seek aims, in turn, until it lands before it."""
_SAME_TIME = 0.01  # milliseconds
_HEAD_AND_TAIL = 1 << 20  # bytes that tell a video from another


class VideoFile:
    """A `Source` of one file that OpenCV reads. Turned as the file says, like in a player.

    Raises InputError for a file that cannot be opened or has no frame.
    """

    def __init__(self, path: Path, fps: float | None = None) -> None:
        self.name = path.stem
        self.note = None
        self._path = path
        self._wanted_fps = fps
        self._times: list[float] = []  # milliseconds, of all frames read so far
        self._ended = False
        capture = self._open()
        found, image = capture.read()
        if not found:
            raise InputError(f"{path}: no frame of it can be read; replace the file")
        self.size = image.shape[:2]
        self._announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._announced_fps = capture.get(cv2.CAP_PROP_FPS)

    def count(self) -> int | None:
        """Frames read, once all are; before, what the file announces."""
        if self._ended:
            return len(self._times)
        return self._announced if self._announced > 0 else None

    def count_exactly(self) -> int:
        """The number of frames; reads through the file if that was not done yet."""
        if not self._ended:
            for _ in self._read(skip=None):
                pass
        return len(self._times)

    def frame_number(self, stem: str) -> int | None:
        return int(stem) if stem.isdecimal() else None

    def frame_name(self, index: int) -> str:
        return f"{index:05d}"

    def fps(self) -> float:
        if self._wanted_fps:
            return self._wanted_fps
        if self.count_exactly() > 1 and self._times[-1] > self._times[0]:
            return 1000 * (len(self._times) - 1) / (self._times[-1] - self._times[0])
        return self._announced_fps if self._announced_fps > 0 else DEFAULT_FPS

    def forward(self, start: int, size: tuple[int, int]) -> Frames:
        for image in self._read(skip=start):
            yield resize_image(image, size)

    def backward(self, start: int, size: tuple[int, int]) -> Frames:
        """Decodes forward in chunks of bounded size, the last one first; each comes reversed."""
        self.count_exactly()
        # while one chunk is handed out, the next is decoded
        yield from read_ahead(self._chunks(start, size), frames_at_once(size))

    def identity(self) -> dict[str, object]:
        return file_identity(self._path)

    def _chunks(self, start: int, size: tuple[int, int]) -> Frames:
        chunk = frames_at_once(size)
        capture = self._open()
        for end in range(start + 1, 0, -chunk):
            begin = max(0, end - chunk)
            capture = self._seek(capture, begin)
            images = [resize_image(self._retrieve(capture, begin), size)]
            for index in range(begin + 1, end):
                if not capture.grab():
                    raise self._changed(index)
                images.append(resize_image(self._retrieve(capture, index), size))
            while images:
                yield images.pop()

    def _read(self, skip: int | None) -> Frames:
        """Decode from the beginning, noting times; frames from number `skip` on, None for none."""
        capture = self._open()
        index = 0
        while capture.grab():
            if index == len(self._times):
                self._times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
            if skip is not None and index >= skip:
                yield self._retrieve(capture, index)
            index += 1
        self._ended = True
        if index < self._announced - 1:
            self.note = (
                f"{self._path}: announces {self._announced} frames, but only {index} can be read; "
                "went on with these"
            )

    def _seek(self, capture: cv2.VideoCapture, index: int) -> cv2.VideoCapture:
        """A capture that has just grabbed frame `index`: by a seek if its time proves it right."""
        for margin in _MARGINS if self._times_tell_frames() else ():
            seconds = (self._times[max(0, index - margin)] - self._times[0]) / 1000
            capture.set(cv2.CAP_PROP_POS_FRAMES, round(seconds * self._announced_fps))
            if not capture.grab():
                continue
            here = self._frame_at(capture.get(cv2.CAP_PROP_POS_MSEC))
            if here is None or here > index:
                continue
            if all(capture.grab() for _ in range(index - here)):
                return capture
        capture = self._open()
        if not all(capture.grab() for _ in range(index + 1)):
            raise self._changed(index)
        return capture

    def _times_tell_frames(self) -> bool:
        """Whether every frame has a time of its own, later than the one before."""
        return self._announced_fps > 0 and bool((np.diff(self._times) > 2 * _SAME_TIME).all())

    def _frame_at(self, time: float) -> int | None:
        index = bisect.bisect_left(self._times, time - _SAME_TIME)
        found = index < len(self._times) and abs(self._times[index] - time) <= _SAME_TIME
        return index if found else None

    def _retrieve(self, capture: cv2.VideoCapture, index: int) -> np.ndarray:
        """The grabbed frame, uint8 [H, W, 3] RGB."""
        found, image = capture.retrieve()
        if not found:
            raise self._changed(index)
        if image.shape[:2] != self.size:
            raise InputError(
                f"{self._path}: frame {index} has {image.shape[1]}x{image.shape[0]} pixels, those "
                f"before {self.size[1]}x{self.size[0]}; cut the video there"
            )
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)

    def _changed(self, index: int) -> InputError:
        return InputError(
            f"{self._path}: frame {index} cannot be decoded, though it was found before; is the "
            "file being written? Try again with a whole copy"
        )

    def _open(self) -> cv2.VideoCapture:
        # absolute: to ffmpeg a colon in a relative name is a protocol; bytes: not all are UTF-8;
        # ffmpeg alone: another backend takes digits in a name for the numbers of images
        capture = cv2.VideoCapture(os.fsencode(self._path.absolute()), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise InputError(
                f"{self._path}: cannot be opened as a video (cut off, or of a kind that OpenCV's "
                "ffmpeg lacks); replace it, or name a folder of its frames"
            )
        return capture


def frames_at_once(size: tuple[int, int]) -> int:
    """How many frames of a size are held to be handed out in reverse."""
    return max(_LEAST_CHUNK, _CHUNK_BYTES // (3 * size[0] * size[1]))


def file_identity(path: Path) -> dict[str, object]:
    """What tells a file from another: its length, the digest of its first and last bytes."""
    digest = hashlib.sha256()
    length = path.stat().st_size
    with open(path, "rb") as file:
        digest.update(file.read(_HEAD_AND_TAIL))
        file.seek(max(0, length - _HEAD_AND_TAIL))
        digest.update(file.read())
    return {"bytes": length, "head and tail": digest.hexdigest()}
