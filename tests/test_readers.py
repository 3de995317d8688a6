"""Training trees: what a scribble's values mean, and what is skipped or refused by name."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from clip_trees import write_coco, write_davis, write_youtube
from PIL import Image

from rhmnet.data import Frame, read_strokes
from rhmnet.data.coco import open_coco
from rhmnet.data.davis import open_davis_training
from rhmnet.data.youtube import open_youtube_training
from rhmnet.errors import InputError


def strokes_of(folder: Path, values: list[int], num_objects: int | None):
    path = folder / "scribble.bmp"
    Image.fromarray(np.array([[0, *values]], np.uint8)).save(path)
    return read_strokes(Frame(folder / "image.jpg", path, num_objects))


def test_largest_label_of_a_video_frame_is_background(tmp_path: Path) -> None:
    strokes = strokes_of(tmp_path, [1, 2, 5], None)
    assert (strokes.background, strokes.last_object) == (5, 4)
    np.testing.assert_array_equal(strokes.labels, [[0, 1, 2, 5]])


def test_background_of_coco_is_num_objects_itself(tmp_path: Path) -> None:
    assert strokes_of(tmp_path, [1, 2, 3], 3)[1:] == (3, 2)


def test_background_of_coco_is_one_more_where_the_map_says_so(tmp_path: Path) -> None:
    assert strokes_of(tmp_path, [1, 2, 3], 2)[1:] == (3, 2)


def test_coco_drops_objects_above_ten_but_not_the_background(tmp_path: Path) -> None:
    strokes = strokes_of(tmp_path, [1, 10, 11, 12, 13], 13)
    assert strokes[1:] == (13, 10)
    np.testing.assert_array_equal(strokes.labels, [[0, 1, 10, 0, 0, 13]])


def test_coco_drops_labels_above_the_background(tmp_path: Path) -> None:
    strokes = strokes_of(tmp_path, [1, 2, 3, 7], 3)
    assert strokes[1:] == (3, 2)
    np.testing.assert_array_equal(strokes.labels, [[0, 1, 2, 3, 0]])


def test_coco_frames_follow_the_list(tmp_path: Path) -> None:
    write_coco(tmp_path, objects=(1, 3))
    coco = open_coco(tmp_path)
    assert len(coco) == 2
    assert coco[1].image == tmp_path / "COCO" / "images" / "1.png"
    assert read_strokes(coco[1])[1:] == (4, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "expected"),
        ("[]", "expected"),
        ('{"images": []}', "lists no image"),
        ('{"images": [{"file_name": "a"}]}', r"images\[0\]"),
        ('{"images": [{"file_name": "a", "anno_name": "b", "num_objects": "x"}]}', r"images\[0\]"),
        ('{"images": [{"file_name": "a", "anno_name": "b", "num_objects": 300}]}', r"images\[0\]"),
        ('{"images": [{"file_name": "a", "anno_name": "b", "num_objects": 1e999}]}', "1e999"),
        ('{"images": 3}', "lists no image"),
        (None, "no such file"),
    ],
)
def test_bad_list_is_named(tmp_path: Path, text: str | None, words: str) -> None:
    (tmp_path / "COCO").mkdir()
    if text is not None:
        (tmp_path / "COCO" / "COCO_scribbles.json").write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        open_coco(tmp_path)
    assert "COCO_scribbles.json" in str(caught.value)


def test_videos_pair_by_stem(tmp_path: Path) -> None:
    write_youtube(tmp_path, {"b": 4, "a": 3})
    tree = open_youtube_training(tmp_path, 3)
    assert [video.name for video in tree.videos] == ["a", "b"]
    frame = tree.frame(tree.videos[1], 2)
    assert (frame.image.name, frame.scribble.name) == ("00010.jpg", "00010.bmp")
    assert tree.frame_spacing == 5


def test_frames_without_leading_zeros_come_in_order(tmp_path: Path) -> None:
    write_youtube(tmp_path, {"a": 4})  # frames 0, 5, 10, 15
    for path in sorted((tmp_path / "Youtube-VOS").glob("train*/**/*.*")):
        path.rename(path.with_name(f"{int(path.stem) + 90}{path.suffix}"))
    (video,) = open_youtube_training(tmp_path, 3).videos
    assert [Path(name).stem for name in video.images] == ["90", "95", "100", "105"]
    assert [Path(name).stem for name in video.scribbles] == ["90", "95", "100", "105"]


def test_a_list_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    write_coco(tmp_path, objects=(1, 3))
    write_davis(tmp_path, {"a": 3})
    for path in ("COCO/COCO_scribbles.json", "DAVIS/ImageSets/2017/train.txt"):
        file = tmp_path / path
        file.write_text(file.read_text(), encoding="utf-8-sig")
    assert len(open_coco(tmp_path)) == 2
    assert [video.name for video in open_davis_training(tmp_path, 3).videos] == ["a"]


def test_odd_videos_are_skipped_by_name(tmp_path: Path, caplog) -> None:
    write_davis(tmp_path, {"good": 4, "lacks-one": 4, "misnamed": 4, "short": 2, "no-strokes": 4})
    scribbles = tmp_path / "DAVIS" / "train_scribbles"
    (scribbles / "lacks-one" / "00003.bmp").unlink()
    (scribbles / "misnamed" / "00003.bmp").rename(scribbles / "misnamed" / "00007.bmp")
    for path in (scribbles / "no-strokes").iterdir():
        path.unlink()
    (scribbles / "no-strokes").rmdir()
    with caplog.at_level(logging.WARNING):
        tree = open_davis_training(tmp_path, 3)
    assert [video.name for video in tree.videos] == ["good"]
    for words in (
        "skipped 4 videos",
        "lacks-one has 4 images but 3 scribbles",
        "misnamed has no pair for 00003",
        "short has 2 frames",
        "no-strokes has 4 images but 0 scribbles",
    ):
        assert words in caplog.text


def test_stray_files_are_no_frames_and_no_videos(tmp_path: Path) -> None:
    write_davis(tmp_path, {"good": 4})
    davis = tmp_path / "DAVIS"
    (davis / "JPEGImages" / "480p" / "good" / "._00000.jpg").write_text("from a Mac's archive")
    (davis / "JPEGImages" / "480p" / "notes").write_text("")
    (davis / "ImageSets" / "2017" / "train.txt").write_text("good\nnotes\n")
    assert [video.name for video in open_davis_training(tmp_path, 3).videos] == ["good"]


def test_suffixes_may_be_in_capitals(tmp_path: Path) -> None:
    write_davis(tmp_path, {"good": 3})
    for path in [*tmp_path.rglob("*.jpg"), *tmp_path.rglob("*.bmp")]:
        path.rename(path.with_suffix(path.suffix.upper()))
    tree = open_davis_training(tmp_path, 3)
    assert tree.frame(tree.videos[0], 2).scribble.is_file()


def test_empty_list_of_videos_is_named(tmp_path: Path) -> None:
    write_davis(tmp_path, {"good": 3})
    (tmp_path / "DAVIS" / "ImageSets" / "2017" / "train.txt").write_text("\n")
    with pytest.raises(InputError, match=r"train\.txt: names no video"):
        open_davis_training(tmp_path, 3)


def test_tree_without_a_usable_video_is_refused(tmp_path: Path) -> None:
    write_davis(tmp_path, {"short": 2})
    with pytest.raises(InputError, match=r"no usable video.*short has 2 frames"):
        open_davis_training(tmp_path, 3)


@pytest.mark.parametrize("missing", ["JPEGImages/480p", "train_scribbles", "ImageSets"])
def test_missing_parts_are_named(tmp_path: Path, missing: str) -> None:
    write_davis(tmp_path, {"a": 3})
    (tmp_path / "DAVIS" / missing).rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=missing):
        open_davis_training(tmp_path, 3)
