"""Mask files, pictures, tables and manifests."""

from __future__ import annotations

import csv
import json
import os

import numpy as np
import pytest
from PIL import Image

from rhmnet.errors import InputError
from rhmnet.evaluation.manifest import (
    Manifest,
    check_newer,
    check_weights,
    fingerprint,
    prepare_folder,
)
from rhmnet.evaluation.report import COLUMNS, build_report, format_report, write_report
from rhmnet.files.images import read_labels, write_mask
from rhmnet.visualize import contact_sheet, davis_palette, draw_scribble, overlay


def test_mask_is_a_palette_png_in_davis_colours(tmp_path):
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    write_mask(tmp_path / "m.png", labels)
    assert (read_labels(tmp_path / "m.png") == labels).all()
    with Image.open(tmp_path / "m.png") as image:
        assert image.mode == "P"
        assert np.array(image.convert("RGB"))[0, 1].tolist() == [128, 0, 0]
    assert [p.name for p in tmp_path.iterdir()] == ["m.png"]


def test_palette_of_davis():
    palette = davis_palette()
    known = {0: [0, 0, 0], 1: [128, 0, 0], 2: [0, 128, 0], 3: [128, 128, 0], 4: [0, 0, 128]}
    known |= {8: [64, 0, 0], 22: [0, 192, 128], 255: [224, 224, 192]}
    assert {label: palette[label].tolist() for label in known} == known


def test_overlay_changes_objects_alone_and_not_its_input():
    image = np.full((40, 60, 3), 100, np.uint8)
    labels = np.zeros((40, 60), np.uint8)
    labels[10:30, 10:30] = 2
    picture = overlay(image, labels, alpha=0.5)
    assert (image == 100).all()
    assert (picture[labels == 0] == 100).all()
    assert picture[20, 20].tolist() == [50, 178, 50]  # half grey 100, half green 255
    assert picture[10, 20].tolist() == [0, 255, 0]  # the outline is opaque


def test_overlay_of_an_empty_mask_is_the_image():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    assert (overlay(image, np.zeros((20, 30), np.uint8)) == image).all()


def test_strokes_lie_on_top_with_white_for_background():
    scribble = np.zeros((40, 60), np.uint8)
    scribble[20, 5:20] = 1
    scribble[30, 40:55] = 255
    picture = draw_scribble(np.full((40, 60, 3), 100, np.uint8), scribble)
    assert picture[20, 10].tolist() == [255, 0, 0]
    assert picture[30, 45].tolist() == [255, 255, 255]
    assert picture[20 + 3, 10].tolist() == [0, 0, 0]
    assert picture[5, 5].tolist() == [100, 100, 100]


def test_contact_sheet_holds_every_picture_at_one_height():
    colours = [(10, 0, 200), (20, 0, 200), (30, 0, 200)]  # captions are grey
    pictures = [np.full((50, 100, 3), colour, np.uint8) for colour in colours]
    sheet = contact_sheet(pictures, ["a", "b", "c"], columns=2, height=25)
    assert sheet.dtype == np.uint8
    for colour in colours:
        rows, columns = np.nonzero((sheet == colour).all(axis=2))
        assert rows.max() - rows.min() == 24
        assert columns.max() - columns.min() == 49
    with pytest.raises(ValueError, match="3 pictures with 1 captions"):
        contact_sheet(pictures, ["a"])


def scores(j: list[float], f: list[float]) -> np.ndarray:
    """[2, N, T] of constant values."""
    return np.stack([np.repeat(np.array(v)[:, None], 5, axis=1) for v in (j, f)])


def test_report_averages_objects_not_videos():
    first = {"a": scores([0.2, 0.4], [0.6, 0.8]), "b": scores([0.9], [1.0])}
    second = {"a": scores([0.4, 0.6], [0.8, 1.0]), "b": scores([0.5], [0.6])}
    report = build_report({"year": 2017}, {"scribbles 0": first, "scribbles 1": second})
    row = report["sets"]["scribbles 0"]["global"]
    assert row["J-Mean"] == pytest.approx(0.5)
    assert row["F-Mean"] == pytest.approx(0.8)
    assert row["J&F-Mean"] == pytest.approx(0.65)
    assert row["J-Recall"] == pytest.approx(1 / 3)
    assert row["J-Decay"] == pytest.approx(0)
    assert list(report["sets"]["scribbles 0"]["objects"]) == ["a_1", "a_2", "b_1"]
    assert report["mean"]["J&F-Mean"] == pytest.approx((0.65 + 0.65) / 2)
    assert report["std"]["J-Mean"] == pytest.approx(0)
    assert report["std"]["F-Recall"] == pytest.approx(0)


