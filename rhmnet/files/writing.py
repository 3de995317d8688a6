"""The one way to write: a file is whole under its name, or it is the one before, or none.

Everything goes to a temporary name beside the file, is flushed to the disk and then moved into
place. Whatever fails, the temporary file goes, and an InputError says which file and why: a full
disk, no permission, a name that is too long. A link at a file's place is replaced, never followed,
so that nothing outside the folder is touched; where lines are added, it is refused. Folders that
are links are followed.

`TEMPORARY` files that lie about were left by a process that was killed.
"""

from __future__ import annotations

import errno
import io
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from rhmnet.errors import InputError, short

TEMPORARY = ".*.partial*"
"""Matches the files that are still being written."""
_MOST_BYTES = 120  # of a file's name in its temporary name, which must not be too long itself
_REMEDIES = {
    errno.ENOSPC: "make room there, or name another place",
    errno.EDQUOT: "make room in your quota, or name another place",
    errno.EFBIG: "the file system takes no file as large; name another place",
    errno.ENAMETOOLONG: "give it a shorter name: file systems take 255 bytes",
    errno.ENOTDIR: "a file lies where a folder should be; name another place",
    errno.EISDIR: "a folder lies where the file should be; name another place",
    errno.ELOOP: "a link lies there, which is not followed; remove it",
    errno.EEXIST: "a file lies where a folder should be; name another place",
}
_OTHERWISE = "name another place, or make it writable for you"


@contextmanager
def new_file(path: str | Path) -> Iterator[BinaryIO]:
    """A binary file to write to, which takes the place of `path` when the context ends well.

    Its folder is made. Raises InputError that names `path` where the system refuses.
    """
    path = path_of(path)
    with _beside(path, "") as temporary:
        with refused_by_name(path):
            raw = _Raw(temporary, "wb")
        try:
            with io.BufferedWriter(raw, 1 << 16) as file:
                yield file
                file.flush()
                raw.sync()
        except BaseException:
            if raw.failed is not None:  # whatever became of it on its way through a library
                raise _refusal(path, raw.failed) from None
            raise


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A new name beside `path`, for libraries that write by name, of the same suffix.

    What lies there when the context ends well, a file or a folder, takes the place of `path`. The
    caller looks whether it is whole. Raises InputError that names `path` where the system refuses.
    """
    path = path_of(path)
    with _beside(path, path.suffix[:16]) as temporary, refused_by_name(path):
        yield temporary
        if temporary.is_file():
            with _Raw(temporary, "rb+") as file:
                file.sync()


def write_bytes(path: str | Path, data: bytes | memoryview) -> None:
    """Write a whole file."""
    with new_file(path) as file:
        file.write(data)


def write_text(path: str | Path, text: str) -> None:
    """Write a whole file in UTF-8; names that were not UTF-8 keep their bytes."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_json(path: str | Path, content: Any, indent: int | None = 1, **options: Any) -> None:
    """Write plain values as JSON; options are those of `json.dumps`."""
    write_text(path, json.dumps(content, indent=indent, **options) + "\n")


def write_picture(path: str | Path, picture: Any, kind: str, **options: Any) -> None:
    """Write a Pillow image as `kind` (PNG, BMP, ...); options are those of `Image.save`.

    It is encoded in memory: Pillow writes to files by itself, and takes no notice of a full disk.
    """
    write_bytes(path, picture_bytes(picture, kind, **options))


def picture_bytes(picture: Any, kind: str, **options: Any) -> memoryview:
    """What `write_picture` writes."""
    data = io.BytesIO()
    picture.save(data, format=kind, **options)
    return data.getbuffer()


def write_encoded(path: str | Path, pixels: Any, options: Sequence[int] = ()) -> None:
    """Write uint8 [H, W], BGR or BGRA as OpenCV encodes it for the suffix of `path`.

    options: those of `cv2.imencode`.
    """
    import cv2

    done, data = cv2.imencode(Path(path).suffix, pixels, list(options))
    if not done:
        raise InputError(f"{path}: OpenCV cannot encode this picture; name another kind of file")
    write_bytes(path, data)


def write_torch(path: str | Path, content: Any) -> None:
    """Write tensors and plain values with `torch.save`."""
    import torch

    with new_file(path) as file:
        torch.save(content, file)


def torch_bytes(content: Any) -> bytes:
    """What `torch.save` makes of tensors and plain values."""
    import torch

    data = io.BytesIO()
    torch.save(content, data)
    return data.getvalue()


