"""What a run over one's own video writes, the command line, and which weights it takes."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from segment_videos import write_video
from small import made_up_video, small_config, small_model

import rhmnet
from rhmnet.files.images import read_labels
from rhmnet.inputs import network_size
from rhmnet.tools.segment.summary import best_frame, doubt, write_summary

ROOT = Path(__file__).resolve().parents[1]
SIZE = (49, 65)  # odd, as cameras and crops make them
FRAMES = 6


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a video, strokes on its frame 2, and a checkpoint."""
    place = tmp_path_factory.mktemp("own")
    images, labels = made_up_video(FRAMES, *SIZE, 2)
    (place / "clip").mkdir()
    for index, image in enumerate(images):
        cv2.imwrite(str(place / "clip" / f"{index}.png"), image[..., ::-1])
    Image.fromarray(labels).save(place / "2.png")
    config = small_config("test.max_memory_length=2")
    rhmnet.save_checkpoint(place / "checkpoints" / "a.pth.tar", small_model(config), config, 1)
    return place


def segment(place: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run scripts/segment.py in `place` with its checkpoint; returns the exit code."""
    monkeypatch.chdir(place)
    own = [] if "--checkpoint" in arguments else ["--checkpoint", "checkpoints/a.pth.tar"]
    monkeypatch.setattr(sys, "argv", ["segment.py", *arguments, *own])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "scripts" / "segment.py"), run_name="__main__")
    return ended.value.code


def test_all_kinds_of_results(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    outputs = ["--overlay", "--objects", "--cutouts", "--coco", "--summary"]
    asked = ["clip", "--scribble", "2.png", "--device", "cpu", *outputs]
    assert segment(place, monkeypatch, *asked) == 0
    out = place / "results" / "clip"
    printed = capsys.readouterr().out
    assert "frame 2: objects 1, 2, with background strokes\n" in printed
    assert (
        "network: checkpoints/a.pth.tar, at 65x49 pixels on cpu in float32; --checkpoint FILE names"
        in printed
    )

    masks = [read_labels(out / "masks" / f"{i}.png") for i in range(FRAMES)]
    assert masks[0].shape == SIZE
    video = cv2.VideoCapture(str(out / "overlay.mp4"))
    sizes = []
    while (frame := video.read())[0]:
        sizes.append(frame[1].shape)
    assert sizes == [(48, 64, 3)] * FRAMES  # even, as the codec needs
    for index, labels in enumerate(masks):
        image = cv2.imread(str(place / "clip" / f"{index}.png"))
        for number in (1, 2):
            one = cv2.imread(str(out / "objects" / str(number) / f"{index}.png"), -1)
            np.testing.assert_array_equal(one, (labels == number) * 255)
            cut = cv2.imread(str(out / "cutouts" / str(number) / f"{index}.png"), -1)
            np.testing.assert_array_equal(cut[..., 3], one)
            np.testing.assert_array_equal(cut[..., :3], image * (one > 0)[..., None])

    check_coco(out / "coco.json", masks)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["frames_with_strokes"] == [2] and summary["fps"] == 25
    assert summary["further_stroke_helps_most"]["frame"] != 2
    assert [frame["name"] for frame in summary["frames"]] == [str(i) for i in range(FRAMES)]
    for frame, labels in zip(summary["frames"], masks, strict=True):
        areas = [frame["objects"][str(n)]["area"] for n in (1, 2)]
        assert areas == [(labels == n).sum() for n in (1, 2)]

    # finished already: other outputs are made without tracking again
    assert segment(place, monkeypatch, *asked) == 2
    before = (out / "masks" / "0.png").stat().st_mtime_ns
    assert segment(place, monkeypatch, *asked, "--resume", "--overlay", "webm") == 0
    assert (out / "overlay.webm").is_file()
    assert (out / "masks" / "0.png").stat().st_mtime_ns == before
    capsys.readouterr()
    assert segment(place, monkeypatch, *asked, "--resume", "test.max_memory_length=3") == 2
    assert "made with other test;" in capsys.readouterr().err


def check_coco(path: Path, masks: list[np.ndarray]) -> None:
    rle = pytest.importorskip("pycocotools.mask")
    coco = json.loads(path.read_text())
    assert len(coco["images"]) == FRAMES and [c["id"] for c in coco["categories"]] == [1, 2]
    found = [np.zeros(SIZE, np.uint8) for _ in masks]
    for annotation in coco["annotations"]:
        inside = rle.decode(annotation["segmentation"])
        assert annotation["area"] == inside.sum()
        found[annotation["image_id"]] += inside * np.uint8(annotation["track_id"])
    np.testing.assert_array_equal(found, masks)


def test_how_each_file_was_understood_has_its_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    rgba = np.zeros((*SIZE, 4), np.uint8)
    rgba[10:16, 5:40], rgba[30:36, 5:40] = (230, 20, 20, 255), (20, 20, 230, 255)
    (place / "painted").mkdir()
    for frame in (2, 4):
        Image.fromarray(rgba).save(place / "painted" / f"{frame}.png")
    asked = ["clip", "--scribble", "painted", "--device", "cpu", "--out", "told"]
    assert segment(place, monkeypatch, *asked) == 0
    how = "painted on a transparent layer: red → object 1, blue → object 2"
    assert capsys.readouterr().out.splitlines()[:3] == [
        "frame 2: objects 1, 2; frame 4: objects 1, 2, without background strokes",
        f"2.png: {how}",
        f"4.png: {how}",
    ]


def test_frames_of_few_cells_are_told(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for side, told in ((127, True), (128, False)):
        image, labels = made_up_video(1, side, 160, 1)
        (place / f"few{side}").mkdir()
        Image.fromarray(image[0]).save(place / f"few{side}" / "0.png")
        Image.fromarray(labels).save(place / "0.png")
        assert segment(place, monkeypatch, f"few{side}", "--scribble", "0.png") == 0
        assert (f"frames of 160x{side} are few cells" in capsys.readouterr().out) is told


def test_ctrl_c_leaves_masks_and_resume_goes_on(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_video(place / "phone.mp4", 9, size=(48, 64))
    strokes = np.zeros((48, 64), np.uint8)
    strokes[20:24, 4:20], strokes[40, 30:60] = 1, 255
    Image.fromarray(strokes).save(place / "5.png")
    asked = ["phone.mp4", "--scribble", "5.png", "--device", "cpu"]
    step, steps = rhmnet.Tracker.step, []

    def interrupted(self: rhmnet.Tracker, *given: np.ndarray) -> object:
        steps.append(given)
        if len(steps) == 5:
            os.kill(os.getpid(), 2)  # as Ctrl-C does
        return step(self, *given)

    with monkeypatch.context() as patched:
        patched.setattr(rhmnet.Tracker, "step", interrupted)
        assert segment(place, monkeypatch, *asked, "--out", "parts") == 130
    told = capsys.readouterr().out
    assert "stopped with 6 finished masks in parts/masks" in told and "--resume" in told
    assert segment(place, monkeypatch, *asked, "--out", "parts", "--resume") == 0
    assert segment(place, monkeypatch, *asked, "--out", "whole") == 0
    for index in range(9):
        name = f"masks/{index:05d}.png"
        assert (place / "parts" / name).read_bytes() == (place / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["none.mp4", "--scribble", "2.png"], "none.mp4: no such video"),
        (["clip", "--scribble", "2.png", "--size", "8"], "--size: '8': expected 0, or 32 to 8192"),
        (["clip", "--scribble", "2.png", "--checkpoint", "x.pth"], "no such file; the authors"),
        (["clip", "--scribble", "2.png", "--device", "toaster"], "expected auto, cpu"),
        (
            ["clip", "--scribble", "test.max_memory_length=3"],
            "--scribble: expected at least one argument",
        ),
        (["clip", "--scribble", "2.png", "test.max_memory=3"], "test.max_memory"),
        (["clip", "--scribble", "2.png", "--fps", "0"], "--fps: '0': expected 0.01 to 1000"),
        (["clip", "--scribble", "2.png", "--fps", "inf"], "--fps: 'inf': expected"),
        (["clip", "--scribble", "2.png", "--fps", "nan"], "--fps: 'nan': expected"),
        (["clip", "--scribble", "2.png", "--thickness", "1e30"], "--thickness: '1e30': expected"),
        (["clip", "--scribble", "2.png", "--frame", "9" * 5000], "--frame: '9999"),
        (["clip", "--scribble", "2.png", "--num-objects", "1.5"], "expected 1 to 253"),
        (["clip", "--scribble", "2.png", "--device", "meta"], "expected auto, cpu"),
        (["", "--scribble", "2.png"], "argument 1: expected a value"),
        (["clip", "--scribble", ""], "--scribble: expected a value"),
        (["clip", "--scribble", "2.png", "--checkpoint="], "--checkpoint: expected a value"),
        (
            ["clip", "--scribble", "2.png", "tset.precision=x"],
            "did you mean test",
        ),
        (["clip", "--scribble", "2.png", "--resume", "--overwrite"], "one of them"),
    ],
)
def test_errors_are_one_line(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    arguments: list[str],
    told: str,
) -> None:
    assert segment(place, monkeypatch, *arguments, "--out", "nowhere") == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert not (place / "nowhere").exists()


def test_the_shorter_side_is_network_size() -> None:
    assert network_size((720, 1280), 480) == (480, 853)
    assert network_size((1280, 720), 480) == (853, 480)
    assert network_size((360, 640), 480) == (360, 640)
    assert network_size((2160, 3840), 0) == (2160, 3840)


def test_where_a_stroke_helps_most(tmp_path: Path) -> None:
    statistics = np.ones((40, 3, 2))
    statistics[:, 1:, 1] = 0.5
    statistics[20:24, 2, 0] = 0.2  # object 1 is unreliable there: doubt 0.4, with object 2's 0.5
    assert doubt(statistics)[20].tolist() == pytest.approx([0.4, 0.5])
    # all four doubtful frames lie within 5 of frames 18..25, the first of which is the answer
    assert best_frame(statistics, annotated=[0]) == (18, 2)
    assert best_frame(statistics, annotated=[0, *range(18, 26)]) == (17, 2)
    assert best_frame(statistics, annotated=range(40)) is None
    statistics[10:, :, 1], statistics[10:, 0, 1] = np.nan, 0  # object 2 leaves
    statistics[:10, 1:, 1] = 1
    assert best_frame(statistics, annotated=[0]) == (18, 1)
    names = [str(i) for i in range(40)]
    write_summary(tmp_path / "s.json", statistics, names, [1, 2], [0], {"video": "v"})
    found = json.loads((tmp_path / "s.json").read_text())
    assert found["objects"]["1"]["largest_drop_at_frame"] == 20
    assert found["objects"]["1"]["mean_reliability"] == pytest.approx((36 + 4 * 0.2) / 40)
    assert found["objects"]["2"]["frames_seen"] == 10
    assert found["frames"][20]["objects"]["1"]["reliability_change"] == pytest.approx(-0.8)
    assert found["frames"][20]["objects"]["2"]["reliability"] is None


def examples_of_the_documentation() -> list[str]:
    """The code of docs/python.md: a tracker's, then a session's."""
    text = (ROOT / "docs" / "python.md").read_text()
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_example_of_the_documentation_runs() -> None:
    code, _ = examples_of_the_documentation()
    assert len(code.splitlines()) <= 16
    config = small_config()
    video, scribble = made_up_video(8, 48, 64, 2)
    names = {
        "model": small_model(config),
        "config": config,
        "frames": video,
        "scribble": np.where(scribble == 2, 0, scribble).astype(np.uint8),
        "correction": np.where(scribble == 1, 1, 0).astype(np.uint8),
        "late_object": np.where(scribble == 2, 2, 0).astype(np.uint8),
    }
    exec(code, names)
    assert (names["fixed"].labels.numpy()[names["correction"] == 1] == 1).all()
    assert (names["late"].labels == 2).any() and not (names["gone"].labels == 1).any()
    assert torch.equal(names["again"].probabilities, names["late"].probabilities)


@pytest.mark.slow
def test_the_session_of_the_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As written, with the clip and the weights that come along."""
    _, code = examples_of_the_documentation()
    clip = tmp_path / "docs" / "demo" / "bottle.mp4"
    clip.parent.mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "demo" / "bottle.mp4", clip)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    assert names["quick"].shape == names["source"].size
    assert names["session"].done == [range(62, 91)]
    assert names["session"].steps == 30  # a preview, and each of the frames once
    assert (tmp_path / "bottle.rhmnet" / "edits.jsonl").exists()


def test_names_need_not_be_utf8(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """OpenCV ends the process where it is given such a name as text."""
    out = place / os.fsdecode(b"o\xff")
    frames = sorted((place / "clip").iterdir())
    (place / "odd").mkdir()
    for frame in frames:
        shutil.copy(frame, os.fsencode(place / "odd" / frame.stem) + b"\xff.png")
    arguments = (
        "odd",
        "--device",
        "cpu",
        "--scribble",
        "2.png",
        "--frame",
        "0",
        "--overlay",
        "--objects",
    )
    assert segment(place, monkeypatch, *arguments, "--cutouts", "--out", str(out)) == 0
    assert (out / "overlay.mp4").stat().st_size > 0
    for folder in ("masks", "objects/1", "cutouts/1"):
        assert sum(1 for _ in (out / folder).iterdir()) == len(frames)
