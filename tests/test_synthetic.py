"""Synthetic data: layouts, strokes, late objects, same bytes each time, no masks to train on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import runpy
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
import torch

from rhmnet.config import load_config
from rhmnet.data import SampleKey
from rhmnet.data.loader import build_dataset
from rhmnet.errors import InputError
from rhmnet.files import concurrency
from rhmnet.files.images import read_image, read_labels
from rhmnet.tools import synthetic as trees
from rhmnet.tools.synthetic import SIZES, shows_everything, write_trees
from rhmnet.tools.synthetic.creature_scene import Creature, render, sample_scene
from rhmnet.tools.synthetic.creatures import BODIES, PATTERNS

TINY = SIZES["tiny"]
COMMAND = Path(__file__).resolve().parents[1] / "scripts" / "make_synthetic.py"


@pytest.fixture
def root(tiny_trees: Path) -> Path:
    return tiny_trees


@pytest.fixture
def speck(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a size even smaller than tiny, for tests of how trees are written."""
    monkeypatch.setitem(SIZES, "speck", trees.Size((48, 80), 1, 1, 1, 3, 1, 1, 3))
    return "speck"


@pytest.fixture(scope="module")
def opened() -> Iterator[list[str]]:
    """The files that this process opens, whoever opens them through Python."""
    names: list[str] = []
    watching = True

    def note(event: str, arguments: tuple) -> None:
        if watching and event == "open":
            names.append(os.fsdecode(arguments[0]) if not isinstance(arguments[0], int) else "")

    sys.addaudithook(note)  # there is no taking it away
    yield names
    watching = False


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def stems(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.iterdir())


def test_coco_layout(root: Path) -> None:
    coco = root / "COCO"
    images = json.loads((coco / "COCO_scribbles.json").read_text())["images"]
    assert len(images) == TINY.coco_images == len(stems(coco / "images"))
    for entry in images:
        image = read_image(coco / "images" / entry["file_name"])
        scribble = read_labels(coco / "scribbles" / entry["anno_name"])
        assert image.shape[:2] == scribble.shape == TINY.shape
        # every object has a stroke, and num_objects is the background's label
        assert set(np.unique(scribble)) == set(range(entry["num_objects"] + 1))


@pytest.mark.parametrize(
    ("images", "scribbles", "count"),
    [
        ("DAVIS/JPEGImages/480p", "DAVIS/train_scribbles", TINY.davis_train),
        ("Youtube-VOS/train/JPEGImages", "Youtube-VOS/train_scribbles", TINY.youtube_train),
    ],
)
def test_every_training_frame_has_strokes(
    root: Path, images: str, scribbles: str, count: int
) -> None:
    videos = stems(root / scribbles)
    assert len(videos) == count
    for video in videos:
        names = stems(root / scribbles / video)
        assert names == stems(root / images / video)
        assert len(names) == TINY.train_frames
        maps = [read_labels(path) for path in sorted((root / scribbles / video).iterdir())]
        background = {int(scribble.max()) for scribble in maps}
        assert len(background) == 1, "N + 1 must be in every frame, and the same in all"
        assert set(np.unique(maps[-1])) == set(range(background.pop() + 1))


def test_davis_image_sets_name_the_videos(root: Path) -> None:
    davis = root / "DAVIS"
    for year in ("2016", "2017"):
        train = (davis / "ImageSets" / year / "train.txt").read_text().split()
        valid = (davis / "ImageSets" / year / "val.txt").read_text().split()
        assert train == stems(davis / "train_scribbles")
        assert valid == stems(davis / "Annotations" / "480p")
        assert sorted(train + valid) == stems(davis / "JPEGImages" / "480p")


def test_davis_valid_has_five_differing_sets_inside_the_masks(root: Path) -> None:
    davis = root / "DAVIS"
    for video in stems(davis / "Annotations" / "480p"):
        mask = read_labels(davis / "Annotations" / "480p" / video / "00000.png")
        sets = [read_labels(davis / f"valid_scribbles{n}" / f"{video}.bmp") for n in range(5)]
        assert len({scribble.tobytes() for scribble in sets}) == 5
        background = int(mask.max()) + 1
        for scribble in sets:
            assert set(np.unique(scribble)) == set(range(background + 1))
            drawn = scribble > 0
            assert (np.where(scribble == background, 0, scribble)[drawn] == mask[drawn]).all()


