"""Names of files: what a name may be, and which files a folder holds, in which order.

Lists of videos, meta.json, manifests and COCO's JSON may come from anywhere. A name in them is a
file's or a folder's, with folders before it at most; whatever else it is, it is refused where it
is read, so that it leads nowhere but into its folder. Folders are listed in one order everywhere,
without what a person did not put there.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from rhmnet.errors import InputError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
"""Of one's own frames."""
FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")
"""Of the frames of data sets."""
MAP_SUFFIXES = (".bmp", ".png")
"""Of scribbles and masks."""
_NUMBER = re.compile(r"([0-9]+)")
_LETTERS = 1 << 20  # more than a number has digits
MOST_BYTES = 255
"""Of one name, on the file systems of today."""
_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_LONGEST_SHOWN = 80


def check_name(name: Any, where: str | Path) -> str:
    """The name itself, if it is one.

    where: the file, and the key in it, that an error names. Raises InputError for anything but
    text, for absolute names and `..` (with `/` or the separators of Windows), control characters,
    halves of characters, and for what file systems cannot hold.
    """
    if not isinstance(name, str):
        raise InputError(f"{where}: {_cut(repr(name))} is no name; expected text")
    why = _fault(name)
    if why:
        raise InputError(f"{where}: name '{_cut(name)}' {why}; expected a plain name")
    return name


def from_windows(name: str) -> str:
    """The name with `/` for the separators of Windows, which some data sets' JSON has."""
    return name.replace("\\", "/")


def _fault(name: str) -> str | None:
    kinds = {unicodedata.category(character) for character in name}
    if "Cs" in kinds:
        return "holds a byte or half of a character that is no text"
    if "Cc" in kinds:
        return "holds a control character"
    if name.startswith("/") or _DRIVE.match(name):
        return "is absolute"
    if ".." in re.split(r"[/\\]", name):
        return "leads out of its folder"
    parts = PurePosixPath(name).parts
    if not parts:
        return "is empty"
    longest = max(len(part.encode()) for part in parts)
    if longest > MOST_BYTES:
        return f"has {longest} bytes, more than {MOST_BYTES}"
    return None


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def given_or_below(path: Path, root: Path, what: str) -> Path:
    """A path as it was given, from the current folder, or else below `root`.

    what: for the message. Raises InputError that names both places where neither is there.
    """
    places = [path] if path.is_absolute() else [path, root / path]
    for found in places:
        if os.path.exists(found):  # a name that no file system holds is not there
            return found
    looked = " and ".join(map(str, places))
    raise InputError(f"{looked}: no such file or folder; expected {what}")


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
