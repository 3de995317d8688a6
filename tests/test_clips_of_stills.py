"""Clips made of stills: what lies over what, strokes on their objects, the same bytes each time."""

from __future__ import annotations

import hashlib
import json
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from rhmnet.data.youtube import open_youtube_training
from rhmnet.errors import InputError
from rhmnet.files.images import read_image, read_labels
from rhmnet.tools.clips import ClipRecipe, main, write_clips
from rhmnet.tools.clips.cut_outs import CutOut, Picture, coco_stills, map_stills
from rhmnet.tools.clips.moving_scene import (
    ClipScene,
    Sprite,
    Wobble,
    affine,
    camera_path,
    curve,
    render,
    sample_scene,
    sprite_path,
)

COMMAND = Path(__file__).resolve().parents[1] / "scripts" / "make_clips.py"
TINY = ClipRecipe(frames=3, short_side=64)
STILL = Wobble(0.0, (1.0, 1.0), (0.0, 0.0), 0.0)


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six noisy pictures of 72x96 pixels, one or two objects each: images/ and masks/."""
    root = tmp_path_factory.mktemp("stills")
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        image = rng.integers(0, 120, (72, 96, 3), np.uint8)
        labels = np.zeros((72, 96), np.uint8)
        cv2.ellipse(labels, (30 + 3 * number, 36), (16, 22), 20 * number, 0, 360, 1, -1)
        if number % 2:
            labels[8:28, 66:90] = 2
        image[labels > 0] += 100
        Image.fromarray(image).save(root / "images" / f"{number}.png")
        Image.fromarray(labels).save(root / "masks" / f"{number}.png")
    return root


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def scene_of(sprites: list[Sprite], ground: Picture, length: int = 2) -> ClipScene:
    """Nothing but the sprites moves: no camera, light, blur or noise."""
    eye, ones = [np.eye(3)] * length, np.ones((length, 3))
    count = max([int(ground.labels.max()), *(sprite.number for sprite in sprites)])
    return ClipScene(ground, tuple(sprites), eye, ones, 0.0, 0.0, 0.0, count)


def square(number: int, colour: int, places: list[tuple[int, int]], behind: bool = False) -> Sprite:
    """An opaque square of 10x10 pixels whose corner is at each of the places (x, y) in turn."""
    pixels = np.dstack([np.full((10, 10, 3), colour, np.uint8), np.full((10, 10), 255, np.uint8)])
    path = [affine((0, 0), place, (1, 1), 0.0) for place in places]
    gain = np.ones((len(places), 3))
    return Sprite(number, CutOut(pixels), path, STILL, gain, behind, 0.0)


def test_what_is_nearer_covers_what_is_further_in_picture_and_labels() -> None:
    labels = np.zeros((40, 60), np.uint8)
    labels[10:30, 20:40] = 1
    ground = Picture(np.full((40, 60, 3), 50, np.uint8), labels)
    ground.image[labels == 1] = 80
    sprites = [
        square(2, 200, [(2, 4), (15, 15)], behind=True),
        square(3, 120, [(30, 12), (35, 25)]),
        square(0, 250, [(50, 30), (38, 28)]),  # a bystander: background
    ]
    first, second = render(scene_of(sprites, ground), np.random.default_rng(0))

    expected = labels.copy()
    expected[4:14, 2:12], expected[12:22, 30:40] = 2, 3
    assert np.array_equal(first.labels, expected)
    assert (first.image[5:13, 3:11] == 200).all() and (first.image[13:21, 31:39] == 120).all()
    expected = labels.copy()
    expected[15:25, 15:20] = 2  # its right half is behind the ground's object
    expected[25:35, 35:45] = 3
    expected[28:38, 38:48] = 0
    assert np.array_equal(second.labels, expected)
    assert (second.image[16:24, 22:25] == 80).all() and (second.image[29:37, 39:47] == 250).all()


def test_a_cut_out_keeps_its_colours_and_takes_nothing_of_its_surroundings_along() -> None:
    """A grey disc on white, over black: wherever it moves, nothing is brighter than the disc."""
    labels = np.zeros((80, 100), np.uint8)
    cv2.circle(labels, (50, 40), 20, 1, -1)
    disc = np.where(labels[..., None] > 0, np.uint8(100), np.full((80, 100, 3), 255, np.uint8))
    mark = np.zeros((80, 100), np.uint8)
    mark[2:8, 2:8] = 1
    ground = Picture(np.zeros((80, 100, 3), np.uint8), mark)
    for seed in range(8):
        scene = sample_scene(np.random.default_rng(seed), ground, [Picture(disc, labels)], 3)
        assert scene.num_objects in (2, 3)  # now and then it is there twice
        cut_out = scene.sprites[0].cut_out.pixels
        assert (cut_out[..., :3] <= np.ceil(100 / 255 * cut_out[..., 3:]) + 1).all()
        middle = cut_out[cut_out.shape[0] // 2, cut_out.shape[1] // 2]
        assert middle.tolist() == [100, 100, 100, 255]


def test_motion_is_smooth_and_stays_within_reach() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        values = curve(rng, 9, 0.5)
        assert np.abs(values).max() <= 0.5
        bends = np.diff(values, 2)  # a parabola: its second difference is the same everywhere
        assert np.allclose(bends, bends[0])
    assert np.ptp(curve(rng, 9, 0.5, still=1.0)) == 0
    paths = [sprite_path(rng, (20, 30), (64, 96), 9) for _ in range(50)]
    steps = [np.linalg.norm(np.diff([m[:2, 2] for m in path], axis=0), axis=1) for path in paths]
    assert max(step.max() for step in steps) < 40  # never across the frame at once
    assert sum(step.max() > 2 for step in steps) > 25  # but most of them move
    cameras = [camera_path(rng, (64, 96), 9) for _ in range(20)]
    assert all(np.linalg.det(m[:2, :2]) >= 1 for path in cameras for m in path)  # no border seen


@pytest.fixture(scope="module")
def made(stills: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six tiny clips, made by one process; not to be changed."""
    out = tmp_path_factory.mktemp("made") / "Youtube-VOS"
    assert write_clips(map_stills(stills / "masks", stills / "images"), out, 6, TINY) == 6
    return out


