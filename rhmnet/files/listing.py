"""The files of a folder: one order everywhere, and nothing that a person did not put there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
"""Of one's own frames."""
FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")
"""Of the frames of data sets."""
MAP_SUFFIXES = (".bmp", ".png")
"""Of scribbles and masks."""
_NUMBER = re.compile(r"([0-9]+)")
_LETTERS = 1 << 20  # more than a number has digits


def is_hidden(name: str) -> bool:
    """Whether a file or folder is a system's or an editor's own.

    Macs leave `._00000.png` and `.DS_Store`, notebooks `.ipynb_checkpoints`, archives `__MACOSX`.
    """
    return name.startswith(".") or name == "__MACOSX"


def is_systems(name: str) -> bool:
    """Whether a system puts a file of this name into folders that are looked at, unasked."""
    return name in (".DS_Store", "Thumbs.db", "desktop.ini") or name.startswith("._")


def list_files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files directly in a folder with one of these suffixes (lower case), in natural order.

    Hidden files are left out; a folder that is not there has none.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    wanted = (name for name in names if not is_hidden(name))
    return sort_naturally(
        folder / name for name in wanted if os.path.splitext(name)[1].lower() in suffixes
    )


def walk(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Each folder inside a folder, itself first, with its files; hidden ones left out.

    Folders in alphabetical order, files in natural order.
    """
    for name, folders, files in os.walk(folder):
        folders[:] = sorted(inner for inner in folders if not is_hidden(inner))
        here = Path(name)
        yield here, sort_naturally(here / file for file in files if not is_hidden(file))


def list_folders(folder: Path) -> list[Path]:
    """The folders in a folder, in alphabetical order, hidden ones left out; none if there is none.

    Alphabetical, as videos are called by names: which one a seed draws must not change.
    """
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if not is_hidden(p.name) and p.is_dir())


def by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """`list_files` by name without suffix, in natural order."""
    return {path.stem: path for path in list_files(folder, suffixes)}


def sort_naturally(paths: Iterable[Path]) -> list[Path]:
    """In the order a person gives them: frame2 before frame10, 95 before 100."""
    return sorted(paths, key=lambda path: natural_key(path.name))


def natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sorts names: digits in them by the number that they are, letters whatever their case."""
    return [_part(part) for part in _NUMBER.split(os.path.splitext(name)[0]) if part], name


def _part(part: str) -> tuple[int, str]:
    """Numbers before letters; of numbers, the longer one is larger."""
    if not _NUMBER.fullmatch(part):
        return _LETTERS, part.lower()
    digits = part.lstrip("0")
    return len(digits), digits
