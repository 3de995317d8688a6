"""Further kinds of results, all made from the masks in one pass over the video."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from rhmnet.errors import InputError
from rhmnet.files.concurrency import WriteBehind, read_ahead
from rhmnet.files.images import read_labels
from rhmnet.files.source import Source
from rhmnet.files.writing import make_folder, new_file, replacing, write_encoded
from rhmnet.tools.segment.stroke_files import Strokes
from rhmnet.tools.segment.summary import write_summary
from rhmnet.visualize import overlay

CODECS = {"mp4": "mp4v", "webm": "VP80"}
"""What OpenCV's wheel can encode everywhere; it has no H.264."""
_DEPTH = 8  # frames read ahead, at most
_WORKERS = 2  # threads that write images


class Export(AbstractContextManager):
    """One kind of results: a context, which ends well when all frames were added."""

    needs_image = False

    def add(
        self, writer: WriteBehind, name: str, image: np.ndarray | None, labels: np.ndarray
    ) -> None:
        """Take the next frame: uint8 [H, W, 3] RGB (None unless needed) and its labels."""
        raise NotImplementedError

    def __exit__(self, *error: Any) -> None:
        pass


class _Stopped(Exception):
    pass


def export(
    exports: Sequence[Export],
    source: Source,
    masks: Path,
    frames: int,
    stopped: Callable[[], object],
) -> bool:
    """Feed all frames, in order, to the exports; False if `stopped` said to stop before the end."""
    pictures = any(one.needs_image for one in exports)
    read = _read(source, masks, frames, pictures)
    try:
        with ExitStack() as files:
            for one in exports:
                files.enter_context(one)
            ahead = files.enter_context(closing(read_ahead(read, _DEPTH)))
            writer = files.enter_context(WriteBehind(_WORKERS, _DEPTH))
            bar = files.enter_context(tqdm(total=frames, unit="frame", desc="exporting"))
            for name, image, labels in ahead:
                for one in exports:
                    one.add(writer, name, image, labels)
                bar.update()
                if stopped():
                    raise _Stopped
    except _Stopped:
        return False
    return True


def write_outputs(
    wanted: argparse.Namespace,
    folder: Path,
    source: Source,
    strokes: Strokes,
    masks: Path,
    statistics: Callable[[int, int], np.ndarray],
    stopped: Callable[[], object],
) -> bool:
    """Write all that is wanted into a folder; False if `stopped` said to stop before the end.

    wanted: with the fields summary, overlay (a container), objects, cutouts, coco. masks: their
    folder. statistics: float64 [T, 3, O] of all frames and objects, by their numbers; see Results.
    """
    count, objects = source.count_exactly(), strokes.objects()
    names = [source.frame_name(index) for index in range(count)]
    if wanted.summary:
        head = {"video": source.name, "size": list(source.size), "fps": round(source.fps, 3)}
        write_summary(
            folder / "summary.json",
            statistics(count, strokes.num_objects),
            names,
            objects,
            list(strokes.frames_of()),
            head,
        )
    exports: list[Export] = []
    if wanted.overlay:
        path = folder / f"overlay.{wanted.overlay}"
        exports.append(OverlayVideo(path, source.fps, source.size, strokes.maps))
    if wanted.objects:
        exports.append(ObjectMasks(folder / "objects", objects))
    if wanted.cutouts:
        exports.append(CutOuts(folder / "cutouts", objects))
    if wanted.coco:
        exports.append(CocoFile(folder / "coco.json", source.size, names, objects))
    return not exports or export(exports, source, masks, count, stopped)


class ObjectMasks(Export):
    """`<folder>/<object>/<frame>.png`, 255 where the object is, else 0."""

    def __init__(self, folder: Path, objects: Sequence[int]) -> None:
        self._folders = _folders(folder, objects)

    def add(
        self, writer: WriteBehind, name: str, image: np.ndarray | None, labels: np.ndarray
    ) -> None:
        for number, folder in self._folders.items():
            writer.submit(self._write, folder / f"{name}.png", labels, number)

    @staticmethod
    def _write(path: Path, labels: np.ndarray, number: int) -> None:
        _write_png(path, np.where(labels == number, np.uint8(255), np.uint8(0)))


