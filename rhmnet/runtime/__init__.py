"""The frame of every command: its process, which reports errors on one line, its words, its end."""

from __future__ import annotations

import argparse
import ctypes
import errno
import io
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO

from rhmnet.errors import InputError, Range, laid_out, say, short

STOPPED = {signal.SIGINT: 130, signal.SIGTERM: 143}
"""Exit codes of a run that was asked to stop, saved its state and left."""
_PACKAGE = Path(__file__).parents[1]
_UNWRITABLE = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""A reader that has gone, a full disk or quota: what standard output meets."""
_KEPT_FROM_US = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ESTALE, errno.EMFILE),
)
"""Of a file: whatever looked at it, it is the system that says no."""
_EXTRAS = {
    **dict.fromkeys(("skimage", "pycocotools", "svgelements"), "scribbles"),
    "tensorboard": "train",
    **dict.fromkeys(("starlette", "uvicorn", "websockets"), "canvas"),
}
"""Libraries that pyproject.toml's extras bring."""
M_TRIM_THRESHOLD = -1  # of malloc.h
M_MMAP_THRESHOLD = -3
_BYTES = 2**31 - 1
MOST_WORKERS = 256
_MOST_NAME, _MOST_PATH = 255, 4095  # bytes, of the file systems of today
GROUPS = ("model", "data", "train", "loss", "test")
_SETTING = re.compile(r"([A-Za-z]\w*)\.[A-Za-z]\w*=")
_WHOLE = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
_SETTINGS_HELP = (
    "Settings, as test.precision=bfloat16 or data.root=DIR, may stand anywhere. `rhmnet config`\n"
    "(or `python -m rhmnet config`) lists them all, with bounds and defaults."
)


def run_command(main: Callable[[], int | None], keep_memory: bool = False) -> None:
    """Run a command line's `main`; an `InputError` becomes one line on stderr and exit code 2.

    Ctrl-C exits with 130. A file that the system keeps from us is one line, too. Anything else
    is a defect of ours and keeps its traceback.
    keep_memory: call `keep_freed_memory`, which training gains from.
    """
    if keep_memory:
        keep_freed_memory()
    with _shown_streams(), _plain_warnings():
        sys.exit(_run(main))


def _run(main: Callable[[], int | None]) -> int:
    try:
        code = main()
        if sys.stdout is not None:  # closed, as by >&-
            sys.stdout.flush()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except ModuleNotFoundError as error:
        print(f"error: {missing(error)}", file=sys.stderr)
        code = 2
    except OSError as error:
        if error.filename is not None and error.errno in _KEPT_FROM_US:
            name = error.filename
            name = os.fsdecode(name) if isinstance(name, bytes) else name
            told = f"error: {name}: {error.strerror}; see that it is there and yours to use"
            say(told, sys.stderr)
            return 2
        if error.filename is not None or error.errno not in _UNWRITABLE:
            raise
        # what it still holds would be tried again at the end, and fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = (
            141  # as of a program that SIGPIPE ends: nobody reads on, as in `rhmnet config | head`
        )
        if error.errno != errno.EPIPE:
            print(f"error: the output cannot be written ({error.strerror})", file=sys.stderr)
            code = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    return code or 0


@contextmanager
def _shown_streams() -> Iterator[None]:
    """Names in whatever is printed, progress bars too, are shown: they cannot steer a terminal."""
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):  # what a terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = (stream and _Shown(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """What the package warns of is a line for users, without the code that it comes from."""
    before = warnings.showwarning

    def show(message: Warning | str, kind: type, file: str, *place: Any, **more: Any) -> None:
        if kind is UserWarning and Path(file).is_relative_to(_PACKAGE):
            say(f"warning: {message}", sys.stderr)
        else:
            before(message, kind, file, *place, **more)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


class _Shown:
    """A text stream that escapes all but the layout."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(laid_out(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def missing(error: ModuleNotFoundError) -> InputError:
    """What to install for a library that is not there; raises the error itself if it is ours."""
    library = (error.name or "").split(".")[0]
    if library not in _EXTRAS:
        raise error
    extra = _EXTRAS[library]
    return InputError(
        f"{library} is not installed, which this needs: pip install 'rhmnet[{extra}]', or in a "
        f"checkout pip install -e '.[{extra}]'"
    )


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, for its next tensors; whether that could be arranged.

    glibc gives large blocks back to the system at once, and fresh ones are mapped page by page:
    that took a quarter of a float32 training step on the CPU. For programs, not for a library: the
    whole process is affected. Left alone where the user chose something (MALLOC_..., LD_PRELOAD),
    and where the C library is another.
    """
    if any(name.startswith("MALLOC_") for name in os.environ) or os.environ.get("LD_PRELOAD"):
        return False
    mallopt = getattr(ctypes.CDLL(None) if os.name == "posix" else None, "mallopt", None)
    if mallopt is None:
        return False
    # an old glibc refuses more than 32 MiB; without this threshold the other one would do harm: it
    # ends glibc's own adjustment, and every block above 128 KiB would be mapped anew
    if not any(mallopt(M_MMAP_THRESHOLD, most) == 1 for most in (_BYTES, 32 * 2**20)):
        return False
    return mallopt(M_TRIM_THRESHOLD, _BYTES) == 1


