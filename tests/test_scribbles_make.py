"""Scribbles made from every kind of masks: the files, their labels, seeds, resuming."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle_tools

from rhmnet.errors import InputError
from rhmnet.files.images import read_labels
from rhmnet.tools.scribbles.hand import HandOptions
from rhmnet.tools.scribbles.make import (
    FEW_IMAGES,
    STAMP,
    ScribbleRecipe,
    make_scribbles,
    write_coco_list,
)
from rhmnet.tools.scribbles.masks import coco_jobs, folder_jobs, video_jobs

RECIPE = ScribbleRecipe(3, HandOptions())


def box(x: int, y: int, width: int, height: int) -> list[list[float]]:
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def write_coco(path: Path) -> Path:
    """Two images: one of 12 objects and a crowd, one without objects."""
    outlines = [box(5 + 25 * (i % 4), 5 + 30 * (i // 4), 10 + i, 12 + i) for i in range(12)]
    annotations = [
        {"id": i, "image_id": 1, "iscrowd": 0, "segmentation": outline}
        for i, outline in enumerate(outlines)
    ]
    crowd = np.zeros((120, 160), np.uint8, order="F")
    crowd[:, 120:] = 1
    coded = rle_tools.encode(crowd)
    coded["counts"] = coded["counts"].decode()
    annotations.append({"id": 99, "image_id": 1, "iscrowd": 1, "segmentation": coded})
    images = [
        {"id": 1, "file_name": "zwölf dinge.jpg", "height": 120, "width": 160},
        {"id": 2, "file_name": "leer.jpg", "height": 50, "width": 50},
    ]
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def write_png(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels.astype(np.uint8)).save(path)


def two_boxes(*values: int) -> np.ndarray:
    labels = np.zeros((80, 120), np.uint8)
    for index, value in enumerate(values):
        labels[10:70, 10 + 40 * index : 40 + 40 * index] = value
    return labels


def test_coco_keeps_the_largest_objects_and_leaves_crowds_alone(tmp_path):
    jobs = coco_jobs(write_coco(tmp_path / "instances.json"), None, max_objects=10, min_area=0)
    (scene,) = jobs[0].scenes()
    assert scene.num_objects == 10
    areas = np.bincount(scene.labels.ravel(), minlength=11)[1:]
    assert (np.diff(areas) <= 0).all() and areas[-1] == 12 * 14  # the two smallest are left out
    assert scene.avoid[:, 120:].all() and scene.avoid[10, 10]
    assert not list(jobs[1].scenes())

    made = make_scribbles(jobs, [tmp_path / "scribbles"], RECIPE)
    assert write_coco_list(tmp_path / "COCO_scribbles.json", jobs, made) == 1
    (entry,) = json.loads((tmp_path / "COCO_scribbles.json").read_text())["images"]
    assert entry == {
        "file_name": "zwölf dinge.jpg",
        "anno_name": "zwölf dinge.bmp",
        "num_objects": 11,  # the label value of the background's strokes
    }
    scribble = read_labels(tmp_path / "scribbles" / entry["anno_name"])
    assert set(np.unique(scribble)) == set(range(12))
    assert not (scribble[scene.avoid] == 11).any()


def test_hidden_and_small_objects_get_no_number(tmp_path):
    path = write_coco(tmp_path / "instances.json")
    content = json.loads(path.read_text())
    content["annotations"] = [
        {"id": i, "image_id": 1, "iscrowd": 0, "segmentation": outline}
        for i, outline in enumerate([box(10, 10, 40, 40), box(10, 10, 39, 40), box(90, 10, 3, 3)])
    ]
    path.write_text(json.dumps(content))
    scenes = [list(job.scenes()) for job in coco_jobs(path, None, 10, min_area=50 * 16)]
    ((scene,), empty) = scenes
    assert scene.num_objects == 1 and not empty
    assert scene.labels[20, 20] == 1 and scene.labels[11, 91] == 0 and scene.avoid[11, 91]


def test_same_seed_same_bytes_whatever_the_workers_and_after_a_stop(tmp_path):
    count = FEW_IMAGES  # the fewest that worker processes share
    for index in range(count):
        write_png(tmp_path / "masks" / f"{index:02d}.png", two_boxes(1, 2)[:, :80])
    jobs = folder_jobs(tmp_path / "masks", None)
    folders = [tmp_path / name for name in ("one", "two")]
    for folder, workers in zip(folders, (1, 2), strict=True):
        make_scribbles(jobs, [folder], RECIPE, workers)
    first = {path.name: path.read_bytes() for path in folders[0].glob("*.bmp")}
    assert first == {path.name: path.read_bytes() for path in folders[1].glob("*.bmp")}
    assert len(set(first.values())) == count  # one image's strokes are not another's

    (folders[0] / "04.bmp").unlink()
    made = make_scribbles(jobs, [folders[0]], RECIPE)
    assert [one.drawn for one in made] == [int(index == 4) for index in range(count)]
    assert (folders[0] / "04.bmp").read_bytes() == first["04.bmp"]


def test_other_options_and_others_scribbles_are_not_mixed_in(tmp_path):
    write_png(tmp_path / "masks" / "a.png", two_boxes(1))
    jobs = folder_jobs(tmp_path / "masks", None)
    make_scribbles(jobs, [tmp_path / "out"], RECIPE)
    thicker = ScribbleRecipe(3, HandOptions(thickness=30))
    with pytest.raises(InputError, match=r"thickness 7\.0 not 30"):
        make_scribbles(jobs, [tmp_path / "out"], thicker)
    assert make_scribbles(jobs, [tmp_path / "out"], thicker, overwrite=True)[0].drawn == 1
    with pytest.raises(InputError, match="not made here"):
        make_scribbles(jobs, [tmp_path / "masks"], RECIPE, overwrite=True)


def test_videos_share_their_number_of_objects_and_void_gets_no_stroke(tmp_path):
    frames = [two_boxes(1, 2), two_boxes(1), two_boxes(0, 0, 255)]
    for index, labels in enumerate(frames):
        write_png(tmp_path / "masks" / "bär" / f"{index:05d}.png", labels)
    make_scribbles(video_jobs(tmp_path / "masks"), [tmp_path / "out"], RECIPE)
    scribbles = [read_labels(tmp_path / "out" / "bär" / f"{i:05d}.bmp") for i in range(3)]
    assert [set(np.unique(s)) for s in scribbles] == [{0, 1, 2, 3}, {0, 1, 3}, {0, 3}]
    assert not scribbles[2][frames[2] == 255].any()


def test_maps_of_0_and_255_hold_one_object(tmp_path):
    write_png(tmp_path / "masks" / "dog" / "00000.png", two_boxes(255))
    jobs = video_jobs(tmp_path / "masks", ["dog"], first_only=True)
    folders = [tmp_path / f"valid_scribbles{index}" for index in range(5)]
    make_scribbles(jobs, folders, RECIPE)
    sets = [read_labels(folder / "dog.bmp") for folder in folders]
    assert all(set(np.unique(scribble)) == {0, 1, 2} for scribble in sets)
    assert len({scribble.tobytes() for scribble in sets}) == 5


def test_objects_are_scribbled_where_they_appear(tmp_path):
    frames = [two_boxes(1), two_boxes(1), two_boxes(1, 0, 2)]
    for index, labels in enumerate(frames):
        write_png(tmp_path / "masks" / "v" / f"{5 * index:05d}.png", labels)
    make_scribbles(video_jobs(tmp_path / "masks", appearing=True), [tmp_path / "out"], RECIPE)
    files = {path.stem: set(np.unique(read_labels(path))) for path in tmp_path.glob("out/v/*.bmp")}
    # only the first frame shows all objects that are in view, so only there background is known
    assert files == {"00000": {0, 1, 3}, "00010": {0, 2}}


def test_faulty_input_is_named(tmp_path):
    path = write_coco(tmp_path / "instances.json")
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = {"size": [3, 3], "counts": "x"}
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"zwölf dinge\.jpg: segmentation of annotation 0"):
        list(coco_jobs(path, None, 10, 0)[0].scenes())
    for text in ("{", "[]", '{"images": []}', '{"images": [{}], "annotations": []}'):
        path.write_text(text)
        with pytest.raises(InputError, match="a COCO instance file"):
            coco_jobs(path, None, 10, 0)
    with pytest.raises(InputError, match="no such file"):
        coco_jobs(tmp_path / "none.json", None, 10, 0)
    with pytest.raises(InputError, match="no such folder"):
        video_jobs(tmp_path / "none")
    write_png(tmp_path / "masks" / "a.png", two_boxes(5))
    with pytest.raises(InputError, match=r"label 5 found; expected 1\.\.3"):
        list(folder_jobs(tmp_path / "masks", 3)[0].scenes())


def test_overwriting_that_was_stopped_leaves_nothing_of_the_old(tmp_path):
    for name in "ab":
        write_png(tmp_path / "masks" / f"{name}.png", two_boxes(1))
    jobs, out = folder_jobs(tmp_path / "masks", None), tmp_path / "out"
    make_scribbles(jobs, [out], RECIPE)
    thicker = ScribbleRecipe(3, HandOptions(thickness=30))
    (tmp_path / "masks" / "b.png").rename(tmp_path / "masks" / "away")
    with pytest.raises(InputError, match="no such file"):
        make_scribbles(jobs, [out], thicker, overwrite=True)
    assert [path.name for path in out.glob("*.bmp")] == ["a.bmp"]
    (tmp_path / "masks" / "away").rename(tmp_path / "masks" / "b.png")
    assert [one.drawn for one in make_scribbles(jobs, [out], thicker)] == [0, 1]
    assert min(np.count_nonzero(read_labels(path) == 1) for path in out.glob("*.bmp")) > 60


def test_maps_that_would_share_a_scribble_are_refused_and_hidden_files_passed_over(tmp_path):
    write_png(tmp_path / "masks" / "a.png", two_boxes(1))
    (tmp_path / "masks" / "._a.png").write_bytes(b"left by another system")
    assert len(folder_jobs(tmp_path / "masks", None)) == 1
    write_png(tmp_path / "masks" / "a.bmp", two_boxes(1, 2))
    with pytest.raises(InputError, match=r"a\.png: a\.bmp would have the same scribble"):
        folder_jobs(tmp_path / "masks", None)


def test_a_stamp_that_cannot_be_read_is_named(tmp_path):
    write_png(tmp_path / "masks" / "a.png", two_boxes(1))
    jobs, out = folder_jobs(tmp_path / "masks", None), tmp_path / "out"
    make_scribbles(jobs, [out], RECIPE)
    for text in ("", "[1]"):
        (out / STAMP).write_text(text)
        with pytest.raises(InputError, match="cannot be read"):
            make_scribbles(jobs, [out], RECIPE)
    assert make_scribbles(jobs, [out], RECIPE, overwrite=True)[0].drawn == 1


def test_places_that_cannot_be_written_are_named(tmp_path):
    write_png(tmp_path / "masks" / "a.png", two_boxes(1))
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="cannot be written"):
            make_scribbles(folder_jobs(tmp_path / "masks", None), [folder], RECIPE)
    assert (tmp_path / "file").read_text() == "mine"


def test_run_lengths_of_too_few_pixels_and_images_without_pixels_are_refused(tmp_path):
    path = write_coco(tmp_path / "instances.json")
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = {"size": [120, 160], "counts": [5, 5]}
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="run lengths are not of all pixels"):
        list(coco_jobs(path, None, 10, 0)[0].scenes())
    content["images"][0]["height"] = 0
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="160x0 pixels"):
        coco_jobs(path, None, 10, 0)


@pytest.mark.parametrize("kept", [0, 20, 700])
def test_a_map_that_was_cut_off_is_drawn_anew(kept: int, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    labels = np.zeros((40, 40), np.uint8)
    labels[8:32, 8:32] = 1
    Image.fromarray(labels).save(tmp_path / "masks" / "0.png")
    jobs, folder = folder_jobs(tmp_path / "masks", None), tmp_path / "out"
    make_scribbles(jobs, [folder], ScribbleRecipe(0, HandOptions()))
    whole = (folder / "0.bmp").read_bytes()
    (folder / "0.bmp").write_bytes(whole[:kept])
    assert make_scribbles(jobs, [folder], ScribbleRecipe(0, HandOptions()))[0].drawn == 1
    assert (folder / "0.bmp").read_bytes() == whole