def test_youtube_objects_appear_late(root: Path) -> None:
    youtube = root / "Youtube-VOS"
    videos = json.loads((youtube / "valid" / "meta.json").read_text())["videos"]
    assert list(videos) == stems(youtube / "valid" / "JPEGImages")
    late = 0
    for video, entry in videos.items():
        names = stems(youtube / "valid" / "Annotations" / video)
        assert names == [f"{5 * index:05d}" for index in range(TINY.valid_frames)]
        masks = {
            name: read_labels(youtube / "valid" / "Annotations" / video / f"{name}.png")
            for name in names
        }
        first = {int(number): o["frames"][0] for number, o in entry["objects"].items()}
        late += sum(name > "00000" for name in first.values())
        for number, appears in first.items():
            seen = [name for name in names if (masks[name] == number).any()]
            assert seen == [name for name in names if name >= appears]
        background = len(first) + 1
        assert stems(youtube / "valid_scribbles" / video) == sorted(set(first.values()))
        for name in set(first.values()):
            scribble = read_labels(youtube / "valid_scribbles" / video / f"{name}.bmp")
            new = {number for number, appears in first.items() if appears == name}
            assert set(np.unique(scribble)) == {0, background} | new
            # the background's strokes keep off the objects that were there before
            assert (masks[name][scribble == background] == 0).all()
    assert late > 0


def test_same_seed_same_bytes_whatever_the_workers(speck: str, tmp_path: Path) -> None:
    write_trees(tmp_path / "one", seed=3, size=speck)
    write_trees(tmp_path / "two", seed=3, size=speck, workers=2)
    assert digests(tmp_path / "two") == digests(tmp_path / "one")


def test_another_seed_changes_every_picture(speck: str, tmp_path: Path) -> None:
    for seed in (3, 4):
        write_trees(tmp_path / str(seed), seed=seed, size=speck)
    mine, other = digests(tmp_path / "3"), digests(tmp_path / "4")
    assert not {mine[name] for name in mine if name.endswith(".jpg")} & set(other.values())


def test_dense_masks_exist_for_validation_alone(root: Path) -> None:
    training = {
        *stems(root / "DAVIS" / "train_scribbles"),
        *stems(root / "Youtube-VOS" / "train_scribbles"),
    }
    masks = list(root.rglob("*.png"))
    assert masks
    assert all("Annotations" in path.parts and path.parent.name not in training for path in masks)
    # A training scribble leaves most of the picture open: it is no mask by another name.
    for path in [*root.rglob("train_scribbles/*/*.bmp"), *root.rglob("COCO/scribbles/*.bmp")]:
        assert (read_labels(path) > 0).mean() < 0.25, path


@pytest.mark.parametrize("stage", ["pretrain", "video"])
def test_training_opens_no_dense_mask(
    root: Path, tmp_path: Path, opened: list[str], stage: str
) -> None:
    shutil.copytree(root, tmp_path / "all")
    shutil.copytree(root, tmp_path / "bare", ignore=shutil.ignore_patterns("Annotations"))
    assert not list((tmp_path / "bare").rglob("*.png"))
    options = ["data.short_side=128", "data.crop_size=[96, 96]", "data.minimum_area=20"]
    clips = []
    opened.clear()
    for folder in ("all", "bare"):
        root_option = f"data.root={tmp_path / folder}"
        dataset = build_dataset(load_config("video_training", [*options, root_option]), stage)
        clips.append([dataset[SampleKey(0, index, 5)] for index in range(12)])
    for clip, twin in zip(*clips, strict=True):
        assert all(torch.equal(value, other) for value, other in zip(clip, twin, strict=True))
    assert len([name for name in opened if name.endswith(".bmp")]) >= 24, "nothing was watched"
    assert not [name for name in opened if "Annotations" in name or name.endswith(".png")]


def test_splits_share_no_creature_and_no_pattern() -> None:
    for families in (BODIES, PATTERNS):
        train, valid = families["train"], families["valid"]
        assert not set(train) & set(valid)
        assert not set(train.values()) & set(valid.values())


@pytest.mark.parametrize("split", ["train", "valid"])
def test_scenes_move_and_keep_their_objects_in_sight(split: str) -> None:
    areas = []
    for seed in range(12):
        scene = sample_scene(np.random.default_rng(seed), split, (80, 144), 5, 1 + seed % 3)
        frames = [render(scene, index) for index in range(5)]
        if not shows_everything(scene, frames):
            continue
        areas += [(f.labels == n).mean() for f in frames for n, _ in scene.creatures]
        assert len({frame.labels.tobytes() for frame in frames}) == 5
        for number, _ in scene.creatures:
            before, after = (f.labels == number for f in frames[:2])
            assert (before & after).sum() > 0.3 * before.sum(), "moves further than itself"
    assert len(areas) > 80
    assert 0.04 < np.median(areas) < 0.15