def test_deviation_over_sets_is_the_populations():
    sets = {str(k): {"a": scores([v], [v])} for k, v in enumerate((0.2, 0.4, 0.9))}
    report = build_report({}, sets)
    assert report["mean"]["J-Mean"] == pytest.approx(0.5)
    assert report["std"]["J-Mean"] == pytest.approx(np.sqrt((0.09 + 0.01 + 0.16) / 3))


def test_report_files_hold_what_was_computed(tmp_path):
    report = build_report({"year": 2016}, {"scribbles 0": {"a": scores([0.25], [0.75])}})
    paths = write_report(report, tmp_path / "run")
    assert json.loads(paths[0].read_text()) == report
    with open(paths[1], newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["Set", "Sequence", *COLUMNS]
    assert [(r["Set"], r["Sequence"]) for r in rows] == [
        ("scribbles 0", "a_1"),
        ("scribbles 0", "Global"),
        ("mean", "Global"),
        ("std", "Global"),
    ]
    assert float(rows[1]["J&F-Mean"]) == 0.5
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["scores.csv", "scores.json"]


def test_table_shows_sets_mean_and_deviation():
    sets = {f"scribbles {k}": {"a": scores([v], [v])} for k, v in enumerate((0.5, 0.7))}
    lines = format_report(build_report({}, sets)).splitlines()
    table = {line[:18].strip(): line[18:].split() for line in lines if line}
    assert table["scribbles 1"][0] == "0.7000"
    assert table["mean"][0] == "0.6000"
    assert table["± std"][0] == "0.1000"
    assert table["a_1"][1] == "0.6000"


MANIFEST = Manifest({"weights": "w", "test": {"memory": 4}}, {"a": "1", "b": "2"}, None)


def make_masks(folder, *names):
    for name in names:
        (folder / name).mkdir(parents=True)


def test_same_manifest_keeps_masks(tmp_path):
    prepare_folder(tmp_path / "r", MANIFEST, overwrite=False)
    make_masks(tmp_path / "r", "a", "b")
    prepare_folder(tmp_path / "r", MANIFEST, overwrite=False)
    assert (tmp_path / "r/a").is_dir()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (MANIFEST._replace(made_by={"weights": "x", "test": {"memory": 4}}), "weights: w -> x"),
        (MANIFEST._replace(made_by={"weights": "w", "test": {"memory": 9}}), "test.memory: 4 -> 9"),
        (MANIFEST._replace(prompts={"a": "9"}), "other strokes of a"),
    ],
)
def test_other_manifest_is_refused_until_overwritten(tmp_path, changed, message):
    prepare_folder(tmp_path, MANIFEST, overwrite=False)
    make_masks(tmp_path, "a")
    with pytest.raises(InputError, match=f"{message}.*--overwrite"):
        prepare_folder(tmp_path, changed, overwrite=False)
    prepare_folder(tmp_path, changed, overwrite=True)
    assert not (tmp_path / "a").exists()


def test_overwriting_one_video_keeps_the_others_of_the_same_making(tmp_path):
    prepare_folder(tmp_path, MANIFEST, overwrite=False)
    make_masks(tmp_path, "a", "b")
    prepare_folder(tmp_path, MANIFEST._replace(prompts={"a": "1"}), overwrite=True)
    assert not (tmp_path / "a").exists()
    assert (tmp_path / "b").is_dir()
    other = MANIFEST._replace(made_by={"weights": "x"}, prompts={"a": "1"})
    prepare_folder(tmp_path, other, overwrite=True)
    assert not (tmp_path / "b").exists()


def test_masks_without_manifest_are_refused(tmp_path):
    make_masks(tmp_path, "a")
    with pytest.raises(InputError, match=r"no manifest\.json"):
        prepare_folder(tmp_path, MANIFEST, overwrite=False)


def test_masks_older_than_the_weights_are_refused(tmp_path):
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"one")
    made_by = {"weights": fingerprint([weights])}
    prepare_folder(tmp_path / "r", Manifest(made_by, {}, str(weights)), overwrite=False)
    check_weights(tmp_path / "r")
    weights.write_bytes(b"two")
    with pytest.raises(InputError, match="older than the weights"):
        check_weights(tmp_path / "r")


def test_masks_are_compared_with_a_checkpoints_date(tmp_path):
    make_masks(tmp_path, "a")
    mask, weights = tmp_path / "a/00000.png", tmp_path / "w.pth"
    for path, date in ((mask, 100), (weights, 50)):
        path.write_bytes(b"")
        os.utime(path, (date, date))
    check_newer(tmp_path, ["a"], weights)
    os.utime(weights, (200, 200))
    with pytest.raises(InputError, match=r"00000.png: older"):
        check_newer(tmp_path, ["a"], weights)
