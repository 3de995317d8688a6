"""A position in a video file: the frame that was decoded last, and the way on from there."""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Generator
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorTrc, Interpolation, VideoReformatter

from rhmnet.errors import InputError

_TURNS = {
    90: cv2.ROTATE_90_COUNTERCLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_CLOCKWISE,
}


class Place:
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
            raise cannot_open(path, str(error)) from None
        # a file and its streams name each other: what decoders hold would stay for a while
        weakref.finalize(self, self._file.close)
        if not self._file.streams.video or self._file.streams.video[0].codec_context is None:
            raise cannot_open(path, "no video in it, or of a kind that this ffmpeg lacks")
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

    @property
    def size(self) -> tuple[int, int]:
        """H, W of the grabbed frame, turned as the file says."""
        size = self._frame.height, self._frame.width
        return size[::-1] if self._frame.rotation % 180 else size

    def checksum(self) -> int | None:
        """Of the grabbed frame as it was decoded, which is what its picture is made of.

        That spares the picture, the dearer part of passing over a large frame. None for a format
        whose rows are no plain numbers.
        """
        frame, total = self._frame, 0
        parts = frame.format.components
        plain = frame.format.is_planar and not frame.format.has_palette
        if not plain or len(parts) != len(frame.planes):
            return None
        for plane, part in zip(frame.planes, parts, strict=True):
            used = plane.width * -(-part.bits // 8)
            if not 0 < used <= plane.line_size:
                return None
            rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height]
            total = zlib.crc32(np.ascontiguousarray(rows[:, :used]), total)  # the rest is anything
        return total

    def retrieve(self, reformatter: VideoReformatter) -> np.ndarray:
        """The grabbed frame, uint8 [H, W, 3] RGB, turned as the file says.

        Made as OpenCV makes it, bicubic, by way of BGR, in the primaries and transfer of BT.709, it
        has the same bits, but where frames are interlaced: OpenCV 5.0 gives no picture there.
        """
        image = self._picture(reformatter, Interpolation.BICUBIC, self.size)
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        turn = _TURNS.get(self._frame.rotation % 360)
        return image if turn is None else cv2.rotate(image, turn)

    def small(self, width: int, reformatter: VideoReformatter) -> np.ndarray:
        """The grabbed frame shrunk to a width, uint8 [h, width, 3] BGR: to be looked at alone."""
        shape = max(1, round(self.size[0] * width / self.size[1])), width
        turn = _TURNS.get(self._frame.rotation % 360)
        image = self._picture(reformatter, Interpolation.AREA, shape)
        return image if turn is None else cv2.rotate(image, turn)

    def _picture(
        self, reformatter: VideoReformatter, how: Interpolation, shape: tuple[int, int]
    ) -> np.ndarray:
        """The grabbed frame of H, W as shown, uint8 [H, W, 3] BGR, not yet turned."""
        height, width = shape[::-1] if self._frame.rotation % 180 else shape
        return reformatter.reformat(
            self._frame,
            width=width,
            height=height,
            format="bgr24",
            interpolation=how,
            dst_color_primaries=ColorPrimaries.BT709,
            dst_color_trc=ColorTrc.BT709,
        ).to_ndarray()

    def announced(self) -> tuple[int, int, float]:
        """Frames that the file announces, those to be shown among them, and frames per second.

        0 where it does not. An mp4's edit list leaves frames out, by times.
        """
        fps = float(self.stream.average_rate or self.stream.guessed_rate or 0)
        by_time = int((self._file.duration or 0) / av.time_base * fps + 0.5)
        count = self.stream.frames or by_time
        edited = by_time > 0 and "mp4" in self._file.format.name
        return count, min(count, by_time) if edited else count, fps


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


def cannot_open(path: Path, why: str) -> InputError:
    return InputError(
        f"{path}: cannot be opened as a video ({why}); replace it, or name a folder of its frames"
    )
