"""Without the room that makes tracking faster everything works, slower, with the same numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = """
import sys


class Gone:
    '''Finds no rhmnet.accelerate, wherever an installed package has it.'''

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[:2] == ["rhmnet", "accelerate"]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Gone())
"""


@pytest.fixture(scope="module")
def startup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on Python's path whose `sitecustomize` takes that room away."""
    folder = tmp_path_factory.mktemp("startup")
    (folder / "sitecustomize.py").write_text(BLOCK)
    return folder


def run_plain(startup: Path, *arguments: object) -> str:
    """What Python says without that room."""
    path = os.pathsep.join(map(str, (startup, ROOT)))
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_room_is_gone_and_precisions_are_settled_all_the_same(startup: Path) -> None:
    code = """
import numpy as np, torch, rhmnet
from rhmnet import tracker
assert tracker.accelerate is None
model, config = rhmnet.load_model("small", ["test.precision=auto"])
assert tracker.settle_precision(config, torch.device("cpu")).test.precision == "float32"
for precision in ("auto", "bfloat16"):
    tracks = rhmnet.Tracker(*rhmnet.load_model("small", [f"test.precision={precision}"]))
    scribble = np.zeros((48, 64), np.uint8)
    scribble[8:40, 8:16], scribble[8:40, 40:48] = 1, 255
    tracks.start(np.full((48, 64, 3), 99, np.uint8), scribble)
    print(tracks._net.dtype)
"""
    assert run_plain(startup, "-c", code).split() == ["torch.float32", "torch.bfloat16"]


def test_objects_that_come_and_go_are_tracked(startup: Path) -> None:
    run_pytest(startup, "-k", "not costs_no_head", "test_tracker_rows.py")  # which is about speed


@pytest.mark.slow
def test_the_method_and_the_release_numbers(startup: Path) -> None:
    run_pytest(startup, "test_by_the_book.py", "test_parity.py")


def run_pytest(startup: Path, *arguments: str) -> None:
    """Run some files' tests without that room; none may fail, and some must pass."""
    arguments = [ROOT / "tests" / a if a.endswith(".py") else a for a in arguments]
    options = ["-q", "-p", "no:cacheprovider"]
    assert " passed" in run_plain(startup, "-m", "pytest", *options, *arguments)