def add_line(path: str | Path, line: str, lasting: bool = False) -> None:
    """Add a line to a file's end, which is as before where that fails; its folder is made.

    lasting: wait until the disk has it.
    """
    path = Path(path)
    make_folder(path.parent)
    with refused_by_name(path), _Raw(path, "ab+", opener=no_link) as file:
        before = file.seek(0, os.SEEK_END)
        # one before it that was cut off must not take this one with it
        cut = before > 0 and os.pread(file.fileno(), 1, before - 1) != b"\n"
        data = memoryview(b"\n" * cut + line.encode("utf-8", "surrogateescape") + b"\n")
        try:
            while data:
                data = data[file.write(data) :]
            if lasting:
                file.sync()
        except OSError:
            with suppress(OSError):
                file.truncate(before)
            raise


def make_folder(path: str | Path) -> None:
    """Make a folder and those above it. Raises InputError that names it where it cannot be."""
    with refused_by_name(path):
        path_of(path).mkdir(parents=True, exist_ok=True)


def move(finished: Path, path: Path) -> None:
    """Move a file, or a folder to where none is, to its place; the folder above it is made."""
    make_folder(path.parent)
    with refused_by_name(path):
        os.replace(finished, path)


def link_or_copy(source: Path, target: Path, copy: bool) -> bool:
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


def remove(path: str | Path) -> None:
    """Remove a file, a folder with all in it, or a link, but not what it leads to; if it is there.

    Raises InputError where the system refuses.
    """
    path = Path(path)
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except NotADirectoryError:  # a file lies on the way to it: it is not there
        return
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"{path}: cannot be removed ({why}); remove it yourself") from None


def remove_unfinished(folder: Path, below: bool = False) -> None:
    """Remove what a run that was killed while it wrote has left in a folder that is one's alone.

    below: in the folders in it, too.
    """
    for path in list(folder.rglob(TEMPORARY) if below else folder.glob(TEMPORARY)):
        remove(path)


@contextmanager
def refused_by_name(path: str | Path) -> Iterator[None]:
    """Turn an OSError, while `path` is written, into an InputError that names it."""
    try:
        yield
    except OSError as error:
        raise _refusal(path, error) from None


def path_of(path: Any) -> Path:
    """A path that a file may have; raises InputError for anything else."""
    try:
        if not os.fsencode(path) or b"\0" in os.fsencode(path):
            raise ValueError
        return Path(path)
    except (TypeError, ValueError):
        raise InputError(f"{short(path)}: no name of a file or folder; expected one") from None


def no_link(path: str, flags: int) -> int:
    """An `opener` that refuses a link, which could lead out of the folder; no pipe holds it up."""
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    return os.open(path, flags, 0o666)


def _refusal(path: str | Path, error: OSError) -> InputError:
    """What to tell of an OSError at `path`."""
    remedy = _REMEDIES.get(error.errno, _OTHERWISE)
    return InputError(f"{path}: cannot be written ({error.strerror or error}); {remedy}")


class _Raw(io.FileIO):
    """A file that remembers why a write failed."""

    failed: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failed = error
            raise

    def sync(self) -> None:
        """Wait until the disk has it, so that the new name never leads to a file without bytes."""
        try:
            os.fsync(self.fileno())
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
                self.failed = error
                raise


@contextmanager
def _beside(path: Path, suffix: str) -> Iterator[Path]:
    """A new name beside `path`, to be filled, which is then renamed; nothing stays of a failure."""
    make_folder(path.parent)
    with refused_by_name(path):
        _check_replaceable(path)
    start = os.fsencode(path.name)[:_MOST_BYTES].decode("utf-8", "ignore")
    # random, so that two processes that write one file do not meet in it
    temporary = path.with_name(f".{start}.{secrets.token_hex(4)}.partial{suffix}")
    try:
        yield temporary
        with refused_by_name(path):
            os.replace(temporary, path)
    except BaseException:
        with suppress(InputError):
            remove(temporary)
        raise


def _check_replaceable(path: Path) -> None:
    """Raise OSError or InputError where something lies at `path` that no file may replace."""
    try:
        there = path.lstat()
    except FileNotFoundError:
        return
    stream = stat.S_ISLNK(there.st_mode) and os.readlink(path).startswith("/proc/")
    if stream or not (stat.S_ISREG(there.st_mode) or stat.S_ISLNK(there.st_mode)):
        if stat.S_ISDIR(there.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        raise InputError(f"{path}: is a device, not a file; name a file")


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
