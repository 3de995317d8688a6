"""Real processes at once on one folder: nothing is lost, or one of them is told to wait."""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from davis_files import FRAMES, FakeTracker, load_script, make_davis
from PIL import Image
from small import made_up_video, small_config, small_model

import rhmnet
from rhmnet.errors import InputError
from rhmnet.evaluation import tracking
from rhmnet.files import concurrency
from rhmnet.tools.scribbles import make as make_command
from rhmnet.tools.segment import segment_command

VIDEOS = ("ant", "bee", "cow", "dog")
SECONDS = 120
PRELOADED = ["torch", "cv2", "rhmnet.tools.segment.segment_command", "rhmnet.evaluation.benchmarks"]
"""So that not every process takes seconds to begin."""


def at_once(work: Callable[..., None], *each: tuple) -> list[str]:
    """Run work(*arguments) in a process each, begun together; what each was told, "" if nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    barrier, answers = context.Barrier(len(each)), context.SimpleQueue()
    processes = [
        context.Process(target=_run, args=(work, arguments, number, barrier, answers))
        for number, arguments in enumerate(each)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(SECONDS)
        process.kill()
    assert [process.exitcode for process in processes] == [0] * len(each)
    told = dict(answers.get() for _ in each)
    return [told[number] for number in range(len(each))]


def _run(work: Callable, arguments: tuple, number: int, barrier: Barrier, answers) -> None:
    torch.set_num_threads(1)
    barrier.wait(SECONDS)
    try:
        work(*arguments)
        answers.put((number, ""))
    except InputError as error:
        answers.put((number, str(error)))


def evaluate(root: Path, out: Path, start: int, end: int) -> None:
    """eval_davis.py with a tracker that knows the answers."""
    rhmnet.Tracker, tracking.build_untrained = FakeTracker, lambda config: torch.nn.Identity()
    sys.argv = [
        *("eval_davis.py", "--data-root", str(root), "--save_path", str(out), "--overlay"),
        *("--checkpoint", "random", "--device", "cpu", "--start", str(start), "--end", str(end)),
        *("--config", "video_training", "model.pretrained=none"),
    ]
    load_script("eval_davis.py").main()


def test_parts_of_an_evaluation_share_a_folder(tmp_path: Path) -> None:
    make_davis(tmp_path / "DAVIS", 2017, VIDEOS)
    for number in range(2):
        out = tmp_path / f"out{number}"
        parts = [(tmp_path / "DAVIS", out, *part) for part in ((0, 2), (2, 4), (1, 3))]
        assert at_once(evaluate, *parts) == ["", "", ""]
        for group in (0, 1):
            masks = out / f"video_training_random_davis2017_g{group}"
            manifest = json.loads((masks / "manifest.json").read_text())
            assert sorted(manifest["prompts"]) == [*VIDEOS]
            assert {path.name for path in masks.iterdir()} - {".lock"} == {*VIDEOS, "manifest.json"}
            assert all(len(list((masks / video).iterdir())) == FRAMES for video in VIDEOS)
        scores = out / "video_training_random_davis2017" / "scores.json"
        assert json.loads(scores.read_text())["mean"]["J&F-Mean"] == 1


def make(masks: Path, out: Path, seed: int) -> None:
    words = ["folder", str(out), "--masks", str(masks), "--workers", "1", "--seed", str(seed)]
    make_command.main(words)


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    (tmp_path / "masks").mkdir()
    for number in range(12):
        labels = np.zeros((48, 64), np.uint8)
        labels[10:30, 4 + number : 40] = 1
        Image.fromarray(labels).save(tmp_path / "masks" / f"{number}.png")
    return tmp_path / "masks"


def test_scribbles_of_one_seed_are_made_once_and_those_of_another_refused(
    masks: Path, tmp_path: Path
) -> None:
    def files(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    wanted = []
    for seed in (0, 1):
        make(masks, tmp_path / f"alone{seed}", seed)
        wanted.append(files(tmp_path / f"alone{seed}"))
    assert at_once(make, *[(masks, tmp_path / "same", 0)] * 2) == ["", ""]
    assert files(tmp_path / "same") == wanted[0]
    told = at_once(make, *((masks, tmp_path / "other", seed) for seed in (0, 1)))
    first = told.index("")
    assert "were made with seed" in told[1 - first]
    assert files(tmp_path / "other") == wanted[first]


def segment(place: Path, out: Path) -> None:
    words = [str(place / "clip"), "--scribble", str(place / "1.png"), "--device", "cpu"]
    words += ["--checkpoint", str(place / "a.pth.tar"), "--objects", "--out", str(out)]
    segment_command.main(words)


def test_one_run_at_a_time_segments_into_a_folder(tmp_path: Path) -> None:
    images, labels = made_up_video(3, 48, 64, 2)
    (tmp_path / "clip").mkdir()
    for index, image in enumerate(images):
        cv2.imwrite(str(tmp_path / "clip" / f"{index}.png"), image[..., ::-1])
    Image.fromarray(labels).save(tmp_path / "1.png")
    config = small_config()
    rhmnet.save_checkpoint(tmp_path / "a.pth.tar", small_model(config), config, 1)
    told = at_once(segment, *[(tmp_path, tmp_path / "out")] * 2)
    assert told.count("") == 1
    assert "holds results already" in "".join(told) or "another run writes" in "".join(told)
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 3
    lines = (tmp_path / "out" / "statistics.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["frame"] for line in lines) == [0, 1, 2]
    assert not (tmp_path / "out" / ".lock").exists()


def test_a_folder_that_the_run_before_moves_away_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def made_and_moved(folder: Path) -> None:
        folder.mkdir()
        if not made:
            folder.rename(tmp_path / "published")
        made.append(folder)

    monkeypatch.setattr(concurrency, "make_folder", made_and_moved)
    with concurrency.alone_in(tmp_path / "partial", "wait"):
        assert (tmp_path / "partial" / concurrency.LOCK).is_file()
    assert len(made) == 2 and not list((tmp_path / "published").iterdir())
