"""Commands keep what they free; what the user chose stays."""

from __future__ import annotations

import io
import os
import platform
import subprocess
import sys

import pytest

from rhmnet.runtime import command

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")

PROGRAM = """
import resource, sys
import torch
from rhmnet.runtime.command import keep_freed_memory
if sys.argv[1] == "keep":
    print(keep_freed_memory())
for repeat in range(12):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(20_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(*args: str, **env: str) -> list[str]:
    unset = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "LD_PRELOAD"))}
    command = [sys.executable, "-c", PROGRAM, *args]
    done = subprocess.run(command, capture_output=True, text=True, env=unset | env, check=True)
    return done.stdout.split()


@needs_glibc
def test_memory_is_mapped_once() -> None:
    said, faults = run("keep")
    (faults_without,) = run("leave")
    assert said == "True"
    assert int(faults) < 100 < int(faults_without)


@needs_glibc
def test_what_the_user_chose_is_left_alone() -> None:
    assert run("keep", MALLOC_ARENA_MAX="4")[0] == "False"


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
    assert written.getvalue() == b"wrote a\\udcffb\n"
