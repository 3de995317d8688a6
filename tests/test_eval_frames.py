"""Frames of evaluations by any names: the order, the strokes' frame, what is no frame at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from davis_files import FRAMES, make_davis, masks_of, save
from PIL import Image

from rhmnet.data.davis import open_davis, read_prompt
from rhmnet.data.youtube import open_youtube_vos, read_late_prompt
from rhmnet.errors import InputError
from rhmnet.evaluation import Reading, score_folder, score_objects
from rhmnet.files.images import write_mask
from rhmnet.tools.scribbles.check import check_root
from rhmnet.tools.scribbles.masks import video_jobs

SHAPE = (32, 48)


def rename(root: Path, first: int) -> None:
    """Frames and masks by number without leading zeros, from `first` on."""
    for path in sorted(root.glob("*/480p/*/*")):
        path.rename(path.with_name(f"{int(path.stem) + first}{path.suffix}"))


@pytest.mark.parametrize("first", [8, 97])
def test_davis_frames_without_leading_zeros_come_in_order(tmp_path: Path, first: int) -> None:
    davis = open_davis(make_davis(tmp_path, 2017, ("ant",)))
    rename(tmp_path, first)
    video = davis.video("ant")
    names = [str(first + index) for index in range(FRAMES)]
    assert [path.stem for path in video.frames] == names
    assert [path.stem for path in video.annotations] == names
    assert (davis.first_annotation(video).labels == masks_of(0)).all()
    for index, name in enumerate(names):
        (tmp_path / "r/ant").mkdir(parents=True, exist_ok=True)
        write_mask(tmp_path / f"r/ant/{name}.png", masks_of(index))
    scores = score_folder(davis, tmp_path / "r", ["ant"], Reading.OBJECTS, workers=1)
    assert scores["ant"].shape == (2, 2, FRAMES - 2) and (scores["ant"] == 1).all()
    report = check_root(tmp_path)
    assert any("names do not sort" in str(finding) for finding in report.findings)


def test_scribbles_are_made_on_the_frame_that_comes_first(tmp_path: Path) -> None:
    make_davis(tmp_path, 2017, ("ant",))
    rename(tmp_path, 8)
    (first,) = video_jobs(tmp_path / "Annotations/480p", ["ant"], first_only=True)
    (every,) = video_jobs(tmp_path / "Annotations/480p", ["ant"])
    assert [path.stem for path in first.maps] == ["8"]
    assert every.names == tuple(f"ant/{8 + index}" for index in range(FRAMES))


def test_strokes_in_a_folder_have_the_first_frames_name(tmp_path: Path) -> None:
    davis = open_davis(make_davis(tmp_path, 2017, ("ant",)))
    rename(tmp_path, 8)
    strokes = read_prompt(davis, davis.video("ant"), 0).scribble
    davis.scribble("ant", 0).unlink()
    save(tmp_path / "valid_scribbles0/ant/8.bmp", strokes)
    assert (read_prompt(davis, davis.video("ant"), 0).scribble == strokes).all()


@pytest.mark.parametrize("suffix", [".png", ".jpeg", ".PNG"])
def test_davis_frames_may_be_png(tmp_path: Path, suffix: str) -> None:
    davis = open_davis(make_davis(tmp_path, 2017, ("ant",)))
    for path in (tmp_path / "JPEGImages/480p/ant").iterdir():
        Image.open(path).save(path.with_suffix(suffix))
        path.unlink()
    assert [path.suffix for path in davis.video("ant").frames] == [suffix] * FRAMES
    save(tmp_path / "JPEGImages/480p/ant/00002.jpg", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(InputError, match=r"00002\.\w+: another file has the same name"):
        davis.video("ant")


def test_hidden_files_are_no_frames_and_no_masks(tmp_path: Path) -> None:
    davis = open_davis(make_davis(tmp_path, 2017, ("ant",)))
    video = davis.video("ant")
    for folder in ("JPEGImages/480p/ant", "Annotations/480p/ant", "valid_scribbles0"):
        for name in ("._00000.jpg", "._00000.png", ".DS_Store", "._ant.bmp"):
            (tmp_path / folder / name).write_bytes(b"\0\5\x16\7")
        checkpoint = tmp_path / folder / ".ipynb_checkpoints" / "00000-checkpoint.png"
        checkpoint.parent.mkdir()
        checkpoint.write_bytes(b"")
    assert davis.video("ant") == video
    assert not [finding for finding in check_root(tmp_path).findings if "._" in str(finding)]


def write_results(folder: Path, change) -> Path:
    for index in range(FRAMES):
        save(folder / f"ant/{index:05d}.png", change(masks_of(index)).astype(np.uint8))
    return folder


def test_results_of_0_and_255_are_one_object(tmp_path: Path) -> None:
    ones = write_results(tmp_path / "ones", lambda labels: labels == 1)
    bytes_ = write_results(tmp_path / "bytes", lambda labels: (labels == 1) * 255)
    mixed = write_results(tmp_path / "mixed", lambda labels: labels + (labels == 2) * 253)
    for year in (2016, 2017):
        davis = open_davis(make_davis(tmp_path / str(year), year, ("ant",)))
        by_ones, by_bytes = (
            score_folder(davis, folder, ["ant"], Reading.MERGED, workers=1)["ant"]
            for folder in (ones, bytes_)
        )
        np.testing.assert_array_equal(by_ones, by_bytes)
        assert 0 < by_bytes[0].max() < 1
        with pytest.raises(InputError, match="255 is not an object's id"):
            score_folder(davis, mixed, ["ant"], Reading.MERGED, workers=1)
    with pytest.raises(InputError, match="255 is not an object's id"):
        score_folder(davis, bytes_, ["ant"], Reading.OBJECTS, workers=1)


def make_youtube(root: Path, names: list[str]) -> None:
    """A video `v`: object 1 from the first frame on, object 2 from the third, each a block."""
    objects = {
        "1": {"category": "ant", "frames": sorted(names)},
        "2": {"category": "bee", "frames": sorted(names[2:])},
    }
    (root / "valid").mkdir(parents=True)
    (root / "valid/meta.json").write_text(json.dumps({"videos": {"v": {"objects": objects}}}))
    for index, name in enumerate(names):
        labels = np.zeros(SHAPE, np.uint8)
        labels[4:20, 4 + index : 16 + index] = 1
        labels[4:20, 28:40] = 2 if index >= 2 else 0
        save(root / f"valid/JPEGImages/v/{name}.jpg", np.full((*SHAPE, 3), 90, np.uint8))
        save(root / f"valid/Annotations/v/{name}.png", labels)
        if index in (0, 2):
            strokes = np.zeros(SHAPE, np.uint8)
            strokes[10, 5:10] = 1 + index // 2
            save(root / f"valid_scribbles/v/{name}.bmp", strokes)


@pytest.mark.parametrize("all_frames", [False, True])
def test_youtube_frames_without_leading_zeros_come_in_order(
    tmp_path: Path, all_frames: bool
) -> None:
    names = ["90", "95", "100", "105", "1000"]
    make_youtube(tmp_path, names)
    tree = open_youtube_vos(tmp_path, "val", all_frames)
    video = tree.video("v")
    assert [path.stem for path in video.frames] == names
    assert [path.stem for path in video.masked] == names
    assert [item.first for item in video.objects] == ["90", "100"]
    assert video.appearances() == {"90": [1], "100": [2]}
    prompt = read_late_prompt(tree, video)
    assert set(np.unique(prompt.scribble)) == {0, 1} and list(prompt.later) == ["100"]
    one, two = score_objects(video, tmp_path / "valid/Annotations/v")
    assert one.values.shape == (2, 4) and two.values.shape == (2, 2)
    report = check_root(tmp_path)
    assert any("names do not sort" in str(finding) for finding in report.findings)
    assert not any("no stroke" in str(finding) for finding in report.findings)


def test_objects_appear_in_the_order_of_frames_and_no_frame_before_is_tracked(
    tmp_path: Path,
) -> None:
    """Object 1 comes later than object 2; the film is longer than what meta.json lists."""
    for frame in range(8):
        save(tmp_path / f"valid_all_frames/JPEGImages/v/{frame}.png", np.zeros(SHAPE, np.uint8))
    objects = {"1": {"frames": ["6"]}, "2": {"frames": ["2", "6"]}}
    meta = tmp_path / "valid" / "meta.json"
    meta.parent.mkdir()
    meta.write_text(json.dumps({"videos": {"v": {"objects": objects}}}))
    video = open_youtube_vos(tmp_path, "val", all_frames=True).video("v")
    assert list(video.appearances().items()) == [("2", [2]), ("6", [1])]
    assert [path.stem for path in video.frames] == ["2", "3", "4", "5", "6"]
    assert [path.stem for path in video.masked] == ["2", "6"]
