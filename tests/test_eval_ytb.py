"""The YouTube-VOS evaluation on synthetic videos with late objects, and its files."""

from __future__ import annotations

import csv
import json
import shutil
import sys
import types
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from davis_files import load_script
from small import OVERRIDES, small_config, small_model

import rhmnet
from rhmnet.errors import InputError
from rhmnet.evaluation import tracking
from rhmnet.files.images import read_image, read_labels
from rhmnet.tools.synthetic import write_trees

VIDEO, LATE = "valid-000", "00010"
FRAMES = [f"{number:05d}" for number in range(0, 30, 5)]
RUN = "video_training_random_ytb_val"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A synthetic tree with one video of two objects, the second of which appears late."""
    root = tmp_path_factory.mktemp("synthetic") / "data"
    write_trees(root, seed=0, size="tiny")
    return root / "Youtube-VOS"


@pytest.fixture
def tree(made, tmp_path):
    """A copy of it, to be changed; the second object appears at frame LATE."""
    root = tmp_path / "Youtube-VOS"
    shutil.copytree(made, root)
    meta = json.loads((root / "valid/meta.json").read_text())
    late = meta["videos"][VIDEO]["objects"]["2"]
    assert late["frames"] == FRAMES[2:], "the synthetic video has changed: choose another LATE"
    return root


def change_meta(root: Path, change) -> None:
    path = root / "valid/meta.json"
    meta = json.loads(path.read_text())
    change(meta["videos"])
    path.write_text(json.dumps(meta))


def run(monkeypatch, tree: Path, *options: str) -> Path:
    """`eval_ytb.py` with a small network; the folder of the run."""
    out = tree.parent / "out"
    untrained = [] if "--checkpoint" in options else ["--checkpoint", "random"]
    fixed = ["--data-root", str(tree), "--save_path", str(out), "--device", "cpu"]
    argv = ["eval_ytb.py", *fixed, *untrained, *options, "--opts", *OVERRIDES]
    monkeypatch.setattr(sys, "argv", argv)
    load_script("eval_ytb.py").main()
    (folder,) = out.iterdir()
    return folder


def masks_of(folder: Path) -> dict[str, np.ndarray]:
    masks = sorted((folder / "Annotations" / VIDEO).glob("*.png"))
    return {path.stem: read_labels(path) for path in masks}


class Recorder:
    """A tracker that says nothing is there, and keeps what it was given."""

    calls: list = []  # noqa: RUF012, shared on purpose: the evaluation makes its own instance

    def __init__(self, *_):
        pass

    def start(self, image, scribble, num_objects=None):
        Recorder.calls.append((image, scribble, num_objects))
        return types.SimpleNamespace(labels=torch.zeros(image.shape[:2], dtype=torch.uint8))

    def step(self, image, scribble=None):
        return self.start(image, scribble)


@pytest.fixture
def recorder(monkeypatch):
    monkeypatch.setattr(rhmnet, "Tracker", Recorder)
    monkeypatch.setattr(Recorder, "calls", [])
    # it needs no network
    monkeypatch.setattr(tracking, "build_untrained", lambda config: torch.nn.Identity())
    return Recorder


def track_by_hand(tree: Path, model: rhmnet.RHMNet, width: int | None) -> dict[str, np.ndarray]:
    """The video through the Python face; objects given where they appear."""
    tracker = rhmnet.Tracker(model, small_config())
    masks = {}
    for frame in FRAMES:
        image = read_image(tree / f"valid/JPEGImages/{VIDEO}/{frame}.jpg")
        height = image.shape[0]
        size = (width, round(height * width / image.shape[1])) if width else image.shape[1::-1]
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        scribble = None
        if frame in (FRAMES[0], LATE):
            number = 1 if frame == FRAMES[0] else 2
            strokes = read_labels(tree / f"valid_scribbles/{VIDEO}/{frame}.bmp")
            scribble = np.where(strokes == number, np.uint8(number), np.uint8(0))
            scribble = cv2.resize(scribble, size, interpolation=cv2.INTER_NEAREST_EXACT)
        if frame == FRAMES[0]:
            labels = tracker.start(small, scribble, num_objects=2).labels.numpy()
        else:
            labels = tracker.step(small, scribble).labels.numpy()
        masks[frame] = cv2.resize(labels, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return masks


@pytest.mark.parametrize("width", [None, 64])
def test_equals_the_video_tracked_by_hand(monkeypatch, tree, width):
    model = small_model()
    checkpoint = tree.parent / "w.pth"
    torch.save({"epoch": 3, "state_dict": model.state_dict()}, checkpoint)
    size = ["--size", str(width)] if width else []
    folder = run(monkeypatch, tree, "--checkpoint", str(checkpoint), *size)
    expected = track_by_hand(tree, model, width)
    masks = masks_of(folder)
    assert folder.name == "video_training_3_ytb_val"
    assert list(masks) == FRAMES
    for frame in FRAMES:
        assert (masks[frame] == expected[frame]).all(), frame
    assert not any((masks[frame] == 2).any() for frame in FRAMES[:2])
    assert any((masks[frame] == 2).any() for frame in FRAMES[2:])


def test_only_strokes_of_objects_that_appear_are_given(monkeypatch, tree, recorder):
    # a stroke of an object that is tracked already would be a correction
    path = tree / f"valid_scribbles/{VIDEO}/{LATE}.bmp"
    strokes = read_labels(path)
    assert {2, 3} <= set(np.unique(strokes))
    strokes[:3] = 1
    cv2.imwrite(str(path), strokes)
    run(monkeypatch, tree)
    given = [None if s is None else np.unique(s).tolist() for _, s, _ in recorder.calls]
    assert given == [[0, 1], None, [0, 2], None, None, None]
    assert recorder.calls[0][2] == 2  # both objects are known from the start
    run(monkeypatch, tree, "--with_bg", "--overwrite")
    assert np.unique(recorder.calls[6][1]).tolist() == [0, 1, 255]
    assert np.unique(recorder.calls[8][1]).tolist() == [0, 2]


def test_a_video_starts_at_its_first_object(monkeypatch, tree, recorder):
    def postpone(videos):
        for item in videos[VIDEO]["objects"].values():
            item["frames"] = FRAMES[2:]

    change_meta(tree, postpone)
    path = tree / f"valid_scribbles/{VIDEO}/{LATE}.bmp"
    strokes = read_labels(path)
    strokes[:3] = 1
    cv2.imwrite(str(path), strokes)
    folder = run(monkeypatch, tree)
    assert list(masks_of(folder)) == FRAMES[2:]
    assert np.unique(recorder.calls[0][1]).tolist() == [0, 1, 2]


def test_all_frames_are_tracked_and_those_of_meta_written(monkeypatch, tree, recorder):
    def thin_out(videos):
        objects = videos[VIDEO]["objects"]
        objects["1"]["frames"] = ["00000", "00020"]
        objects["2"]["frames"] = ["00010", "00020"]

    change_meta(tree, thin_out)
    folder = run(monkeypatch, tree, "--all_frames")
    assert list(masks_of(folder)) == ["00000", "00010", "00020"]
    assert len(recorder.calls) == 5  # 0, 5, 10, 15, 20; nothing after the last mask
    shutil.rmtree(folder)
    run(monkeypatch, tree)
    assert len(recorder.calls) == 5 + 3
    # the official archive keeps every frame in a folder of its own
    shutil.rmtree(folder)
    every = tree / "valid_all_frames/JPEGImages" / VIDEO
    shutil.copytree(tree / "valid/JPEGImages" / VIDEO, every)
    shutil.copy(every / "00005.jpg", every / "00006.jpg")
    run(monkeypatch, tree, "--all_frames")
    assert len(recorder.calls) == 8 + 6


def test_zip_for_the_server(monkeypatch, tree, recorder, capsys):
    folder = run(monkeypatch, tree)
    path = folder / f"{RUN}.zip"
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f"Annotations/{VIDEO}/{frame}.png" for frame in FRAMES]
        mask = folder / "Annotations" / VIDEO / "00005.png"
        assert archive.read(f"Annotations/{VIDEO}/00005.png") == mask.read_bytes()
    before = path.read_bytes()
    mask.touch()
    run(monkeypatch, tree)
    assert path.read_bytes() == before
    run(monkeypatch, tree, "--no-zip")
    assert not path.exists()


def test_no_zip_before_all_videos_are_there(monkeypatch, tree, recorder, capsys):
    change_meta(tree, lambda videos: videos.update({"zebra": videos[VIDEO]}))
    for part in ("valid/JPEGImages", "valid_scribbles", "valid/Annotations"):
        shutil.copytree(tree / part / VIDEO, tree / part / "zebra")
    folder = run(monkeypatch, tree, "--end", "1")
    assert "1 of 2 videos are not tracked, the first of them zebra" in capsys.readouterr().out
    assert list(folder.glob("*.zip")) == []
    run(monkeypatch, tree, "--start", "1")
    assert len(recorder.calls) == 2 * len(FRAMES)
    with zipfile.ZipFile(folder / f"{RUN}.zip") as archive:
        assert len(archive.namelist()) == 2 * len(FRAMES)


def test_finished_videos_are_kept_and_other_options_refused(monkeypatch, tree, recorder):
    run(monkeypatch, tree)
    run(monkeypatch, tree)
    assert len(recorder.calls) == len(FRAMES)
    for option, message in (
        (["--size", "48"], r"options\.size: None -> 48"),
        (["--all_frames"], r"options\.all_frames: False -> True"),
        (["--with_bg"], r"options\.with_bg"),
    ):
        with pytest.raises(InputError, match=rf"{message}.*--overwrite"):
            run(monkeypatch, tree, *option)
    path = tree / f"valid_scribbles/{VIDEO}/{LATE}.bmp"
    strokes = read_labels(path)
    strokes[:2] = 2
    cv2.imwrite(str(path), strokes)
    with pytest.raises(InputError, match=f"other strokes of {VIDEO}"):
        run(monkeypatch, tree)
    run(monkeypatch, tree, "--overwrite", "--size", "48")
    assert len(recorder.calls) == 2 * len(FRAMES)
    assert recorder.calls[-1][0].shape == (32, 48, 3)
    assert masks_of(tree.parent / "out" / RUN)["00005"].shape == (64, 96)


def test_scores_are_written_and_overlays_drawn(monkeypatch, tree, recorder, capsys):
    folder = run(monkeypatch, tree, "--overlay")
    out = capsys.readouterr().out
    assert "no object of a seen category" in out
    assert "nan" not in out
    report = json.loads((folder / "scores.json").read_text())
    assert list(report["groups"]) == ["unseen"]
    assert report["overall"] == 0  # nothing was predicted, and the objects stay in sight
    with open(folder / "scores.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[1][0] == f"{VIDEO}_1"
    assert rows[-1][0] == "Overall"
    assert sorted(p.name for p in (folder / "overlays_g0").iterdir()) == [VIDEO, f"{VIDEO}.jpg"]


def test_goes_without_scores_where_the_server_alone_has_masks(monkeypatch, tree, recorder, capsys):
    for path in (tree / "valid/Annotations" / VIDEO).iterdir():
        if path.stem not in (FRAMES[0], LATE):  # as in the official archive
            path.unlink()
    folder = run(monkeypatch, tree)
    assert "no scores: no dense annotations" in capsys.readouterr().out
    assert not (folder / "scores.json").exists()
    assert (folder / f"{RUN}.zip").is_file()


def test_training_videos_with_masks_can_be_tracked(monkeypatch, tree, recorder):
    with pytest.raises(InputError, match="no dense masks of training videos"):
        run(monkeypatch, tree, "--set", "train-split")
    meta = json.loads((tree / "train/meta.json").read_text())["videos"]
    name = min(meta)
    for frame in (tree / "train/JPEGImages" / name).iterdir():
        labels = np.zeros(read_image(frame).shape[:2], np.uint8)
        target = tree / "train/Annotations" / name / f"{frame.stem}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), labels)
    folder = run(monkeypatch, tree, "--set", "train-split")
    assert [p.name for p in (folder / "Annotations").iterdir() if p.is_dir()] == [name]
    assert list(json.loads((folder / "scores.json").read_text())["groups"]) == ["seen"]
