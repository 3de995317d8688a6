"""The three commands, run as a user does, with names that hold spaces and other letters."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rhmnet.files.images import read_labels

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a script with arguments; its exit code, stdout and stderr."""

    def run_script(name: str, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(SCRIPTS / f"{name}_scribbles.py"), run_name="__main__")
        return ended.value.code or 0, *capsys.readouterr()

    return run_script


@pytest.fixture
def masks(tmp_path) -> Path:
    """Two videos of two annotated frames, in the folders of DAVIS, with images."""
    root = tmp_path / "meine daten" / "DAVIS"
    for video in ("bär", "dog"):
        for frame in ("00000", "00001"):
            labels = np.zeros((90, 160), np.uint8)
            labels[20:70, 20:60], labels[20:70, 90:140] = 1, 2
            for part, suffix in (("Annotations", ".png"), ("JPEGImages", ".jpg")):
                path = root / part / "480p" / video / f"{frame}{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(labels).save(path)
    lists = root / "ImageSets" / "2017"
    lists.mkdir(parents=True)
    for split in ("train", "val"):
        (lists / f"{split}.txt").write_text("bär\ndog\n", encoding="utf-8")
    return root


def test_make_then_check(run, masks, tmp_path):
    single = ("--workers", 1)
    assert run("make", "davis", masks, "--split", "train", *single)[0] == 0
    code, out, _ = run("make", "davis", masks, "--split", "val", "--sets", 5, *single)
    assert code == 0 and "10 scribbles drawn" in out
    code, out, _ = run("make", "davis", masks, "--split", "val", "--sets", 5, *single)
    assert "0 scribbles drawn, 10 kept" in out
    code, out, _ = run("check", masks.parent, "--sheet", tmp_path / "strokes.png")
    assert code == 0 and "0 errors, " in out and "valid_scribbles4" in out
    assert Image.open(tmp_path / "strokes.png").width > 600
    (masks / "valid_scribbles3" / "bär.bmp").unlink()
    code, out, _ = run("check", masks, "--sheet", tmp_path / "strokes.png")
    assert code == 1 and "no scribble of bär" in out


def test_make_coco(run, tmp_path):
    corner = [[5, 5, 60, 5, 60, 60, 5, 60]]
    content = {
        "images": [{"id": 1, "file_name": "zwölf dinge.jpg", "height": 90, "width": 120}],
        "annotations": [{"id": 1, "image_id": 1, "iscrowd": 0, "segmentation": corner}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    images = tmp_path / "my images"
    images.mkdir()
    Image.new("RGB", (120, 90)).save(images / "zwölf dinge.jpg")
    command = ("make", "coco", tmp_path / "COCO", "--annotations", tmp_path / "instances.json")
    command += ("--images", images, "--workers", 1)
    code, out, _ = run(*command)
    assert code == 0 and "lists 1 images; 0 have no object" in out
    assert (tmp_path / "COCO" / "images" / "zwölf dinge.jpg").is_file()
    scribble = read_labels(tmp_path / "COCO" / "scribbles" / "zwölf dinge.bmp")
    assert set(np.unique(scribble)) == {0, 1, 2}
    code, _, err = run(*command, "--seed", 5)
    assert code == 2 and "seed 0 not 5" in err
    code, _, err = run(*command, "--coverage", 7)
    assert code == 2 and "--coverage: '7': expected 0 to 1" in err


def test_make_coco_looks_in_its_root_too_and_draws_several_sets(run, tmp_path):
    root, corner = tmp_path / "COCO", [[5, 5, 60, 5, 60, 60, 5, 60]]
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 90, "width": 120}],
        "annotations": [{"id": 1, "image_id": 1, "iscrowd": 0, "segmentation": corner}],
    }
    (root / "annotations").mkdir(parents=True)
    (root / "annotations" / "i.json").write_text(json.dumps(content))
    (root / "train2017").mkdir()
    Image.new("RGB", (120, 90)).save(root / "train2017" / "a.jpg")
    command = ("make", "coco", root, "--images", "train2017", "--workers", 1, "--sets", 2)
    code, out, _ = run(*command, "--annotations", "annotations/i.json")
    assert code == 0 and "lists 1 images, 2 times each" in out
    entries = json.loads((root / "COCO_scribbles.json").read_text())["images"]
    assert [entry["anno_name"] for entry in entries] == ["s0/a.bmp", "s1/a.bmp"]
    first, second = (read_labels(root / "scribbles" / entry["anno_name"]) for entry in entries)
    assert (first != second).any() and set(np.unique(first)) == set(np.unique(second))
    assert run("check", root, "--sheet", tmp_path / "strokes.png")[0] == 0
    code, _, err = run(*command, "--annotations", "nowhere/i.json")
    assert code == 2 and f"nowhere/i.json and {root}/nowhere/i.json: no such file" in err


