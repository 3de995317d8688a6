"""Files are whole under their names or not there; what the system refuses is one line."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rhmnet.errors import InputError, shown
from rhmnet.files import check_name, writing

LABELS = np.arange(64 * 96, dtype=np.uint8).reshape(64, 96)
WRITERS = {
    "bytes": lambda path: writing.write_bytes(path, b"x" * 5000),
    "text": lambda path: writing.write_text(path, "x" * 5000),
    "json": lambda path: writing.write_json(path, list(range(2000))),
    "bmp": lambda path: writing.write_picture(path, Image.fromarray(LABELS), "BMP"),
    "torch": lambda path: writing.write_torch(path, {"a": torch.zeros(5000)}),
}


@pytest.mark.parametrize("room", [0, 4096])
@pytest.mark.parametrize("kind", WRITERS)
def test_full_disk_leaves_what_was_there(kind: str, room: int, tmp_path: Path, fill_disk) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    fill_disk(room)
    with pytest.raises(InputError, match=r"file: cannot be written \(No space.*make room"):
        WRITERS[kind](path)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("kind", WRITERS)
def test_whole_files_have_the_bytes_and_the_usual_permissions(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    mask = os.umask(0o027)
    try:
        WRITERS[kind](path)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(path.parent) == ["file"]
    if kind == "bmp":
        assert np.array_equal(Image.open(path), LABELS)
    if kind == "torch":
        assert torch.load(path, weights_only=True)["a"].shape == (5000,)


def test_an_error_of_ones_own_passes_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writing.new_file(tmp_path / "file") as file:
        file.write(b"x")
        1 / 0  # noqa: B018
    with pytest.raises(OSError, match="of the source"), writing.new_file(tmp_path / "f"):
        raise OSError("of the source")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("file/inside", "a file lies where a folder should be"),
        ("folder", "a folder lies where the file should be"),
        ("n" * 256, "shorter name"),
        ("pipe", "is a device"),
    ],
)
def test_places_that_take_no_file(place: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=told):
        writing.write_bytes(tmp_path / place, b"x")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "pipe"]
    assert (tmp_path / "file").read_bytes() == b""


def test_the_longest_name_is_written(tmp_path: Path) -> None:
    writing.write_bytes(tmp_path / ("ä" * 127), b"x")
    assert os.listdir(tmp_path) == ["ä" * 127]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"mine")
    (tmp_path / "link").symlink_to("other")
    writing.write_bytes(tmp_path / "link", b"x")
    assert (tmp_path / "other").read_bytes() == b"mine"
    assert not (tmp_path / "link").is_symlink()


def test_removing_a_link_leaves_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    (tmp_path / "link").symlink_to("folder")
    writing.remove(tmp_path / "link")
    writing.remove(tmp_path / "never")
    assert os.listdir(tmp_path) == ["folder"]
    writing.remove(tmp_path / "folder")
    assert os.listdir(tmp_path) == []


def test_a_line_is_added_whole_or_not_at_all(tmp_path: Path, fill_disk) -> None:
    path = tmp_path / "log" / "lines"
    writing.add_line(path, "first")
    fill_disk(4)
    with pytest.raises(InputError, match="lines: cannot be written"):
        writing.add_line(path, "second")
    assert path.read_text() == "first\n"


def test_no_line_goes_to_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    (tmp_path / "link").symlink_to("other")
    with pytest.raises(InputError, match=r"link: .*remove it"):
        writing.add_line(tmp_path / "link", "x")
    assert (tmp_path / "other").read_text() == ""


def test_replacing_takes_the_place_when_it_ends_well(tmp_path: Path) -> None:
    with writing.replacing(tmp_path / "a.mp4") as temporary:
        assert temporary.suffix == ".mp4" and temporary.parent == tmp_path
        temporary.write_bytes(b"x")
    assert os.listdir(tmp_path) == ["a.mp4"]
    with pytest.raises(ZeroDivisionError), writing.replacing(tmp_path / "b.mp4") as temporary:
        temporary.write_bytes(b"x")
        1 / 0  # noqa: B018
    assert os.listdir(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        *(("/etc", "absolute"), ("C:\\x", "absolute"), ("\\\\host\\x", "absolute")),
        *(("..", "leads out"), ("a/../../b", "leads out"), ("a\\..\\b", "leads out")),
        *(("a\0b", "control"), ("a\x1b[2Jb", "control"), ("a\nb", "control"), ("\x7f", "control")),
        *(("a\ud800", "half"), ("a\udcff", "half"), ("", "empty"), (".", "empty"), ("./", "empty")),
        *(("ä" * 128, "256 bytes"), ("a/" + "b" * 256, "256 bytes"), (5, "no name")),
    ],
)
def test_what_is_no_name_is_refused_in_one_line(name: object, why: str) -> None:
    with pytest.raises(InputError) as error:
        check_name(name, "meta.json")
    message = str(error.value)
    assert message.startswith("meta.json: ") and why in message
    assert message.isprintable() and len(message) < 200


@pytest.mark.parametrize("name", ["a", "a b", "日本", "a/b.jpg", "./a", "...", "-x", "ä" * 127])
def test_names_pass_as_they_are(name: str) -> None:
    assert check_name(name, "meta.json") == name


def test_text_is_shown_on_one_line() -> None:
    assert shown("a\nb\x1b[31m\udcff\u202eé") == "a\\nb\\x1b[31m\\xff\\u202eé"
    assert str(InputError("no\nsuch")) == "no\\nsuch"