class CutOuts(Export):
    """`<folder>/<object>/<frame>.png`, RGBA: the frame where the object is, else transparent."""

    needs_image = True

    def __init__(self, folder: Path, objects: Sequence[int]) -> None:
        self._folders = _folders(folder, objects)

    def add(
        self, writer: WriteBehind, name: str, image: np.ndarray | None, labels: np.ndarray
    ) -> None:
        for number, folder in self._folders.items():
            writer.submit(self._write, folder / f"{name}.png", image, labels, number)

    @staticmethod
    def _write(path: Path, image: np.ndarray, labels: np.ndarray, number: int) -> None:
        inside = np.where(labels == number, np.uint8(255), np.uint8(0))
        cut = cv2.bitwise_and(image, image, mask=inside)
        _write_png(path, np.dstack([cut[..., ::-1], inside]))


class CocoFile(Export):
    """COCO annotations, compressed RLE: an image a frame, category and `track_id` the object."""

    def __init__(self, path: Path, size: tuple[int, int], names: Sequence[str], objects: list[int]):
        self._rle = rle_functions()
        self._objects, self._path = objects, path
        images = [
            {"id": i, "file_name": f"{name}.png", "height": size[0], "width": size[1]}
            for i, name in enumerate(names)
        ]
        categories = [{"id": number, "name": f"object {number}"} for number in objects]
        self._frame, self._count = 0, 0
        self._head = json.dumps({"images": images, "categories": categories})

    def __enter__(self) -> CocoFile:
        with ExitStack() as files:
            self._file = files.enter_context(new_file(self._path))
            self._write(self._head[:-1] + ', "annotations": [')
            self._files = files.pop_all()
        return self

    def add(
        self, writer: WriteBehind, name: str, image: np.ndarray | None, labels: np.ndarray
    ) -> None:
        for number in self._objects:
            inside = labels == number
            if inside.any():
                self._add(inside, number)
        self._frame += 1

    def __exit__(self, *error: Any) -> None:
        with self._files:
            if error[1] is not None:
                raise error[1]
            self._write("\n]}\n")

    def _add(self, inside: np.ndarray, number: int) -> None:
        rle = self._rle.encode(np.asfortranarray(inside, np.uint8))
        annotation: dict[str, Any] = {
            "id": self._count + 1,
            "image_id": self._frame,
            "category_id": number,
            "track_id": number,
            "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
            "area": int(self._rle.area(rle)),
            "bbox": self._rle.toBbox(rle).tolist(),
            "iscrowd": 0,
        }
        self._write((",\n" if self._count else "\n") + json.dumps(annotation))
        self._count += 1

    def _write(self, text: str) -> None:
        self._file.write(text.encode())


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
            self._name = os.fsencode(partial.absolute())
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


def rle_functions() -> Any:
    """pycocotools.mask; raises InputError where it is not installed."""
    try:
        from pycocotools import mask
    except ImportError:
        raise InputError(
            "--coco needs pycocotools; install it with: pip install 'rhmnet[scribbles]'"
        ) from None
    return mask


def _read(
    source: Source, masks: Path, frames: int, pictures: bool
) -> Generator[tuple[str, np.ndarray | None, np.ndarray], None, None]:
    images = source.forward(0, source.size) if pictures else None
    for index in range(frames):
        name = source.frame_name(index)
        image = None if images is None else next(images)
        yield name, image, read_labels(masks / f"{name}.png")


def _folders(folder: Path, objects: Sequence[int]) -> dict[int, Path]:
    folders = {number: folder / str(number) for number in objects}
    for path in folders.values():
        make_folder(path)
    return folders


def _write_png(path: Path, pixels: np.ndarray) -> None:
    write_encoded(path, pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])


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
