"""Further kinds of results, all made from the masks in one pass over the video."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from tqdm import tqdm

from rhmnet.errors import InputError
from rhmnet.files.label_maps import read_labels
from rhmnet.files.source import Source
from rhmnet.files.threads import WriteBehind, read_ahead
from rhmnet.files.writing import write_encoded
from rhmnet.visualize import overlay

_DEPTH = 8  # frames read ahead, at most
_WORKERS = 2  # threads that write images
CODECS = {"mp4": "mp4v", "webm": "VP80"}
"""What OpenCV's wheel can encode everywhere; it has no H.264."""


class Export(Protocol):
    """One kind of results."""

    needs_image: bool

    def add(self, writer: WriteBehind, name: str, image: np.ndarray | None, labels: np.ndarray):
        """Take the next frame: uint8 [H, W, 3] RGB (None unless needed) and its labels."""

    def close(self) -> None:
        """All frames were added."""


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
    with (
        closing(read_ahead(read, _DEPTH)) as ahead,
        WriteBehind(_WORKERS, _DEPTH) as writer,
        tqdm(total=frames, unit="frame", desc="exporting") as bar,
    ):
        for name, image, labels in ahead:
            for one in exports:
                one.add(writer, name, image, labels)
            bar.update()
            if stopped():
                return False
    for one in exports:
        one.close()
    return True


class OverlayVideo:
    """Masks in colour over the frames, strokes on the frames that have some.

    Encodes MPEG-4 Part 2 into .mp4, which VLC, mpv and ffplay play and browsers do not, or VP8 into
    .webm, which browsers play. Sides are cut to even numbers of pixels, as the codecs need.
    """

    needs_image = True

    def __init__(
        self, path: Path, fps: float, size: tuple[int, int], strokes: Mapping[int, np.ndarray]
    ) -> None:
        self._path = path
        self._partial = path.with_name(f"{path.stem}.partial{path.suffix}")
        self._size = size[0] // 2 * 2, size[1] // 2 * 2
        self._strokes = strokes
        self._index = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        code = cv2.VideoWriter_fourcc(*CODECS[path.suffix[1:]])
        name = os.fsencode(self._partial.absolute())  # as VideoFile opens them
        self._video = cv2.VideoWriter(name, code, round(fps, 3), self._size[::-1])
        if not self._video.isOpened():
            raise InputError(
                f"{path}: this OpenCV cannot encode it; leave --overlay out, or take the other of "
                f"{' and '.join(CODECS)}"
            )

    def add(
        self, writer: WriteBehind, name: str, image: np.ndarray | None, labels: np.ndarray
    ) -> None:
        picture = overlay(image, labels, self._strokes.get(self._index))
        picture = picture[: self._size[0], : self._size[1]]
        self._video.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        self._index += 1

    def close(self) -> None:
        self._video.release()
        self._partial.replace(self._path)


class ObjectMasks:
    """`<folder>/<object>/<frame>.png`, 255 where the object is, else 0."""

    needs_image = False

    def __init__(self, folder: Path, objects: Sequence[int]) -> None:
        self._folders = _folders(folder, objects)

    def add(
        self, writer: WriteBehind, name: str, image: np.ndarray | None, labels: np.ndarray
    ) -> None:
        for number, folder in self._folders.items():
            writer.submit(self._write, folder / f"{name}.png", labels, number)

    def close(self) -> None:
        pass

    @staticmethod
    def _write(path: Path, labels: np.ndarray, number: int) -> None:
        _write_png(path, np.where(labels == number, np.uint8(255), np.uint8(0)))


class CutOuts:
    """`<folder>/<object>/<frame>.png`, RGBA: the frame where the object is, else transparent."""

    needs_image = True

    def __init__(self, folder: Path, objects: Sequence[int]) -> None:
        self._folders = _folders(folder, objects)

    def add(
        self, writer: WriteBehind, name: str, image: np.ndarray | None, labels: np.ndarray
    ) -> None:
        for number, folder in self._folders.items():
            writer.submit(self._write, folder / f"{name}.png", image, labels, number)

    def close(self) -> None:
        pass

    @staticmethod
    def _write(path: Path, image: np.ndarray, labels: np.ndarray, number: int) -> None:
        inside = np.where(labels == number, np.uint8(255), np.uint8(0))
        cut = cv2.bitwise_and(image, image, mask=inside)
        _write_png(path, np.dstack([cut[..., ::-1], inside]))


class CocoFile:
    """COCO annotations, compressed RLE: an image a frame, category and `track_id` the object."""

    needs_image = False

    def __init__(self, path: Path, size: tuple[int, int], names: Sequence[str], objects: list[int]):
        self._rle = rle_functions()
        self._objects = objects
        self._path, self._partial = path, path.with_name(f"{path.name}.partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        images = [
            {"id": i, "file_name": f"{name}.png", "height": size[0], "width": size[1]}
            for i, name in enumerate(names)
        ]
        categories = [{"id": number, "name": f"object {number}"} for number in objects]
        self._frame, self._count = 0, 0
        self._file = open(self._partial, "w", encoding="utf-8")  # noqa: SIM115  closed in close
        head = json.dumps({"images": images, "categories": categories})
        self._file.write(head[:-1] + ', "annotations": [')

    def add(
        self, writer: WriteBehind, name: str, image: np.ndarray | None, labels: np.ndarray
    ) -> None:
        for number in self._objects:
            inside = labels == number
            if inside.any():
                self._add(inside, number)
        self._frame += 1

    def close(self) -> None:
        self._file.write("\n]}\n")
        self._file.close()
        self._partial.replace(self._path)

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
        self._file.write((",\n" if self._count else "\n") + json.dumps(annotation))
        self._count += 1


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
        path.mkdir(parents=True, exist_ok=True)
    return folders


def _write_png(path: Path, pixels: np.ndarray) -> None:
    write_encoded(path, pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