def test_strokes_lie_on_what_they_name_and_the_trees_can_be_trained_on(made: Path) -> None:
    tree = open_youtube_training(made.parent, min_length=3)
    assert len(tree) == 6 and tree.frame_spacing == 5
    moved = 0
    for video in tree.videos:
        assert video.images == ("00000.jpg", "00005.jpg", "00010.jpg")
        masks = []
        for index in range(3):
            frame = tree.frame(video, index)
            strokes, image = read_labels(frame.scribble), read_image(frame.image)
            mask = made / "train" / "Annotations" / video.name / f"{frame.image.stem}.png"
            masks.append(read_labels(mask))
            assert image.shape[:2] == strokes.shape == masks[-1].shape == (64, 85)
            background = strokes.max()
            for value in np.unique(strokes[strokes > 0]):
                expected = 0 if value == background else value
                assert (masks[-1][strokes == value] == expected).all()
            assert set(np.unique(masks[0])) - {0, 255} <= set(range(1, background))
        moved += not np.array_equal(masks[0], masks[-1])
    assert moved == 6


def test_bytes_are_the_same_whatever_the_workers_and_the_count(
    made: Path, stills: Path, tmp_path: Path
) -> None:
    source = map_stills(stills / "masks", stills / "images")
    write_clips(source, tmp_path / "out", 2, TINY)
    assert write_clips(source, tmp_path / "out", 6, TINY, workers=2) == 4
    assert digests(tmp_path / "out") == digests(made)
    other = tmp_path / "other"
    write_clips(source, other, 1, ClipRecipe(seed=1, frames=3, short_side=64))
    name = "train/JPEGImages/clip-000000/00000.jpg"
    assert digests(other)[name] != digests(made)[name]


def test_a_stopped_run_goes_on_where_it_was(stills: Path, tmp_path: Path) -> None:
    source, out = map_stills(stills / "masks", stills / "images"), tmp_path / "out"
    write_clips(source, out, 3, TINY)
    before = digests(out)
    kept = out / "train_scribbles" / "clip-000000" / "00000.bmp"
    age = kept.stat().st_mtime_ns
    scribbles = out / "train_scribbles" / "clip-000001"
    (out / ".unfinished" / "clip-000001").mkdir(parents=True)  # as if killed between two moves
    scribbles.rename(out / ".unfinished" / "clip-000001" / "scribbles")
    assert write_clips(source, out, 3, TINY) == 1
    assert digests(out) == before and kept.stat().st_mtime_ns == age
    assert write_clips(source, out, 3, TINY) == 0


