"""Put files and folders into a tree: complete or not at all, their sources untouched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rhmnet.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which then takes the place of `path`; its folder is made.

    Raises InputError, one line, where the system refuses.
    """
    partial = path.with_name(f"{path.name}.partial")
    with refused_by_name(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)


@contextmanager
def refused_by_name(path: Path) -> Iterator[None]:
    """Turn an OSError, while `path` is written, into an InputError that names it."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); "
            "name another place, or make room and permission for it"
        ) from None


def place(source: Path, target: Path, copy: bool) -> bool:
    """Make `target` a link to `source`, or a copy of it; False if it is there already.

    Raises InputError where something else lies at `target`, or links cannot be made.
    """
    if target.is_symlink() or target.exists():
        if target.resolve() == source.resolve():
            return False
        if copy and _same_names(source, target):
            return False
        raise InputError(f"{target}: is there already and is not {source}; move it away")
    with refused_by_name(target):
        target.parent.mkdir(parents=True, exist_ok=True)
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
    with replacing(target) as partial:
        if source.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(source, partial)
        else:
            shutil.copy2(source, partial)
    return True


def _same_names(source: Path, target: Path) -> bool:
    if source.is_file() or target.is_file():
        return source.is_file() and target.is_file() and source.read_bytes() == target.read_bytes()
    names = ({path.relative_to(root) for path in root.rglob("*")} for root in (source, target))
    return next(names) == next(names)
