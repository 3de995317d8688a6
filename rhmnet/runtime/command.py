"""The process of a command line: how it reports errors, how it gets its memory."""

from __future__ import annotations

import ctypes
import errno
import io
import os
import sys
from collections.abc import Callable

from rhmnet.errors import InputError


def run_command(main: Callable[[], int | None], keep_memory: bool = False) -> None:
    """Run a command line's `main`; an `InputError` becomes one line on stderr and exit code 2.

    Ctrl-C exits with 130. Anything else is a defect of ours and keeps its traceback.
    keep_memory: call `keep_freed_memory`, which training gains from.
    """
    if keep_memory:
        keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):  # a name that is no UTF-8 is shown, not raised
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main()
        sys.stdout.flush()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except ModuleNotFoundError as error:
        print(f"error: {missing(error)}", file=sys.stderr)
        code = 2
    except OSError as error:
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
    sys.exit(code or 0)


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


_UNWRITABLE = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""A reader that has gone, a full disk or quota: what standard output meets."""
_EXTRAS = {"skimage": "scribbles", "pycocotools": "scribbles", "tensorboard": "train"}
"""Libraries that pyproject.toml's extras bring."""
M_TRIM_THRESHOLD = -1  # of malloc.h
M_MMAP_THRESHOLD = -3
_BYTES = 2**31 - 1
