"""What the page shows: frames as JPEG, masks and strokes as PNG or as runs, as wide as it asks."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from rhmnet.errors import InputError
from rhmnet.files.images import mask_bytes
from rhmnet.files.reading import read_bytes
from rhmnet.files.source import Source
from rhmnet.files.video_file import VideoFile
from rhmnet.files.writing import write_bytes

INDEX = "frames.index"
"""In a project's folder: what reading through the video told."""
WIDTHS = (320, 480, 640, 960, 1280, 1920, 2560, 3840)  # of shrunk pictures: few, to find again
_JPEG_QUALITY = 90
_KEPT_BYTES = 96 * 2**20  # of JPEGs
_DRAFT_WIDTH, _DRAFT_QUALITY = 480, 80
_DRAFT_BYTES = 128 * 2**20  # of drafts in all; frames after that have none
_SLOW_PIXELS = 100e6
"""To be decoded from the key frame before a frame on: more take too long to wait for.

On two slow cores these take 0.1 s. `_OTHERS` frames may be under way before it."""
_OTHERS = 16
_RUN = 8  # frames before the one that is asked for, where one goes backwards and they are slow


class Pictures:
    """Frames as JPEG, by number; the latest are kept. Any thread.

    Where key frames of a large video are sparse, a frame takes seconds to reach. Of those a small
    picture, a draft, is kept when the file is read for the first time, which is before it is shown.

    path: of the video, which is opened, as `source`. index: file that an earlier start wrote, which
    spares reading through a video file. seen: called for each frame on the way, with how many the
    file announces.
    """

    def __init__(self, path: str, index: Path, seen: Callable[[int | None], object]) -> None:
        self.source, self._index, self._seen = Source(path), index, seen
        self._lock = threading.Lock()  # of what follows
        self._kept: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._bytes = 0
        self._drafts: dict[int, bytes] = {}
        self._draft_bytes = 0
        self._decoding = threading.Lock()
        """One at a time and so in order, each from where the one before it left off: side by side
        each would start from a key frame, with a decoder's memory of its own."""
        self._closing = False
        self._has_index = False
        reader = self.source.reader
        if not isinstance(reader, VideoFile):
            return
        with suppress(InputError):
            self._has_index = reader.take_index(read_bytes(index, "an index"))
        reader.on_first_sight = self._see
        reader.count_exactly()

    def begin(self) -> None:
        """The folder is the video's: write the index, or draw what reading would have drawn."""
        if not isinstance(self.source.reader, VideoFile):
            return
        if self._has_index:
            threading.Thread(target=self._draw_again, daemon=True).start()
        else:
            with suppress(InputError):  # all goes without it, later
                write_bytes(self._index, self.source.reader.index())

    def close(self) -> None:
        """End the thread that draws drafts."""
        self._closing = True

    def jpeg(self, frame: int, width: int | None, soon: bool = False) -> tuple[bytes, bool]:
        """A frame, about `width` pixels wide (the next of WIDTHS) at most; None: its own size.

        soon: a draft will do, where the frame takes long to reach. Returns whether it is one, too.
        """
        width = _shown_width(self.source.size[1], width)
        if (kept := self._find(frame, width)) is not None:
            return kept, False
        if soon and frame in self._drafts:
            return self._drafts[frame], True
        with self._decoding:
            if (kept := self._find(frame, width)) is not None:
                return kept, False
            back = frame in self._drafts and self._find(frame + 1, width) is not None
            for index in range(max(0, frame - _RUN) if back else frame, frame):
                if self._find(index, width) is None:
                    self._keep(index, width, _encoded(index, self.source.frame(index), width))
            data = _encoded(frame, self.source.frame(frame), width)
            self._keep(frame, width, data)
        return data, False

    def _find(self, frame: int, width: int) -> bytes | None:
        with self._lock:
            if (frame, width) in self._kept:
                self._kept.move_to_end((frame, width))
            return self._kept.get((frame, width))

    def _keep(self, frame: int, width: int, data: bytes) -> None:
        with self._lock:
            if (frame, width) not in self._kept:
                self._kept[frame, width] = data
                self._bytes += len(data)
            while self._bytes > _KEPT_BYTES and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1])

    def _see(self, frame: int, behind: int, small: Callable[[int], np.ndarray]) -> None:
        self._draw_draft(frame, behind, small)
        self._seen(self.source.count())

    def _draw_again(self) -> None:
        """Drafts of a video whose index was kept: beside all else, while the page is there."""
        if not self._is_slow(self.source.reader.farthest_from_key()):
            return
        with suppress(InputError):  # the file is gone: whatever asks for a frame says so
            for told in self.source.reader.look_through():
                self._draw_draft(*told)
                if self._closing or self._draft_bytes > _DRAFT_BYTES:
                    return

    def _is_slow(self, behind: int) -> bool:
        """Whether a frame so far behind a key frame takes long to reach."""
        height, width = self.source.size
        return (behind + _OTHERS) * height * width > _SLOW_PIXELS

    def _draw_draft(self, frame: int, behind: int, small: Callable[[int], np.ndarray]) -> None:
        """See `VideoFile.on_first_sight`."""
        if not self._is_slow(behind) or self._draft_bytes > _DRAFT_BYTES:
            return
        image = small(min(self.source.size[1], _DRAFT_WIDTH))
        done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _DRAFT_QUALITY])
        with self._lock:
            if done and frame not in self._drafts:
                self._drafts[frame] = data.tobytes()
                self._draft_bytes += len(data)


def _encoded(frame: int, image: np.ndarray, width: int) -> bytes:
    """uint8 [H, W, 3] RGB as JPEG."""
    image = cv2.cvtColor(_resized(image, width, cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise InputError(f"frame {frame}: OpenCV cannot encode it as JPEG; report the video")
    return data.tobytes()


def palette_png(labels: np.ndarray, width: int | None = None) -> bytes:
    """uint8 [H, W] as PNG, the bytes that masks have on disk; width: as in `Pictures.jpeg`."""
    width = _shown_width(labels.shape[1], width)
    return bytes(mask_bytes(_resized(labels, width, cv2.INTER_NEAREST)))


def runs_of(labels: np.ndarray, width: int | None = None) -> tuple[bytes, tuple[int, int]]:
    """uint8 [H, W] as runs of one label, row after row; its width and height as sent.

    A browser takes them up in a tenth of the time of a PNG of 4K. Little-endian uint32: for each
    run the number of the pixel behind it; then uint8: the label of each.
    """
    labels = _resized(labels, _shown_width(labels.shape[1], width), cv2.INTER_NEAREST)
    flat = labels.ravel()
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size)
    return ends.astype("<u4").tobytes() + flat[ends - 1].tobytes(), labels.shape[::-1]


def _shown_width(own: int, wanted: int | None) -> int:
    """The width that a picture is sent with: the next of WIDTHS, but not above its own."""
    if wanted is None:
        return own
    return min(own, next((width for width in WIDTHS if width >= wanted), own))


def _resized(image: np.ndarray, width: int, how: int) -> np.ndarray:
    if width == image.shape[1]:
        return image
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return cv2.resize(image, (width, height), interpolation=how)
