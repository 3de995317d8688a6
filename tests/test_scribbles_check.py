"""Each kind of damage is named with its remedy; sound trees pass; archives are put in place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from rhmnet.data.coco import open_coco
from rhmnet.data.davis import open_davis as open_davis_validation
from rhmnet.data.davis import open_davis_training, read_prompt
from rhmnet.data.youtube import open_youtube_training
from rhmnet.errors import InputError
from rhmnet.files.images import read_labels, write_map
from rhmnet.tools.scribbles.check import arrange, check_own, check_root

COCO_NAMES = ("a", "b mit ö")
VIDEO, YOUTUBE_VIDEO = "bär", "0a1b2c3d4e"
SHAPE = (60, 90)


def strokes(*values: int) -> np.ndarray:
    """Strokes of 4 by 30 pixels, one a label."""
    labels = np.zeros(SHAPE, np.uint8)
    for index, value in enumerate(values):
        labels[4 + 10 * index : 8 + 10 * index, 20:50] = value
    return labels


def write_image(path: Path, shape: tuple[int, int] = SHAPE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*shape, 3), 120, np.uint8)).save(path)


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """All three trees without fault, two objects each."""
    root = tmp_path_factory.mktemp("data mit leerzeichen") / "datasets"
    entries = []
    for name in COCO_NAMES:
        write_image(root / "COCO" / "images" / f"{name}.jpg")
        write_map(root / "COCO" / "scribbles" / f"{name}.bmp", strokes(1, 2, 3))
        files = {"file_name": f"{name}.jpg", "anno_name": f"{name}.bmp"}
        entries.append({**files, "num_objects": 3})
    write_text(root / "COCO" / "COCO_scribbles.json", json.dumps({"images": entries}))

    davis, youtube = root / "DAVIS", root / "Youtube-VOS"
    for index in range(12):
        frame = f"{index:05d}"
        write_image(davis / "JPEGImages" / "480p" / VIDEO / f"{frame}.jpg")
        write_map(davis / "train_scribbles" / VIDEO / f"{frame}.bmp", strokes(1, 2, 3))
        write_image(youtube / "train" / "JPEGImages" / YOUTUBE_VIDEO / f"{frame}.jpg")
        # the second object is out of view at times
        values = (1, 2, 3) if index % 3 else (1, 3)
        write_map(youtube / "train_scribbles" / YOUTUBE_VIDEO / f"{frame}.bmp", strokes(*values))
        write_image(davis / "JPEGImages" / "480p" / "hund" / f"{frame}.jpg")
        write_image(youtube / "valid" / "JPEGImages" / YOUTUBE_VIDEO / f"{frame}.jpg")
    masks = davis / "Annotations" / "480p" / "hund"
    masks.mkdir(parents=True)
    for index in range(12):
        Image.fromarray(strokes(1, 2)).save(masks / f"{index:05d}.png")
    write_map(davis / "valid_scribbles0" / "hund.bmp", strokes(1, 2, 3))
    write_map(davis / "valid_scribbles1" / "hund" / "00000.bmp", strokes(1, 2, 3))
    write_text(davis / "ImageSets" / "2017" / "train.txt", f"{VIDEO}\n")
    write_text(davis / "ImageSets" / "2017" / "val.txt", "hund\n")
    objects = {"1": {"frames": ["00000", "00001"]}, "2": {"frames": ["00004"]}}
    meta = {"videos": {YOUTUBE_VIDEO: {"objects": objects}}}
    write_text(youtube / "valid" / "meta.json", json.dumps(meta))
    write_map(youtube / "valid_scribbles" / YOUTUBE_VIDEO / "00000.bmp", strokes(1, 3))
    write_map(youtube / "valid_scribbles" / YOUTUBE_VIDEO / "00004.bmp", strokes(2))
    return root


@pytest.fixture
def tree(sound, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(sound, tmp_path / "datasets"))


def test_sound_trees_pass(sound):
    report = check_root(sound)
    assert report.findings == []
    rows = {row.name: (row.videos, row.frames, row.objects) for row in report.rows}
    assert rows == {
        "COCO": (0, 2, 4),
        "DAVIS train": (1, 12, 2),
        "DAVIS valid_scribbles0": (1, 1, 2),
        "DAVIS valid_scribbles1": (1, 1, 2),
        "Youtube-VOS train": (1, 12, 2),
        "Youtube-VOS valid": (1, 2, 2),
    }
    line = next(line for line in report.table().splitlines() if line.startswith("COCO"))
    assert "4.44 %" in line and "2.22 %" in line  # 240 and 120 of 5400 pixels
    assert report.sheet().ndim == 3


def edit(path: Path, change) -> None:
    write_map(path, change(read_labels(path)))


def drop_largest(labels: np.ndarray) -> np.ndarray:
    return np.where(labels == labels.max(), 0, labels).astype(np.uint8)


def half(labels: np.ndarray, interpolation: int) -> np.ndarray:
    small = cv2.resize(labels, None, fx=0.7, fy=0.7, interpolation=interpolation)
    return cv2.resize(small, labels.shape[::-1], interpolation=interpolation)


def save_rgb(path: Path) -> None:
    Image.fromarray(read_labels(path)).convert("RGB").save(path)


def rename_frames(root: Path) -> None:
    for folder in (root / "JPEGImages" / "480p" / "bär", root / "train_scribbles" / "bär"):
        for path in list(folder.iterdir()):
            path.rename(path.with_name(f"{int(path.stem)}{path.suffix}"))


def one_level_down(folder: Path, name: str) -> None:
    folder.rename(folder.with_name("moved"))
    folder.mkdir()
    folder.with_name("moved").rename(folder / name)


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


SCRIBBLE = "COCO/scribbles/a.bmp"
FRAME = "DAVIS/train_scribbles/bär/00003.bmp"
DAMAGES = {
    "tree one level off": (
        lambda root: one_level_down(root / "DAVIS", "DAVIS"),
        "DAVIS: the folder is one level off",
    ),
    "maps one level off": (
        lambda root: one_level_down(root / "COCO" / "scribbles", "scribbles"),
        "scribbles: the folder is one level off",
    ),
    "videos one level off": (
        lambda root: one_level_down(root / "Youtube-VOS" / "train_scribbles", "train_scribbles"),
        "train_scribbles: the folder is one level off",
    ),
    "set one level off": (
        lambda root: one_level_down(root / "DAVIS" / "valid_scribbles0", "valid_scribbles0"),
        "valid_scribbles0: the folder is one level off",
    ),
    "no 480p": (
        lambda root: (root / "DAVIS/JPEGImages/480p").rename(root / "DAVIS/JPEGImages/Full"),
        "480p: no such folder",
    ),
    "tree named otherwise": (
        lambda root: (root / "COCO").rename(root / "mscoco"),
        "mscoco: loaders read COCO",
    ),
    "other size": (
        lambda root: write_map(root / SCRIBBLE, strokes(1, 2, 3)[:, :80]),
        "a.bmp: size 80x60 differs from its image's, 90x60",
    ),
    "gap": (
        lambda root: write_map(root / SCRIBBLE, strokes(1, 3)),
        "a.bmp: labels have gaps: 2 missing of 1..2",
    ),
    "gap in a video": (
        lambda root: write_map(root / FRAME, strokes(1, 2, 4)),
        "00003.bmp: labels have gaps: 3 missing of 1..4",
    ),
    "object of a first frame left out": (
        lambda root: write_map(root / "DAVIS/valid_scribbles0/hund.bmp", strokes(2, 3)),
        "hund.bmp: labels have gaps: 1 missing of 1..2",
    ),
    "no background": (
        lambda root: edit(root / SCRIBBLE, drop_largest),
        "a.bmp: no background label",
    ),
    "no background in a frame": (
        lambda root: write_map(root / FRAME, strokes(1)),
        "00003.bmp: no background label",
    ),
    "fewer scribbles": (
        lambda root: (root / FRAME).unlink(),
        "bär: counts differ: 12 images but 11 scribbles",
    ),
    "more maps than listed": (
        lambda root: write_map(root / "COCO/scribbles/c.bmp", strokes(1, 2)),
        "COCO_scribbles.json: counts differ: 2 images listed but 3 scribbles",
    ),
    "other name": (
        lambda root: (root / FRAME).rename((root / FRAME).with_name("00099.bmp")),
        "bär: 2 names are not in pairs, the first that of image 00003",
    ),
    "RGB": (lambda root: save_rgb(root / SCRIBBLE), "a.bmp: RGB where a label map should be"),
    "anti-aliased": (
        lambda root: edit(root / SCRIBBLE, lambda labels: half(labels, cv2.INTER_LINEAR)),
        "a.bmp: anti-aliased edges",
    ),
    "255": (
        lambda root: edit(
            root / SCRIBBLE, lambda labels: np.where(labels == 3, np.uint8(255), labels)
        ),
        "a.bmp: 255 in it",
    ),
    "unsorted names": (lambda root: rename_frames(root / "DAVIS"), "bär: names do not sort"),
    "cut off": (
        lambda root: (root / FRAME).write_bytes((root / FRAME).read_bytes()[:1500]),
        "00003.bmp: cannot be read",
    ),
    "empty": (lambda root: write_map(root / FRAME, strokes()), "00003.bmp: empty"),
    "two files of one name": (
        lambda root: Image.fromarray(strokes(1, 2, 3)).save((root / FRAME).with_suffix(".png")),
        "bär: more than one file is named 00003",
    ),
    "no video at all": (
        lambda root: empty(root / "Youtube-VOS/train_scribbles"),
        "train_scribbles: holds no <video>",
    ),
    "no images at all": (
        lambda root: empty(root / "DAVIS/JPEGImages/480p"),
        "480p: holds no <video>",
    ),
    "video of a training list away": (
        lambda root: write_text(root / "DAVIS/ImageSets/2017/train.txt", "bär\nnone such\n"),
        "none such: neither images nor scribbles",
    ),
    "list of videos unreadable": (
        lambda root: (root / "DAVIS/ImageSets/2017/val.txt").write_bytes(b"\xff\xfe"),
        "val.txt: cannot be read",
    ),
    "image cut off": (
        lambda root: cut(root / "COCO/images/a.jpg"),
        "a.jpg: is cut off",
    ),
    "num_objects out of range": (
        lambda root: write_text(
            root / "COCO/COCO_scribbles.json",
            '{"images": [{"file_name": "a.jpg", "anno_name": "a.bmp", "num_objects": 300}]}',
        ),
        "COCO_scribbles.json: cannot be read: images[0]",
    ),
    "list of nothing": (
        lambda root: write_text(root / "COCO/COCO_scribbles.json", '{"images": []}'),
        "COCO_scribbles.json: cannot be read: lists no image",
    ),
    "broken image": (
        lambda root: write_text(root / "COCO/images/a.jpg", "not found"),
        "a.jpg: cannot be read as an image",
    ),
    "image away": (
        lambda root: (root / "COCO/images/a.jpg").unlink(),
        "a.jpg: listed in COCO_scribbles.json but not there",
    ),
    "map away": (lambda root: (root / SCRIBBLE).unlink(), "a.bmp: listed in COCO_scribbles.json"),
    "list broken": (
        lambda root: write_text(root / "COCO/COCO_scribbles.json", '{"images": [{}]}'),
        "COCO_scribbles.json: cannot be read",
    ),
    "other count of objects": (
        lambda root: write_map(root / SCRIBBLE, strokes(1, 2, 3, 4, 5)),
        "a.bmp: label 5 is out of range",
    ),
    "video of a list away": (
        lambda root: (root / "DAVIS/valid_scribbles0/hund.bmp").unlink(),
        "valid_scribbles0: no scribble of hund",
    ),
    "list of videos away": (
        lambda root: (root / "DAVIS/ImageSets/2017/val.txt").unlink(),
        "val.txt: no such list",
    ),
    "object that appears has no map": (
        lambda root: (root / "Youtube-VOS/valid_scribbles" / YOUTUBE_VIDEO / "00004.bmp").unlink(),
        "no scribble of frame 00004, where object 2 appears",
    ),
    "object that appears has no stroke": (
        lambda root: write_map(
            root / "Youtube-VOS/valid_scribbles" / YOUTUBE_VIDEO / "00004.bmp", strokes(1)
        ),
        "00004.bmp: no stroke of object 2",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_with_its_remedy(tree, damage):
    spoil, expected = DAMAGES[damage]
    spoil(tree)
    report = check_root(tree)
    named = [finding for finding in report.findings if expected in str(finding)]
    assert named, [str(finding) for finding in report.findings]
    assert all(finding.severe and finding.remedy for finding in named)
    assert report.broken()


def test_sound_strokes_are_not_called_anti_aliased(tree):
    crossing = strokes(1, 2, 3)
    crossing[2:40, 30:33] = 3  # over the other strokes
    crossing[::, 60] = 2  # one pixel thin, beside others
    crossing[::, 61] = 3
    write_map(tree / SCRIBBLE, crossing)
    write_map(tree / "COCO/scribbles/b mit ö.bmp", half(strokes(1, 2, 3), cv2.INTER_NEAREST))
    assert check_root(tree).findings == []


def test_hints_do_not_fail(tree):
    edit(tree / "DAVIS/valid_scribbles0/hund.bmp", drop_largest)
    write_map(tree / "Youtube-VOS/train_scribbles" / YOUTUBE_VIDEO / "00005.bmp", strokes(1, 2))
    report = check_root(tree)
    assert len(report.findings) == 2 and not report.broken()
    assert "no background label" in str(report.findings[0])
    assert "background is missing" in str(report.findings[1])


def test_folders_of_ones_own(sound, tmp_path):
    images, folder = sound / "COCO" / "images", tmp_path / "mine"
    shutil.copytree(sound / "COCO" / "scribbles", folder)
    assert check_own(images, folder).findings == []
    write_map(folder / "c.bmp", strokes(1, 2))
    told = [str(finding) for finding in check_own(images, folder).findings]
    assert any("counts differ: 2 images but 3" in line for line in told)
    assert any("c.bmp: no image of the same name" in line for line in told)
    videos = sound / "Youtube-VOS" / "train"
    assert check_own(videos / "JPEGImages", sound / "Youtube-VOS/train_scribbles").findings == []
    with pytest.raises(InputError, match="no COCO, DAVIS or Youtube-VOS"):
        check_root(folder)


@pytest.mark.parametrize("copy", [False, True])
def test_archives_are_arranged_for_the_loaders(sound, tmp_path, copy):
    root, archives = tmp_path / "datasets", tmp_path / "my downloads"
    shutil.copytree(sound, root, ignore=shutil.ignore_patterns("*scribbles*"))
    shutil.copytree(sound / "COCO" / "scribbles", archives / "coco" / "scribbles")
    shutil.copy(sound / "COCO" / "COCO_scribbles.json", archives / "coco")
    for name, inside in (
        ("DAVIS/train_scribbles", "one/train_scribbles/train_scribbles"),
        ("DAVIS/valid_scribbles0", "sets/valid_scribbles0"),  # files
        ("DAVIS/valid_scribbles1", "sets/valid_scribbles1"),  # folders
        ("Youtube-VOS/train_scribbles", "two/train_scribbles"),
        ("Youtube-VOS/valid_scribbles", "two/valid_scribbles"),
    ):
        shutil.copytree(sound / name, archives / inside)
    assert len(arrange(archives, root, copy)) == 7
    assert (root / "DAVIS" / "train_scribbles").is_symlink() != copy
    assert arrange(archives, root, copy) == []  # once is enough
    assert check_root(root).findings == []
    assert len(open_coco(root)) == 2
    assert len(open_davis_training(root, 3)) == len(open_youtube_training(root, 3)) == 1
    davis = open_davis_validation(root / "DAVIS")
    for group in (0, 1):
        assert read_prompt(davis, davis.video("hund"), group).num_objects == 2


def test_arrange_refuses_to_guess(sound, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(sound / "DAVIS/valid_scribbles0", tmp_path / name / "valid_scribbles0")
    with pytest.raises(InputError, match=r"both .*one.* and .*two"):
        arrange(tmp_path, tmp_path / "datasets")
    with pytest.raises(InputError, match="holds no scribbles"):
        arrange(sound / "COCO" / "images", tmp_path / "datasets")
    write_text(tmp_path / "datasets" / "DAVIS" / "valid_scribbles0" / "mine.bmp", "precious")
    with pytest.raises(InputError, match="is there already"):
        arrange(tmp_path / "one", tmp_path / "datasets")


def test_annotations_tell_a_missing_background_from_an_object_out_of_view(tree):
    masks = tree / "DAVIS" / "Annotations" / "480p" / VIDEO
    masks.mkdir(parents=True)
    for path, view in (("00003", (1, 2)), ("00004", (1,))):
        Image.fromarray(strokes(*view)).save(masks / f"{path}.png")
        write_map(tree / "DAVIS" / "train_scribbles" / VIDEO / f"{path}.bmp", strokes(1, 2))
    (finding,) = check_root(tree).findings
    assert finding.where.name == "00003.bmp" and "no background label" in finding.what


def test_coco_names_may_hold_folders(tree):
    for part, suffix in (("images", "jpg"), ("scribbles", "bmp")):
        folder = tree / "COCO" / part / "train 2017"
        folder.mkdir()
        for name in COCO_NAMES:
            (folder.parent / f"{name}.{suffix}").rename(folder / f"{name}.{suffix}")
    entries = [
        {"file_name": f"train 2017/{n}.jpg", "anno_name": f"train 2017/{n}.bmp", "num_objects": 3}
        for n in COCO_NAMES
    ]
    write_text(tree / "COCO" / "COCO_scribbles.json", json.dumps({"images": entries}))
    assert check_root(tree).findings == []


def test_a_davis_folder_of_scribbles_alone_is_no_other_tree(tree):
    shutil.rmtree(tree / "DAVIS" / "JPEGImages")
    shutil.rmtree(tree / "DAVIS" / "ImageSets")
    told = [str(finding) for finding in check_root(tree).findings]
    assert any("DAVIS/JPEGImages/480p: no such folder" in line for line in told)
    assert not any("DAVIS/train/JPEGImages" in line for line in told)
