"""The tracking benchmark measures what it says; the figures themselves are no test."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
from davis_files import load_script
from small import OVERRIDES

from rhmnet.errors import InputError
from rhmnet.runtime import run_command

Run = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("scripts/benchmark.py")


@pytest.fixture
def run(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the script with arguments in this process, as a command line's."""

    def call(*args: str) -> subprocess.CompletedProcess:
        out, err = io.StringIO(), io.StringIO()
        with monkeypatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
            patched.setattr(sys, "argv", [script.__file__, *args])
            with pytest.raises(SystemExit) as ended:
                run_command(script.main)
        return subprocess.CompletedProcess(args, ended.value.code, out.getvalue(), err.getvalue())

    return call


@pytest.fixture
def rows_here(script: ModuleType, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are measured in this process, too: beginning another takes seconds."""
    here = SimpleNamespace(run=lambda command, **_: run(*command[2:]))
    monkeypatch.setattr(script, "subprocess", here)


def test_row_by_row_with_comparison(run: Run, tmp_path: Path) -> None:
    """The row in a process of its own, as for the user."""
    out = tmp_path / "b.json"
    options = ["--objects", "2", "--size", "48x80", "--frames", "2", "--repeats", "1"]
    done = run(*OVERRIDES, *options, "--compare", "--json", str(out))
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(out.read_text())["rows"]
    assert row["objects"] == 2 and row["size"] == "48x80"
    assert 0 < row["share"] < 2 and row["growth_mb"] is None
    assert row["attention"] == ["flash_attention_for_cpu"]
    assert row["seconds"] > 0 and row["backbones"] > 0 and row["peak_mb"] > 0
    parts = {"backbone", "encode", "read", "heads", "aggregate", "memory", "labels", "rest"}
    assert parts == row["parts"].keys()
    assert row["largest_difference"] <= 1e-4 and row["equal_labels"] >= 0.999


def test_a_video_of_the_users(run: Run, rows_here: None, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(3):
        image = rng.integers(0, 256, (48, 80, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"{index}.png"), image)
    strokes = np.zeros((48, 80), np.uint8)
    strokes[10:20, 10:20], strokes[30:40, 50:60] = 1, 2  # an object, and background
    scribble = tmp_path / "strokes" / "0.png"
    scribble.parent.mkdir()
    cv2.imwrite(str(scribble), strokes)
    out, video = tmp_path / "b.json", ["--video", str(tmp_path), "--scribble", str(scribble)]
    options = ["--frames", "1", "--repeats", "1", "--compare", "--json", str(out)]
    done = run(*OVERRIDES, *video, "--objects", "1", *options)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(out.read_text())["rows"]
    assert row["objects"] == 1 and row["size"] == "48x80"
    assert row["largest_difference"] <= 1e-4


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--size", "480"], "expected HEIGHTxWIDTH"),
        (["test.precision=bfloat16"], "each of --precision"),
        (["--video", "v.mp4"], "both or neither"),
        (["--video", "v.mp4", "--scribble", "0.png"], "expected --objects N"),
        (["--video", "v.mp4", "--scribble", "0.png", "--objects", "1", "--full"], "no --full"),
    ],
)
def test_bad_options_are_one_line(
    args: list[str], expected: str, script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *args])
    with pytest.raises(InputError, match=expected):
        script.parse()


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["model.backbone=vgg"], "model.backbone='vgg'"),
        (["--checkpoint", "no.pth.tar"], "no.pth.tar"),
    ],
)
def test_bad_input_is_one_line(args: list[str], expected: str, run: Run, rows_here: None) -> None:
    done = run(*args, "--objects", "1")
    assert done.returncode == 2 and expected in done.stderr
    assert "Traceback" not in done.stderr
