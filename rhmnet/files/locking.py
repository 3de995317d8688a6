"""Keep other runs out of a folder, or wait until they have left."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from rhmnet.errors import InputError, say
from rhmnet.files.writing import make_folder, no_link, refused_by_name

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = ".lock"
SECONDS_TO_LEAVE = 60.0
"""How long a run waits for one before it, whose launcher was killed, to save and leave."""
_BETWEEN_LOOKS = 0.05  # seconds


@contextmanager
def alone_in(
    folder: Path, remedy: str, seconds: float | None = None, tidy: bool = False
) -> Iterator[None]:
    """Keep other runs out of a folder, which is made if need be, while the context lasts.

    A record lock: the system drops it however the process ends, and no worker process inherits
    it, which might outlive this one. It does not keep the threads of one process apart.
    remedy: what to do about a run that stays. seconds: waited for it to leave; None for a minute.
    tidy: remove the lock's file in the end.
    Raises InputError where one stays, or the folder cannot be made.
    """
    until = time.monotonic() + (SECONDS_TO_LEAVE if seconds is None else seconds)
    told = False
    while True:
        make_folder(folder)
        with refused_by_name(folder):
            file = open(folder / LOCK, "a", opener=no_link)  # noqa: SIM115  closed below
        try:
            if _locked(file):
                if not _is_at(file, folder / LOCK):  # removed by the run that left
                    continue
                try:
                    yield
                finally:
                    if tidy:
                        with suppress(OSError):
                            os.unlink(folder / LOCK)
                return
            if time.monotonic() >= until:
                raise InputError(f"another run writes to {folder}; {remedy}")
            if not told:
                say(f"waiting for the run that writes to {folder} to leave", sys.stderr)
                told = True
            time.sleep(_BETWEEN_LOOKS)
        finally:
            file.close()


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _locked(file: IO[str]) -> bool:
    """False if another process holds the file's lock."""
    if fcntl is None:
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks is no reason not to work
        return True
    return True