def test_the_nearer_creature_hides_the_further_one() -> None:
    scene = sample_scene(np.random.default_rng(0), "train", (80, 144), 2, count=2)
    (far, back), (near, front) = scene.creatures
    back = dataclasses.replace(back, path=front.path)  # both in the same place

    def seen(*creatures: tuple[int, Creature]) -> np.ndarray:
        return render(dataclasses.replace(scene, creatures=creatures), 0).labels

    alone = seen((far, back), (near, front)) == near
    away = dataclasses.replace(back, path=dataclasses.replace(back.path, start=np.array([9, 9])))
    assert (alone == (seen((far, away), (near, front)) == near)).mean() > 0.99
    assert (seen((near, front), (far, back)) == near).sum() < 0.5 * alone.sum()


def test_the_same_arguments_keep_what_is_there(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    write_trees(root, seed=0, size="tiny")
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*")}


def test_other_arguments_need_overwrite(root: Path, speck: str, tmp_path: Path) -> None:
    out = tmp_path / "data"
    shutil.copytree(root, out)
    with pytest.raises(InputError, match="--overwrite"):
        write_trees(out, seed=0, size=speck)
    assert digests(out) == digests(root)
    write_trees(out, seed=0, size=speck, overwrite=True)
    assert json.loads((out / trees.MANIFEST).read_text())["size"] == speck
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_pictures_of_an_earlier_version_are_not_kept(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "data")
    path = tmp_path / "data" / trees.MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": trees.VERSION - 1}))
    with pytest.raises(InputError, match="--overwrite"):
        write_trees(tmp_path / "data", seed=0, size="tiny")


@pytest.mark.parametrize("ours", [False, True])
def test_a_folder_with_other_things_is_never_replaced(
    root: Path, tmp_path: Path, ours: bool
) -> None:
    out = tmp_path / "data"
    if ours:
        shutil.copytree(root, out)
    out.mkdir(exist_ok=True)
    (out / "thesis.tex").write_text("dear")
    with pytest.raises(InputError, match="empty folder"):
        write_trees(out, seed=4, size="tiny", overwrite=True)
    assert (out / "thesis.tex").read_text() == "dear"


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(28, "No space left on device"), InputError),
    ],
)
def test_a_run_that_ends_early_leaves_nothing(
    tmp_path: Path, speck: str, monkeypatch: pytest.MonkeyPatch, fault: BaseException, raised: type
) -> None:
    real = trees.make_video

    def end(job: trees.VideoJob) -> dict:
        if job.tree == "Youtube-VOS":
            raise fault
        return real(job)

    monkeypatch.setattr(trees, "make_video", end)
    with pytest.raises(raised):
        write_trees(tmp_path / "data", seed=3, size=speck)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("left", [{}, {"data.partial": trees.TREES, "data.replaced": ("COCO",)}])
def test_what_a_killed_run_left_is_swept_away(tmp_path: Path, speck: str, left: dict) -> None:
    (tmp_path / "data.partial").mkdir()  # killed at once: not even a manifest
    for name, folders in left.items():
        for folder in folders:
            (tmp_path / name / folder).mkdir(parents=True)
        (tmp_path / name / trees.MANIFEST).write_text("{")
    write_trees(tmp_path / "data", seed=3, size=speck)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert stems(tmp_path / "data") == sorted([*trees.TREES, "synthetic"])


def test_a_process_that_is_killed_is_one_line(
    tmp_path: Path, speck: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise BrokenProcessPool("A process in the process pool was terminated abruptly")

    monkeypatch.setattr(concurrency.ProcessPoolExecutor, "submit", killed)
    with pytest.raises(InputError, match=r"killed.*--workers"):
        write_trees(tmp_path / "data", seed=3, size=speck, workers=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"seed": 0, "size": "huge"}, "huge"),
        ({"seed": -1, "size": "tiny"}, "seed -1"),
        ({"seed": 0, "size": "tiny", "workers": 0}, "workers 0"),
    ],
)
def test_bad_arguments_are_named(tmp_path: Path, arguments: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        write_trees(tmp_path / "data", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_in_one_line_why_it_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(sys, "argv", [str(COMMAND), str(tmp_path), "--size", "tiny"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(COMMAND), run_name="__main__")
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path}: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("file", ["DAVIS/JPEGImages/480p/bear/00000.jpg", "COCO/notes.txt"])
def test_trees_that_got_other_data_since_are_never_replaced(
    root: Path, tmp_path: Path, file: str
) -> None:
    out = tmp_path / "data"
    shutil.copytree(root, out)
    (out / file).parent.mkdir(exist_ok=True)
    (out / file).write_text("real")
    with pytest.raises(InputError, match="empty folder"):
        write_trees(out, seed=4, size="tiny", overwrite=True)
    assert (out / file).read_text() == "real"
