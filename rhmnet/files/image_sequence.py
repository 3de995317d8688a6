"""Frames as image files."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from pathlib import Path

import numpy as np

from rhmnet.errors import InputError
from rhmnet.files.images import image_size, read_image
from rhmnet.inputs import resize_image

Frames = Generator[np.ndarray, None, None]
"""Images one after the other, uint8 [H, W, 3] RGB."""
DEFAULT_FPS = 25.0
"""Frames per second of images, which say none."""


class ImageSequence:
    """A `Source` of image files in a given order. Raises InputError for sizes that differ."""

    def __init__(self, name: str, paths: list[Path], fps: float | None) -> None:
        self.name = name
        self.note = None
        self._paths = paths
        self._fps = fps or DEFAULT_FPS
        self._numbers = {path.stem: index for index, path in enumerate(paths)}
        if len(self._numbers) < len(paths):
            twice = next(p for i, p in enumerate(paths) if self._numbers[p.stem] != i)
            raise InputError(
                f"{twice}: another frame has the same name but for the suffix, and so would its "
                f"mask; pick one kind by a pattern, as in '{twice.parent}/*{twice.suffix}'"
            )
        self.size = image_size(paths[0])
        for path in paths:  # headers alone: better now than after an hour
            if image_size(path) != self.size:
                raise InputError(
                    f"{path}: {_text(image_size(path))} pixels, but {paths[0].name} has "
                    f"{_text(self.size)}; expected frames of one size"
                )

    def count(self) -> int:
        return len(self._paths)

    def count_exactly(self) -> int:
        return len(self._paths)

    def frame_number(self, stem: str) -> int | None:
        """A frame's own name; else its number, where all frames are numbers; else its place."""
        if stem in self._numbers:
            return self._numbers[stem]
        if not stem.isdecimal():
            return None
        if all(name.isdecimal() for name in self._numbers):
            same = [i for name, i in self._numbers.items() if int(name) == int(stem)]
            return same[0] if same else len(self._paths)
        return int(stem)

    def frame_name(self, index: int) -> str:
        return self._paths[index].stem

    def fps(self) -> float:
        return self._fps

    def forward(self, start: int, size: tuple[int, int]) -> Frames:
        for path in self._paths[start:]:
            yield resize_image(read_image(path), size)

    def backward(self, start: int, size: tuple[int, int]) -> Frames:
        for path in reversed(self._paths[: start + 1]):
            yield resize_image(read_image(path), size)

    def identity(self) -> dict[str, object]:
        digest = hashlib.sha256()
        for path in self._paths:
            digest.update(f"{path.name} {path.stat().st_size}\n".encode("utf-8", "surrogateescape"))
        return {"images": len(self._paths), "names and sizes": digest.hexdigest()}


def _text(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
