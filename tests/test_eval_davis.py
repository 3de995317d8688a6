"""The DAVIS evaluation on a small tree: reading it, tracking, going on, scoring, bad input."""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from davis_files import (
    FRAMES,
    FakeTracker,
    load_script,
    make_davis,
    masks_of,
)

from rhmnet.data.davis import open_davis
from rhmnet.errors import InputError
from rhmnet.evaluation import Reading, score_folder
from rhmnet.evaluation.benchmarks import DavisEvaluation
from rhmnet.files.images import read_labels, write_mask


def run(monkeypatch, tmp_path: Path, *options: str) -> None:
    """`eval_davis.py` on tmp_path/DAVIS with an untrained small network."""
    fixed = ["--data-root", f"{tmp_path}/DAVIS", "--save_path", f"{tmp_path}/out"]
    weights = ["--checkpoint", "random", "--device", "cpu"]
    network = ["--opts", "model.backbone=resnet18", "model.pretrained=none"]
    argv = ["eval_davis.py", *fixed, *weights, *options, *network]
    monkeypatch.setattr(sys, "argv", argv)
    load_script("eval_davis.py").main()


def scores_of(tmp_path: Path, year: int) -> dict:
    path = tmp_path / f"out/video_training_random_davis{year}/scores.json"
    return json.loads(path.read_text())


def test_perfect_masks_score_one_in_every_set(monkeypatch, tmp_path, fake, capsys):
    make_davis(tmp_path / "DAVIS", 2017)
    run(monkeypatch, tmp_path, "--year", "17", "--overlay")
    report = scores_of(tmp_path, 2017)
    assert list(report["sets"]) == ["scribbles 0", "scribbles 1"]
    assert list(report["sets"]["scribbles 0"]["objects"]) == ["ant_1", "ant_2", "bee_1", "bee_2"]
    assert report["mean"]["J&F-Mean"] == 1
    assert report["std"]["J&F-Mean"] == 0
    masks = tmp_path / "out/video_training_random_davis2017_g1/bee"
    assert sorted(p.name for p in masks.iterdir()) == [f"{i:05d}.png" for i in range(FRAMES)]
    assert (read_labels(masks / "00003.png") == masks_of(3)).all()
    sheets = tmp_path / "out/video_training_random_davis2017/overlays_g0"
    assert sorted(p.name for p in sheets.iterdir()) == ["ant", "ant.jpg", "bee", "bee.jpg"]
    assert "official DAVIS-2017" in capsys.readouterr().out


def test_background_strokes_are_dropped_unless_asked_for(monkeypatch, tmp_path, fake):
    make_davis(tmp_path / "DAVIS", 2017)
    run(monkeypatch, tmp_path, "--video_name", "ant", "--groups", "0")
    run(monkeypatch, tmp_path, "--video_name", "ant", "--groups", "0", "--with_bg", "--overwrite")
    without, with_bg = (scribble for scribble, _ in fake.started)
    assert np.unique(without).tolist() == [0, 1, 2]
    assert np.unique(with_bg).tolist() == [0, 1, 2, 255]
    assert all(num_objects == 2 for _, num_objects in fake.started)


def test_mask_init_starts_from_the_first_mask(monkeypatch, tmp_path, fake):
    make_davis(tmp_path / "DAVIS", 2017)
    run(monkeypatch, tmp_path, "--video_name", "ant", "--mask_init")
    assert (fake.started[0][0] == masks_of(0)).all()
    assert len(fake.started) == 1


