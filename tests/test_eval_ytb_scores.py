"""YouTube-VOS scores by hand, and bad input to its evaluation: one line that names it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from davis_files import save

from rhmnet.data.youtube import Object, open_youtube_vos, read_late_prompt
from rhmnet.errors import InputError
from rhmnet.evaluation import ObjectScores, score_objects
from rhmnet.evaluation.report import build_youtube_report, format_youtube_report, youtube_rows
from rhmnet.files.images import write_mask
from rhmnet.inputs import capped_size, resize_labels

FRAMES = ["00000", "00005", "00010"]
SHAPE = (32, 48)


def labels_of(frame: str) -> np.ndarray:
    """Object 1 on the left in all frames, object 3 on the right from the second on."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[8:24, 4:20] = 1
    if frame != FRAMES[0]:
        labels[8:24, 28:44] = 3
    return labels


@pytest.fixture
def root(tmp_path):
    """A tree of one video `v`; there is no object 2."""
    objects = {
        "1": {"category": "ant", "frames": FRAMES},
        "3": {"category": "bee", "frames": FRAMES[1:]},
    }
    write_meta(tmp_path / "valid", {"v": {"objects": objects}})
    write_meta(tmp_path / "train", {"t": {"objects": {"1": {"category": "bee", "frames": ["0"]}}}})
    for frame in FRAMES:
        labels = labels_of(frame)
        save(tmp_path / f"valid/JPEGImages/v/{frame}.jpg", np.stack([labels * 60] * 3, axis=-1))
        path = tmp_path / f"valid/Annotations/v/{frame}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mask(path, labels)
    for frame, number in (("00000", 1), ("00005", 3)):
        strokes = np.zeros(SHAPE, np.uint8)
        strokes[15:17, 6:18] = number
        strokes[2, 2:40] = 4  # background: N + 1, with N the largest number
        save(tmp_path / f"valid_scribbles/v/{frame}.bmp", strokes)
    return tmp_path


