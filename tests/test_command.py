"""Commands keep what they free; what the user chose stays."""

from __future__ import annotations

import errno
import io
import os
import platform
import subprocess
import sys
import warnings

import pytest
from tqdm import tqdm

from rhmnet import runtime as command
from rhmnet.errors import say

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")

KEEP = """
from rhmnet.runtime import keep_freed_memory
print(keep_freed_memory())
"""
FAULTS = """
import resource, torch
def faults():
    for repeat in range(12):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(20_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
"""


def run(program: str, **env: str) -> list[str]:
    unset = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "LD_PRELOAD"))}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=unset | env, check=True)
    return done.stdout.split()


@needs_glibc
def test_memory_is_mapped_once() -> None:
    faults_without, said, faults = run(f"{FAULTS}print(faults()){KEEP}print(faults())")
    assert said == "True"
    assert int(faults) < 100 < int(faults_without)


@needs_glibc
def test_what_the_user_chose_is_left_alone() -> None:
    assert run(KEEP, MALLOC_ARENA_MAX="4") == ["False"]


@pytest.mark.parametrize(
    ("largest", "expected"),
    [
        (2**31 - 1, {command.M_MMAP_THRESHOLD: 2**31 - 1, command.M_TRIM_THRESHOLD: 2**31 - 1}),
        (32 * 2**20, {command.M_MMAP_THRESHOLD: 32 * 2**20, command.M_TRIM_THRESHOLD: 2**31 - 1}),
        (0, {}),  # trimming alone would make it worse
    ],
    ids=["new", "old", "refusing"],
)
def test_an_old_glibc_gets_the_most_it_takes(
    largest: int, expected: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = {}

    class Libc:
        @staticmethod
        def mallopt(name: int, value: int) -> int:
            if name == command.M_MMAP_THRESHOLD and value > largest:
                return 0
            taken[name] = value
            return 1

    for name in [n for n in os.environ if n.startswith(("MALLOC_", "LD_PRELOAD"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(command.os, "name", "posix")
    monkeypatch.setattr(command.ctypes, "CDLL", lambda _: Libc)
    assert command.keep_freed_memory() is bool(expected)
    assert taken == expected


def test_a_name_that_is_no_utf8_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python refuses such characters on a terminal whose locale is UTF-8 by name."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "utf-8", errors="strict"))
    with pytest.raises(SystemExit) as ended:
        command.run_command(lambda: print("wrote a\udcffb"))
    sys.stdout.flush()
    assert ended.value.code == 0
    assert written.getvalue() == b"wrote a\\xffb\n"


def test_names_cannot_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in ("stdout", "stderr"):
        written = io.BytesIO()
        with monkeypatch.context() as patched:
            patched.setattr(sys, stream, io.TextIOWrapper(written, "utf-8"))
            own = getattr(sys, stream)

            def talk(stream: str = stream) -> None:
                print("a\x1b[2J\u202eb\ttwo\nlines é █", file=getattr(sys, stream))
                for _ in tqdm([0], desc="\x1b]0;title\x07", file=getattr(sys, stream), ncols=60):
                    pass

            with pytest.raises(SystemExit):
                command.run_command(talk)
            assert getattr(sys, stream) is own
            own.flush()
        assert written.getvalue().startswith(
            "a\\x1b[2J\\u202eb\ttwo\nlines é █\n\r\\x1b]0;".encode()
        )
        assert b"\x1b" not in written.getvalue() and b"\x07" not in written.getvalue()


def test_a_line_is_said_in_one(capsys: pytest.CaptureFixture) -> None:
    say("wrote a\nb\rc")
    assert capsys.readouterr().out == "wrote a\\nb\\rc\n"


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENAMETOOLONG, errno.EROFS])
def test_a_file_that_the_system_keeps_is_one_line(code: int, capsys: pytest.CaptureFixture) -> None:
    def fail() -> None:
        raise OSError(code, os.strerror(code), b"a\nb")

    with pytest.raises(SystemExit) as ended:
        command.run_command(fail)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: a\\nb: {os.strerror(code)}; ")


def test_what_the_package_warns_of_is_a_line(capsys: pytest.CaptureFixture) -> None:
    place = os.path.join(os.path.dirname(command.__file__), "any.py")
    shown = warnings.showwarning

    def warn() -> None:
        warnings.showwarning(UserWarning("a.png:\ntold"), UserWarning, place, 7)

    with pytest.raises(SystemExit):
        command.run_command(warn)
    assert capsys.readouterr().err == "warning: a.png:\\ntold\n"
    assert warnings.showwarning is shown