def test_other_options_and_others_files_are_refused(stills: Path, tmp_path: Path) -> None:
    source, out = map_stills(stills / "masks", stills / "images"), tmp_path / "out"
    write_clips(source, out, 1, TINY)
    changed = ClipRecipe(seed=5, frames=3, short_side=64)
    with pytest.raises(InputError, match="seed 0 not 5"):
        write_clips(source, out, 1, changed)
    assert write_clips(source, out, 1, changed, overwrite=True) == 1
    real = tmp_path / "real" / "train_scribbles"
    real.mkdir(parents=True)
    with pytest.raises(InputError, match="not made here"):
        write_clips(source, real.parent, 1, TINY, overwrite=True)
    assert real.is_dir()


def test_stills_that_do_not_fit_are_named(stills: Path, tmp_path: Path) -> None:
    Image.new("L", (50, 50), 1).save(tmp_path / "0.png")
    (still,) = map_stills(tmp_path, stills / "images")
    with pytest.raises(InputError, match=r"0\.png: 96x72 pixels, but its masks have 50x50"):
        still.read(64)
    with pytest.raises(InputError, match="none of its 1 label maps"):
        map_stills(tmp_path, COMMAND.parent)
    full = map_stills(tmp_path, tmp_path)
    with pytest.raises(InputError, match="at least 2"):
        write_clips(full, tmp_path / "out", 1, TINY)
    with pytest.raises(InputError, match="no still has both"):
        write_clips(full * 2, tmp_path / "out", 1, TINY)


def test_coco_instances_from_the_command_line(
    stills: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    box = [10, 20, 50, 20, 50, 60, 10, 60]
    images = [{"id": i, "file_name": f"{i}.png", "height": 72, "width": 96} for i in range(6)]
    annotations = [
        {"id": i, "image_id": i, "category_id": 1, "segmentation": [box]} for i in range(5)
    ]
    content = {"images": images, "annotations": annotations, "categories": []}
    (tmp_path / "instances.json").write_text(json.dumps(content))
    (still, *others) = coco_stills(tmp_path / "instances.json", stills / "images")
    assert len(others) == 4  # the last has no object
    assert np.count_nonzero(still.read(72).labels == 1) == 40 * 40

    out = tmp_path / "Youtube-VOS"
    paths = ["--annotations", str(tmp_path / "instances.json"), "--images", "images"]
    sizes = ["--count", "2", "--frames", "3", "--short-side", "64", "--workers", "1"]
    monkeypatch.setattr(sys, "argv", ["make_clips.py", str(stills), str(out), *paths, *sizes])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(COMMAND), run_name="__main__")
    assert ended.value.code == 0
    assert "2 clips made, 0 kept" in capsys.readouterr().out
    assert len(open_youtube_training(tmp_path, min_length=3)) == 2


def test_a_side_is_refused_with_the_bounds_that_help_shows(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--short-side: '63': expected 64 to 2160"):
        main([str(tmp_path), str(tmp_path), "--short-side", "63"])


def test_train_small_says_what_it_needs(tmp_path: Path) -> None:
    """Before anything is installed or written."""
    script = COMMAND.with_name("train_small.sh")
    (tmp_path / "COCO").mkdir()
    done = subprocess.run(
        ["bash", str(script), "DATA/..", "out"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2 and "DATA/../COCO/instances.json: not there" in done.stderr
    told = subprocess.run(["bash", str(script), "--help"], capture_output=True, text=True)
    assert told.returncode == 0 and "resnet18.pth" in told.stdout and "set -" not in told.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["COCO"]


def test_overwrite_leaves_videos_that_were_put_beside_the_clips(
    stills: Path, tmp_path: Path
) -> None:
    found = map_stills(stills / "masks", stills / "images")
    write_clips(found, tmp_path, 2, TINY)
    mine = tmp_path / "train_scribbles" / "bear" / "00000.bmp"
    mine.parent.mkdir()
    mine.write_text("drawn by hand")
    write_clips(found, tmp_path, 1, ClipRecipe(seed=1, frames=3, short_side=64), overwrite=True)
    assert mine.read_text() == "drawn by hand"
    left = {path.name for path in (tmp_path / "train_scribbles").iterdir()}
    assert left == {"bear", "clip-000000"}
