"""Lists of videos, one a line."""

from __future__ import annotations

from pathlib import Path

from rhmnet.errors import InputError


def read_list(path: Path) -> list[str]:
    """The names in a list, in order; a name may hold spaces.

    Raises InputError that names the file.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read as a list of videos ({error}); expected one name a line"
        ) from None
    return [line.strip() for line in lines if line.strip()]