class Number:
    """An option's type: a number within bounds, which --help shows."""

    def __init__(self, kind: type, bounds: Range) -> None:
        self._kind, self.bounds = kind, bounds

    def __call__(self, text: str) -> float:
        """The number that the text says."""
        value = self._read(text)
        if value is None or not self.bounds.holds(value):
            raise argparse.ArgumentTypeError(f"{short(text)}: expected {self.bounds}")
        return value

    def _read(self, text: str) -> float | None:
        if self._kind is int:
            return int(text) if _WHOLE.fullmatch(text) else None
        try:
            return float(text)
        except ValueError:
            return None


def whole(least: int, most: int, **more: Any) -> Number:
    """The type of an option that is a whole number; more: the other fields of `Range`."""
    return Number(int, Range(least, most, **more))


def real(least: float, most: float, **more: Any) -> Number:
    """The type of an option that is a number; more: the other fields of `Range`."""
    return Number(float, Range(least, most, **more))


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors are InputError, which refuses empty words and shows bounds.

    settings: take `group.field=value` from wherever it stands, also after an option that takes all
    the words that follow it; they come as the list `overrides`. What follows `--` is taken as it
    is, settings aside.
    """

    def __init__(self, prog: str | None = None, settings: bool = False, **options: Any) -> None:
        options.setdefault("formatter_class", _HelpFormatter)
        if settings:
            options.setdefault("epilog", _SETTINGS_HELP)
        super().__init__(prog, **options)
        self._settings = settings

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Read the words; None for the process's own. Raises InputError."""
        words = list(sys.argv[1:] if args is None else args)
        for index, word in enumerate(words):
            if not word or (word.startswith("--") and word.endswith("=")):
                before = words[index - 1] if index else ""
                named = word or (before if before.startswith("-") else f"argument {index + 1}")
                raise InputError(
                    f"{named.rstrip('=')}: expected a value, found an empty one (a variable of the "
                    "shell that is not set?)"
                )
        if not self._settings:
            return _check_paths(super().parse_args(words, namespace))
        taken = _settings_in(words)
        rest = [word for index, word in enumerate(words) if index not in taken]
        parsed = _check_paths(super().parse_args(rest, namespace))
        parsed.overrides = [words[index] for index in taken]
        return parsed

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the command line, on one line."""
        raise InputError(f"{' '.join(message.split())}; see {self.prog} --help")


def _check_paths(parsed: argparse.Namespace) -> argparse.Namespace:
    """Refuse what no file system holds: every other look at such a path raises an OSError."""
    for value in vars(parsed).values():
        for path in value if isinstance(value, list) else [value]:
            if isinstance(path, str | os.PathLike):
                data = os.fsencode(path)
                longest = max(map(len, data.split(os.sep.encode())))
                if longest > _MOST_NAME or len(data) > _MOST_PATH:
                    raise InputError(
                        f"{short(os.fspath(path))}: a name of {longest} bytes in a path of "
                        f"{len(data)}; expected at most {_MOST_NAME} in {_MOST_PATH}"
                    )
                if b"\0" in data:
                    raise InputError(f"{short(os.fspath(path))}: holds a zero byte; name a file")
    return parsed


def _settings_in(words: Sequence[str]) -> list[int]:
    """Where settings stand.

    One whose group is misspelled counts, so that the right one can be named, unless it is a file or
    an option's value.
    """
    found = []
    for index, word in enumerate(words):
        match = _SETTING.match(word)
        if not match:
            continue
        after_option = index > 0 and words[index - 1].startswith("-")
        if match[1] in GROUPS or not (after_option or os.path.exists(word)):
            found.append(index)
    return found


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps a description's lines, and adds bounds to what an option says."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = super()._get_help_string(action)
        if text and text is not argparse.SUPPRESS and isinstance(action.type, Number):
            return f"{text} [{action.type.bounds}]"
        return text


class StopRequest:
    """Context in which a signal is remembered instead of ending the process.

    patient: keep remembering. Otherwise a second Ctrl-C ends the process at once. (A launcher
    passes on the Ctrl-C that its processes have already had from the terminal.)
    launched: the parent's death is a request too. A launcher may be killed without a word to its
    processes, and they must not train on beside those that a new launcher starts.
    """

    def __init__(self, patient: bool, launched: bool = False) -> None:
        self._patient, self._launched = patient, launched
        self._parent = os.getppid()
        self._code = 0
        self._before: dict[signal.Signals, signal.Handlers] = {}

    @property
    def exit_code(self) -> int:
        """0 until a signal comes or the launcher is gone, then one of `STOPPED`."""
        if not self._code and self._launched and os.getppid() != self._parent:
            self._code = STOPPED[signal.SIGTERM]
        return self._code

    def __enter__(self) -> StopRequest:
        for number in STOPPED:
            self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self._code and number == signal.SIGINT and not self._patient:
            raise KeyboardInterrupt
        self._code = STOPPED[signal.Signals(number)]