def test_convert_folders_and_name_what_is_wrong(run, masks, tmp_path):
    run("make", "folder", tmp_path / "maps", "--masks", masks / "Annotations", "--workers", 1)
    for kind in ("davis", "svg", "png"):
        code, out, _ = run("convert", tmp_path / "maps", tmp_path / kind, "--to", kind)
        assert code == 0 and "dropped" not in out
        code, out, _ = run("convert", tmp_path / kind, tmp_path / f"{kind} back", "--to", "bmp")
        assert code == 0
        for path in (tmp_path / "maps").rglob("*.bmp"):
            back = tmp_path / f"{kind} back" / path.relative_to(tmp_path / "maps")
            assert back.read_bytes() == path.read_bytes()
    (tmp_path / "unnamed.svg").write_text("<svg><path d='M0 0L1 1'/></svg>")
    code, _, err = run("convert", tmp_path / "unnamed.svg", tmp_path / "a.bmp")
    assert code == 2 and "unnamed.svg" in err and "label" in err
    assert run("convert", tmp_path / "unnamed.svg", tmp_path / "no suffix")[0] == 2


@pytest.mark.parametrize("name", ["make", "convert", "check"])
def test_help_shows_an_example(run, name):
    code, out, _ = run(name, "--help")
    assert code == 0 and f"python scripts/{name}_scribbles.py" in out


def test_make_takes_lists_with_spaces_and_refuses_what_it_would_not_do(run, masks, tmp_path):
    parts = masks / "Annotations" / "480p"
    (parts / "dog").rename(parts / "zwei hunde")
    (masks / "ImageSets" / "2017" / "val.txt").write_text("zwei hunde\n", encoding="utf-8")
    assert run("make", "davis", masks, "--split", "val", "--workers", 1)[0] == 0
    assert (masks / "valid_scribbles0" / "zwei hunde.bmp").is_file()
    for arguments, told in (
        (("davis", masks, "--split", "train", "--sets", 2), "--sets"),
        (("youtube", masks, "--split", "train", "--sets", 2), "--sets"),
        (("folder", parts / "out", "--masks", parts), "lies among the masks"),
        (
            ("folder", tmp_path / "out", "--masks", parts, "--num-objects", 300),
            "objects: '300'",
        ),
        (("coco", tmp_path, "--annotations", "a.json", "--max-objects", 0), "--max-objects: '0'"),
    ):
        code, _, err = run("make", *arguments)
        assert code == 2 and told in err and "Traceback" not in err


def test_other_masks_are_not_taken_for_those_of_before(run, masks, tmp_path):
    first = ("make", "folder", tmp_path / "out", "--workers", 1, "--masks")
    assert run(*first, masks / "Annotations")[0] == 0
    code, _, err = run(*first, masks / "Annotations" / "480p")
    assert code == 2 and "masks Annotations not 480p" in err


def test_sheets_that_cannot_be_written_are_named(run, masks, tmp_path):
    run("make", "davis", masks, "--split", "train", "--workers", 1)
    for name in ("no suffix", "list.txt"):
        code, _, err = run("check", masks, "--sheet", tmp_path / name)
        assert code == 2 and "--sheet" in err and not (tmp_path / name).exists()