def write_meta(folder: Path, videos: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meta.json").write_text(json.dumps({"videos": videos}))


def prompt_of(root: Path, **options):
    tree = open_youtube_vos(root, "val")
    return read_late_prompt(tree, tree.video("v"), **options)


def test_frames_after_the_first_appearance_count(root, tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    for frame in FRAMES:
        labels = labels_of(frame)
        labels[labels == 1] = 0  # object 1 is lost everywhere but on the last frame, where it is
        if frame == FRAMES[2]:
            labels[8:24, 4:12] = 1  # half of it
        if frame == FRAMES[1]:
            labels[labels == 3] = 0  # does not count: the frame at which object 3 appears
        write_mask(masks / f"{frame}.png", labels)
    video = open_youtube_vos(root, "val").video("v")
    one, three = score_objects(video, masks)
    assert (one.object, three.object) == (Object(1, "ant", "00000"), Object(3, "bee", "00005"))
    assert one.values[0].tolist() == [0, 0.5]
    assert three.values.tolist() == [[1], [1]]


def scores_of(*rows: tuple[str | None, list[float], list[float]]) -> list[ObjectScores]:
    return [
        ObjectScores("v", Object(index, category, "00000"), np.array([j, f]))
        for index, (category, j, f) in enumerate(rows, start=1)
    ]


def test_overall_is_the_mean_of_the_four_numbers():
    # seen: J (0.5 + 0.9) / 2 = 0.7, F (0.3 + 0.7) / 2 = 0.5; unseen: J 0.2, F 0.4
    scores = scores_of(
        ("ant", [0.4, 0.6], [0.2, 0.4]),
        ("bee", [0.9], [0.7]),
        ("cat", [0.1, 0.3], [0.4, 0.4]),
    )
    report = build_youtube_report({"run": "r"}, scores, {"ant", "bee"})
    assert report["groups"]["seen"] == pytest.approx({"objects": 2, "J": 0.7, "F": 0.5})
    assert report["groups"]["unseen"] == pytest.approx({"objects": 1, "J": 0.2, "F": 0.4})
    assert report["overall"] == pytest.approx((0.7 + 0.5 + 0.2 + 0.4) / 4)
    assert report["notes"] == []
    assert "0.4500" in format_youtube_report(report)
    assert youtube_rows(report)[-1] == ["Overall", "", "", "", pytest.approx(0.45), ""]


def test_a_group_without_objects_is_said_not_averaged():
    report = build_youtube_report({}, scores_of(("cat", [0.2], [0.4])), {"ant"})
    text = format_youtube_report(report)
    assert report["overall"] == pytest.approx(0.3)
    assert "no object of a seen category" in text
    assert "nan" not in text
    unknown = build_youtube_report({}, scores_of(("cat", [0.2], [0.4])), None)
    assert "no train/meta.json" in format_youtube_report(unknown)
    assert unknown["overall"] == pytest.approx(0.3)
    some = build_youtube_report({}, scores_of(("ant", [0.2], [0.4]), (None, [0.6], [0.8])), {"ant"})
    assert "no category" in format_youtube_report(some)


def test_an_object_on_the_last_frame_alone_is_left_out():
    report = build_youtube_report({}, scores_of(("ant", [0.2], [0.4]), ("ant", [], [])), {"ant"})
    assert report["groups"]["seen"]["objects"] == 1
    assert "1 objects appear on a last frame" in format_youtube_report(report)
    nothing = build_youtube_report({}, scores_of(("ant", [], [])), {"ant"})
    assert nothing["overall"] is None
    assert "nan" not in format_youtube_report(nothing)


def test_seen_categories_are_those_of_training(root):
    tree = open_youtube_vos(root, "val")
    assert tree.seen_categories() == {"bee"}
    (root / "train/meta.json").unlink()
    assert tree.seen_categories() is None


def test_width_is_capped_and_labels_come_back_by_nearest():
    assert capped_size((720, 1280), 1000) == (562, 1000)
    assert capped_size((720, 1280), None) == capped_size((720, 1280), 1280) == (720, 1280)
    labels = np.array([[1, 2]], np.uint8)
    assert resize_labels(labels, (2, 4)).tolist() == [[1, 1, 2, 2], [1, 1, 2, 2]]


def test_strokes_of_objects_yet_to_come_and_of_those_tracked_are_dropped(root):
    for frame in FRAMES[:2]:
        path = root / f"valid_scribbles/v/{frame}.bmp"
        strokes = np.full(SHAPE, 4, np.uint8)
        strokes[:8], strokes[8:16] = 1, 3
        save(path, strokes)
    prompt = prompt_of(root, with_bg=True)
    assert prompt.num_objects == 3
    assert np.unique(prompt.scribble).tolist() == [0, 1, 255]
    assert list(prompt.later) == ["00005"]
    assert np.unique(prompt.later["00005"].scribble).tolist() == [0, 3]


def set_strokes(root: Path, frame: str, change) -> None:
    path = root / f"valid_scribbles/v/{frame}.bmp"
    strokes = np.zeros(SHAPE, np.uint8)
    strokes[15:17, 6:18] = 1 if frame == FRAMES[0] else 3
    save(path, change(strokes))


def with_label(label: int):
    def change(strokes):
        strokes[0, 0] = label
        return strokes

    return change


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda r: (r / "valid/meta.json").unlink(),
            r"valid/meta\.json: no such file.*--data-root",
        ),
        (lambda r: (r / "valid/meta.json").write_text("{"), r"meta\.json: .*expected .*videos"),
        (lambda r: write_meta(r / "valid", {"v": {}}), r"video v: expected .*objects"),
        (
            lambda r: write_meta(r / "valid", {"v": {"objects": {"1": {"frames": []}}}}),
            r"video v, object 1: no frames",
        ),
        (
            lambda r: write_meta(r / "valid", {"v": {"objects": {"x": {"frames": ["0"]}}}}),
            r"video v: object 'x'; expected a number",
        ),
        (
            lambda r: (r / "valid/JPEGImages/v/00005.jpg").unlink(),
            r"JPEGImages/v: 1 of the 3 frames .*00005\.jpg; restore",
        ),
        (
            lambda r: (r / "valid_scribbles/v/00005.bmp").unlink(),
            r"valid_scribbles/v/00005\.bmp: no such file.*object 3",
        ),
        (
            lambda r: set_strokes(r, "00005", lambda s: s * 0),
            r"00005\.bmp: no stroke of object 3, which appears here",
        ),
        (
            lambda r: set_strokes(r, "00000", with_label(7)),
            r"00000\.bmp: label 7 is out of range.*meta\.json",
        ),
        (
            lambda r: set_strokes(r, "00005", lambda s: s[:, 1:]),
            r"00005\.bmp: 47x32 pixels, but .*first frame of v have 48x32",
        ),
        (
            lambda r: (r / "valid/Annotations/v/00005.png").unlink(),
            r"Annotations/v: 1 of 3 annotations are missing.*00005\.png",
        ),
    ],
)
def test_bad_input_is_one_line_that_names_it(root, spoil, message):
    spoil(root)
    with pytest.raises(InputError, match=message) as raised:
        prompt_of(root)
    assert "\n" not in str(raised.value)


def test_strokes_that_vanish_when_shrunk(root):
    def thin(strokes):
        strokes[:] = 0
        strokes[5, 7] = 3
        return strokes

    set_strokes(root, "00005", thin)
    assert prompt_of(root).later
    with pytest.raises(InputError, match="object 3 is too thin to be seen at --size 16"):
        prompt_of(root, width=16)


def test_annotations_hold_the_objects_of_meta_alone(root, tmp_path):
    labels = labels_of(FRAMES[2])
    labels[0, 0] = 9
    write_mask(root / "valid/Annotations/v/00010.png", labels)
    masks = root / "valid/Annotations/v"
    with pytest.raises(InputError, match=r"00010\.png: label 9, but meta\.json .* up to 3"):
        score_objects(open_youtube_vos(root, "val").video("v"), masks)
