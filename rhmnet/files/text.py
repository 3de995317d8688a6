"""Text files as editors save them: any mark at their start, any ends of lines."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from rhmnet.errors import InputError
from rhmnet.files.names import check_name

_MARK = "\ufeff"
_ENDS = re.compile(r"\r\n|\r|\n")  # not those that str.splitlines finds inside of names


def read_text(path: Path) -> str:
    """UTF-8, with a byte order mark or without; UTF-16 where a mark says so.

    Raises OSError, and ValueError for other bytes.
    """
    data = path.read_bytes()
    wide = len(data) > 2 and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if wide else "utf-8-sig")


def read_list(path: Path) -> list[str]:
    """The names in a list of videos, one a line, in order; a name may hold spaces.

    Raises InputError that names the file, and what `check_name` raises.
    """
    try:
        lines = _ENDS.split(read_text(path))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read as a list of videos ({error}); expected one name a line, UTF-8"
        ) from None
    names = [line.replace(_MARK, "").strip(" \t\xa0") for line in lines]
    return [check_name(n, f"{path}: line {i}") for i, n in enumerate(names, start=1) if n]