def test_davis16_merges_objects_and_can_keep_object_1(monkeypatch, tmp_path, fake):
    make_davis(tmp_path / "DAVIS", 2016)
    with pytest.warns(UserWarning, match="label 3, the largest, is read as the background"):
        run(monkeypatch, tmp_path, "--year", "16")
    report = scores_of(tmp_path, 2016)
    assert "merged" in report["reading"]
    assert report["mean"]["J&F-Mean"] == 1
    assert fake.started[0][1] == 2  # the strokes tell two objects apart
    with pytest.warns(UserWarning, match="label 3, the largest, is read as the background"):
        run(monkeypatch, tmp_path, "--year", "16", "--davis16", "object1")
    report = scores_of(tmp_path, 2016)
    assert "object 1" in report["reading"]
    one, both = masks_of(1) == 1, masks_of(1) > 0
    assert report["mean"]["J-Mean"] == pytest.approx(one.sum() / both.sum(), abs=0.01)


def test_davis16_from_multi_object_labels_reduces_both_sides(tmp_path):
    root = make_davis(tmp_path / "DAVIS", 2017)
    (root / "ImageSets/2017").rename(root / "ImageSets/2016")
    davis = open_davis(root, 2016)
    for frame in range(FRAMES):
        swapped = np.array([0, 2, 1], np.uint8)[masks_of(frame)]
        (tmp_path / "r/ant").mkdir(parents=True, exist_ok=True)
        write_mask(tmp_path / f"r/ant/{frame:05d}.png", swapped)
    merged = score_folder(davis, tmp_path / "r", ["ant"], Reading.MERGED, workers=2)
    assert merged["ant"].shape == (2, 1, FRAMES - 2)
    assert (merged["ant"] == 1).all()
    single = score_folder(davis, tmp_path / "r", ["ant"], Reading.OBJECT1, workers=2)
    assert (single["ant"][0] == 0).all()


def test_finished_videos_are_reused_and_other_options_refused(monkeypatch, tmp_path, fake):
    make_davis(tmp_path / "DAVIS", 2017)
    run(monkeypatch, tmp_path, "--end", "1")
    assert fake.frames == 2 * FRAMES
    run(monkeypatch, tmp_path)
    assert fake.frames == 4 * FRAMES
    with pytest.raises(InputError, match=r"options\.with_bg: False -> True.*--overwrite"):
        run(monkeypatch, tmp_path, "--with_bg")
    run(monkeypatch, tmp_path, "--with_bg", "--overwrite")
    assert fake.frames == 8 * FRAMES


def test_a_video_that_fails_leaves_nothing_that_looks_whole(monkeypatch, tmp_path, fake):
    root = make_davis(tmp_path / "DAVIS", 2017)
    run(monkeypatch, tmp_path, "--video_name", "ant")
    frame = root / "JPEGImages/480p/bee/00003.jpg"
    frame.write_bytes(frame.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"bee/00003\.jpg"):
        run(monkeypatch, tmp_path)
    assert [p.name for p in (tmp_path / "out").rglob("*bee*")] == []
    assert list((tmp_path / "out").rglob("scores.*")) == []


class Process(NamedTuple):
    """One of two processes, a thread here."""

    rank: int
    barrier: threading.Barrier
    mailbox: list
    size: int = 2

    def gather(self, value):
        self.mailbox.append(value)
        self.wait()
        return self.mailbox if self.rank == 0 else []

    def wait(self):
        self.barrier.wait(timeout=30)


def test_two_processes_share_the_videos_and_the_first_has_all_scores(tmp_path, fake):
    davis = open_davis(make_davis(tmp_path / "DAVIS", 2017))
    evaluation = DavisEvaluation(
        davis=davis,
        names=davis.names(),
        groups=[0, 1],
        folder=tmp_path / "out/run",
        made_by={},
        checkpoint=None,
        reading=Reading.OBJECTS,
    )
    barrier, mailbox = threading.Barrier(2), []
    processes = [Process(rank, barrier, mailbox) for rank in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        scores, nothing = pool.map(lambda p: evaluation.run(FakeTracker, p), processes)
    assert nothing == {}
    assert [len(part) for part in mailbox] == [2, 2]
    assert {group: list(part) for group, part in scores.items()} == {
        "scribbles 0": ["ant", "bee"],
        "scribbles 1": ["ant", "bee"],
    }
