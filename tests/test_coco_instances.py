"""COCO instance files: what is read, and what is refused before pycocotools sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as rle_tools

from rhmnet.data.coco import checked_outline, read_instances, run_lengths
from rhmnet.errors import InputError
from rhmnet.tools.scribbles.masks import coco_jobs

H, W = 12, 20
SQUARE = [2, 2, 9, 2, 9, 9, 2, 9]


def content() -> dict:
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "height": H, "width": W}],
        "annotations": [{"id": 7, "image_id": 1, "iscrowd": 0, "segmentation": [SQUARE]}],
    }


def write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value))
    return path


def test_an_image_and_its_outline(tmp_path: Path) -> None:
    value = content()
    value["images"][0]["file_name"] = "train\\a.jpg"
    value["annotations"] += [{"id": 8, "image_id": 99, "segmentation": [SQUARE]}]  # not listed
    value["annotations"] += [{"id": 9, "image_id": 1}]  # outlines nothing
    (image,) = read_instances(write(tmp_path / "i.json", value))
    assert (image.file_name, image.height, image.width) == ("train/a.jpg", H, W)
    assert [one.number for one in image.instances] == [7, 9]
    (job,) = coco_jobs(tmp_path / "i.json", None, max_objects=10, min_area=0)
    (scene,) = job.scenes()
    wanted = np.zeros((H, W), np.uint8)
    wanted[2:9, 2:9] = 1
    assert np.array_equal(scene.labels, wanted)


def test_run_lengths_are_those_of_the_mask() -> None:
    rng = np.random.default_rng(0)
    for share in (0, 0.02, 0.5, 1) * 5:
        mask = np.asfortranarray(rng.random((H, W)) < share, np.uint8)
        flat = mask.ravel(order="F")
        changes = np.flatnonzero(np.diff(flat)) + 1
        wanted = np.diff([0, *([0] if flat[0] else []), *changes, flat.size])
        coded = rle_tools.encode(mask)["counts"]
        assert run_lengths(coded) == wanted.tolist()
        checked = checked_outline({"size": [H, W], "counts": coded.decode()}, H, W)
        assert np.array_equal(rle_tools.decode(checked), mask)


def test_damaged_run_lengths_are_refused_or_are_another_mask() -> None:
    """Whatever passes covers every pixel once, so that nothing of it is what lay in memory."""
    rng = np.random.default_rng(1)
    mask = np.asfortranarray(rng.random((H, W)) < 0.3, np.uint8)
    coded = rle_tools.encode(mask)["counts"]
    refused = 0
    for _ in range(400):
        damaged = bytearray(coded)
        damaged[rng.integers(len(coded))] = rng.integers(32, 127)
        try:
            checked = checked_outline({"size": [H, W], "counts": damaged.decode()}, H, W)
        except ValueError:
            refused += 1
            continue
        runs = run_lengths(checked["counts"])
        assert sum(runs) == H * W and min(runs) >= 0
        wanted = np.repeat(np.arange(len(runs)) % 2, runs).reshape((H, W), order="F")
        assert np.array_equal(rle_tools.decode(checked), wanted)
    assert refused > 200


@pytest.mark.parametrize(
    ("outline", "told"),
    [
        ("x", "it is 'x'"),
        (5, "it is 5"),
        (SQUARE, "2 in a polygon's place"),
        ([[SQUARE]], "in a number's place"),
        ([[None] * 6], "None in a number's place"),
        ([[True] * 6], "True in a number's place"),
        ([["1"] * 6], "'1' in a number's place"),
        ([[1, 2, 3, 4, 5, 6, 7]], "an odd number"),
        ([[float("nan"), 5, 6, 5, 6, 9]], "reaches to nan"),
        ([[5, float("inf"), 6, 5, 6, 9]], "reaches to inf"),
        ([[1e8, 5, 6, 5, 6, 9]], "reaches to 1000"),
        ([[10**400, 5, 6, 5, 6, 9]], "far from the image"),
        ([[0, 0, W, H] * 200_000], "longer than"),
        ({}, "its size is None"),
        ({"size": [W, H], "counts": [H * W]}, "its size is"),
        ({"size": [H, W]}, "its counts are None"),
        ({"size": [H, W], "counts": ""}, "not of all pixels"),
        ({"size": [H, W], "counts": []}, "not of all pixels"),
        ({"size": [H, W], "counts": [H * W + 5, -5]}, "its counts are"),
        ({"size": [H, W], "counts": [float(H * W)]}, "its counts are"),
        ({"size": [H, W], "counts": "garbage!!"}, "characters"),
        ({"size": [H, W], "counts": "ü"}, "characters"),
        ({"size": [H, W], "counts": "P"}, "cut off"),
        ({"size": [H, W], "counts": "o" * 40 + "0"}, "too large"),
    ],
)
def test_outlines_that_are_refused(outline: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        checked_outline(outline, H, W)


def test_outlines_that_hold_nothing_and_some_beyond_the_border() -> None:
    for outline in (None, [], [[]], [[1, 1, 5, 5]]):
        assert checked_outline(outline, H, W) is None
    beyond = [-3, -2.5, W + 4, -2.5, W + 4, H + 1]
    assert checked_outline([beyond, [1, 1]], H, W) == [beyond]


def _image(**fields: object) -> Callable[[dict], object]:
    return lambda value: value["images"][0].update(fields)


def _annotation(**fields: object) -> Callable[[dict], object]:
    return lambda value: value["annotations"][0].update(fields)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_annotation(iscrowd="0"), r"annotations\[0\]: iscrowd is '0'; expected 0 or 1"),
        (_annotation(iscrowd=[]), r"iscrowd is \[\]"),
        (_annotation(image_id=[1]), r"annotations\[0\].*image_id is \[1\]"),
        (_annotation(image_id="1"), "no annotation is of an image that is listed"),
        (_image(id=None), r"images\[0\].*id is None"),
        (_image(height="12"), r"images\[0\] \(a\.jpg\): height is '12'"),
        (_image(width=1.5), "width is 1.5"),
        (_image(height=0), "20x0 pixels; expected at least 1x1"),
        (_image(height=200_000, width=200_000), "200000x200000 pixels, .* are the most"),
        (_image(file_name="../a.jpg"), r"images\[0\]\.file_name.*leads out"),
        (_image(file_name=None), r"images\[0\]\.file_name: None is no name"),
        (lambda value: value["images"].append(value["images"][0]), "another image's too"),
        (lambda value: value["annotations"].append(3), "its annotations are no list of objects"),
        (lambda value: value["annotations"][0].pop("segmentation"), "none .* has a segmentation"),
        (lambda value: value.pop("images"), "its images are no list of objects"),
    ],
)
def test_files_that_are_refused(
    tmp_path: Path, change: Callable[[dict], object], told: str
) -> None:
    value = content()
    change(value)
    path = write(tmp_path / "i.json", value)
    with pytest.raises(InputError, match=told) as caught:
        read_instances(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_an_outline_that_is_refused_is_told_with_file_and_image(tmp_path: Path) -> None:
    value = content()
    value["annotations"][0]["segmentation"] = [[1e8, 2, 9, 2, 9, 9]]
    path = write(tmp_path / "i.json", value)
    (job,) = coco_jobs(path, None, max_objects=10, min_area=0)
    with pytest.raises(InputError, match=r"i\.json: a\.jpg: segmentation of annotation 7.*far"):
        list(job.scenes())
