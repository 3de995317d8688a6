"""The one way from a name to a path: names that files hold lead nowhere but into their folder.

Lists of videos, meta.json, manifests and COCO's JSON may come from anywhere. A name in them is a
file's or a folder's, with folders before it at most; whatever else it is, it is refused where it
is read.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path, PurePosixPath
from typing import Any

from rhmnet.errors import InputError

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
