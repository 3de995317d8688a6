"""Commands keep what they free; what the user chose stays."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")

PROGRAM = """
import resource, sys
import torch
from rhmnet.command import keep_freed_memory
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


def test_memory_is_mapped_once() -> None:
    said, faults = run("keep")
    (faults_without,) = run("leave")
    assert said == "True"
    assert int(faults) < 100 < int(faults_without)


def test_what_the_user_chose_is_left_alone() -> None:
    assert run("keep", MALLOC_ARENA_MAX="4")[0] == "False"
