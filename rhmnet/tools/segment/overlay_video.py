"""The video of masks over their frames, for players and browsers."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rhmnet.errors import InputError
from rhmnet.files.concurrency import WriteBehind
from rhmnet.files.writing import replacing
from rhmnet.tools.segment.exports import Export
from rhmnet.visualize import overlay

CODECS = {"mp4": "mp4v", "webm": "VP80"}
"""What OpenCV's wheel can encode everywhere; it has no H.264."""


class OverlayVideo(Export):
    """Masks in colour over the frames, strokes on the frames that have some.

    Encodes MPEG-4 Part 2 into .mp4, which VLC, mpv and ffplay play and browsers do not, or VP8 into
    .webm, which browsers play. Sides are cut to even numbers of pixels, as the codecs need.
    """

    needs_image = True

    def __init__(
        self, path: Path, fps: float, size: tuple[int, int], strokes: Mapping[int, np.ndarray]
    ) -> None:
        self._path, self._fps = path, fps
        self._size = size[0] // 2 * 2, size[1] // 2 * 2
        self._strokes = strokes
        self._index = 0

    def __enter__(self) -> OverlayVideo:
        with ExitStack() as files:
            partial = files.enter_context(replacing(self._path))
            code = cv2.VideoWriter_fourcc(*CODECS[self._path.suffix[1:]])
            self._name = os.fsencode(partial.absolute())  # as VideoFile opens them
            size = self._size[::-1]
            with _silence():  # it prints that webm has no such tag, and writes it all the same
                self._video = cv2.VideoWriter(
                    self._name, cv2.CAP_FFMPEG, code, round(self._fps, 3), size
                )
            if not self._video.isOpened():
                raise InputError(
                    f"{self._path}: cannot be written: this OpenCV cannot encode it, or there is "
                    "no room; make room, leave --overlay out, or take the other of "
                    f"{' and '.join(CODECS)}"
                )
            self._files = files.pop_all()
        return self

    def add(
        self, writer: WriteBehind, name: str, image: np.ndarray | None, labels: np.ndarray
    ) -> None:
        picture = overlay(image, labels, self._strokes.get(self._index))
        picture = picture[: self._size[0], : self._size[1]]
        self._video.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        self._index += 1

    def __exit__(self, *error: Any) -> None:
        with self._files:
            with _silence():
                self._video.release()
            if error[1] is not None:
                raise error[1]
            # OpenCV says nothing of what it could not write
            there = _count_frames(self._name)
            if there != self._index:
                raise InputError(
                    f"{self._path}: cannot be written ({there} of its {self._index} frames could "
                    "be); make room there, or leave --overlay out"
                )


def _count_frames(name: bytes) -> int:
    """Frames of a video that can be decoded."""
    with _silence():
        video = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
        count = 0
        while video.grab():
            count += 1
        video.release()
    return count


@contextmanager
def _silence() -> Generator[None, None, None]:
    """Keep what ffmpeg prints to the error stream, past Python, from the terminal."""
    if sys.stderr is None:  # closed, as by 2>&-
        yield
        return
    sys.stderr.flush()
    with ExitStack() as files:
        kept = os.dup(2)
        files.callback(os.close, kept)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        files.callback(os.close, nowhere)
        os.dup2(nowhere, 2)
        files.callback(os.dup2, kept, 2)
        yield
