"""Put files and folders into a tree: complete or not at all, their sources untouched."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from rhmnet.errors import InputError
from rhmnet.files.writing import make_folder, new_file, replacing


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


def place(source: Path, target: Path, copy: bool) -> bool:
    """Make `target` a link to `source`, or a copy of it; False if it is there already.

    Raises InputError where something else lies at `target`, or links cannot be made.
    """
    if target.is_symlink() or target.exists():
        if target.resolve() == source.resolve():
            return False
        if copy and _alike(source, target):
            return False
        raise InputError(f"{target}: is there already and is not {source}; move it away")
    make_folder(target.parent)
    if not copy:
        try:
            # relative, so that a tree that lies beside its sources can move with them
            link = os.path.relpath(source.resolve(), target.parent.resolve())
            target.symlink_to(link, target_is_directory=source.is_dir())
        except OSError as error:
            raise InputError(
                f"{target}: cannot be linked ({error.strerror}); ask for copies with --copy"
            ) from None
        return True
    if source.is_dir():
        with replacing(target) as partial:
            shutil.copytree(source, partial, copy_function=_copy)
    else:
        _copy(source, target)
    return True


def _copy(source: str | Path, target: str | Path) -> None:
    try:
        data = open(source, "rb")  # noqa: SIM115  closed below
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror})") from None
    with data, new_file(target) as file:
        shutil.copyfileobj(data, file)


def _alike(source: Path, target: Path) -> bool:
    if source.is_file() or target.is_file():
        return source.is_file() and target.is_file() and source.read_bytes() == target.read_bytes()
    return _sizes(source) == _sizes(target)


def _sizes(folder: Path) -> dict[Path, int]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.stat().st_size for path in files}
