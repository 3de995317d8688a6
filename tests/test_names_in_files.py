"""Names that files hold lead into their folder, or are refused by every reader."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rhmnet.data.coco import CocoScribbles
from rhmnet.data.youtube import open_youtube_vos
from rhmnet.errors import InputError
from rhmnet.files.reading import read_list
from rhmnet.tools.scribbles.check import arrange, check_root
from rhmnet.tools.scribbles.line_files import read_davis
from rhmnet.tools.scribbles.masks import coco_jobs

HOSTILE = ("/etc", "../../victim", "a/../../victim", "C:\\x", "a\x1b[2Jb", "a\x0bb", "n" * 300)


def _json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def _listed(folder: Path, name: str) -> None:
    (folder / "val.txt").write_text(f"bear\n{name}\n", encoding="utf-8")
    read_list(folder / "val.txt")


def _coco_image(folder: Path, name: str, key: str = "file_name") -> None:
    entry = {"file_name": "a.jpg", "anno_name": "a.bmp", "num_objects": 2, key: name}
    _json(folder / "COCO_scribbles.json", {"images": [entry]})
    CocoScribbles(folder)


def _arranged(folder: Path, name: str) -> None:
    _json(folder / "in" / "COCO_scribbles.json", {"images": [{"anno_name": name}]})
    arrange(folder / "in", folder / "out")


def _instances(folder: Path, name: str) -> None:
    image = {"id": 1, "file_name": name, "height": 9, "width": 9}
    path = _json(folder / "instances.json", {"images": [image], "annotations": []})
    coco_jobs(path, None, 10, 100.0)


def _youtube_video(folder: Path, name: str) -> None:
    objects = {"1": {"category": "ant", "frames": ["00000"]}}
    _json(folder / "valid" / "meta.json", {"videos": {name: {"objects": objects}}})
    open_youtube_vos(folder, "val").names()


def _youtube_frame(folder: Path, name: str) -> None:
    objects = {"1": {"category": "ant", "frames": [name]}}
    _json(folder / "valid" / "meta.json", {"videos": {"v": {"objects": objects}}})
    open_youtube_vos(folder, "val").video("v")


def _sequence(folder: Path, name: str) -> None:
    read_davis(_json(folder / "a.json", {"sequence": name, "size": [9, 9], "scribbles": [[]]}))


READERS: dict[str, Callable[[Path, str], None]] = {
    "list": _listed,
    "COCO image": _coco_image,
    "COCO scribble": lambda folder, name: _coco_image(folder, name, "anno_name"),
    "arranged": _arranged,
    "instances": _instances,
    "YouTube video": _youtube_video,
    "YouTube frame": _youtube_frame,
    "DAVIS sequence": _sequence,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("reader", READERS)
def test_no_reader_takes_names_that_lead_elsewhere(reader: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a plain name") as error:
        READERS[reader](tmp_path, name)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("name", ["../x", "a\x1bb"])
def test_check_reports_them(name: str, tmp_path: Path) -> None:
    (tmp_path / "train_scribbles").mkdir()
    (tmp_path / "ImageSets" / "2017").mkdir(parents=True)
    (tmp_path / "ImageSets" / "2017" / "train.txt").write_text(name + "\n")
    findings = [str(finding) for finding in check_root(tmp_path).findings]
    assert any("train.txt: line 1: name" in finding for finding in findings)
    (tmp_path / "y" / "valid_scribbles").mkdir(parents=True)
    objects = {"1": {"frames": ["00000"]}}
    _json(tmp_path / "y" / "valid" / "meta.json", {"videos": {name: {"objects": objects}}})
    findings = [str(finding) for finding in check_root(tmp_path / "y").findings]
    assert any("meta.json" in finding and "plain name" in finding for finding in findings)


def test_folders_of_windows_and_odd_names_are_read(tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_bytes("\ufeffa b\r\n  日本\u2028x\t\r\n\r\n...\n".encode())
    assert read_list(tmp_path / "val.txt") == ["a b", "日本\u2028x", "..."]
    image = {"id": 1, "file_name": "train2017\\./a.jpg", "height": 9, "width": 9}
    path = _json(tmp_path / "instances.json", {"images": [image], "annotations": []})
    assert coco_jobs(path, None, 10, 100.0)[0].names == ("train2017/a",)
    entry = {"file_name": "b\\a.jpg", "anno_name": "b\\a.bmp", "num_objects": 2}
    _json(tmp_path / "COCO_scribbles.json", {"images": [entry]})
    assert CocoScribbles(tmp_path)[0].image == tmp_path / "images" / "b" / "a.jpg"
