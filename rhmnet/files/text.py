"""Text files as editors save them: any mark at their start, any ends of lines."""

from __future__ import annotations

import codecs
from pathlib import Path

from rhmnet.errors import InputError

_MARK = "\ufeff"


def read_text(path: Path) -> str:
    """UTF-8, with a byte order mark or without; UTF-16 where a mark says so.

    Raises OSError, and ValueError for other bytes.
    """
    data = path.read_bytes()
    wide = len(data) > 2 and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if wide else "utf-8-sig")


def read_list(path: Path) -> list[str]:
    """The names in a list of videos, one a line, in order; a name may hold spaces.

    Raises InputError that names the file.
    """
    try:
        lines = read_text(path).splitlines()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read as a list of videos ({error}); expected one name a line, UTF-8"
        ) from None
    names = (line.replace(_MARK, "").strip() for line in lines)
    return [name for name in names if name]
