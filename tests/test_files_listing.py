"""Which files of a folder count, in which order; lists of names as editors save them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rhmnet.errors import InputError
from rhmnet.files import by_stem, list_files, list_folders, natural_key, walk
from rhmnet.files.reading import read_list

LEFTOVERS = ("._1.png", ".DS_Store", ".1.png", ".ipynb_checkpoints/1-checkpoint.png")


@given(st.lists(st.integers(0, 10**12), min_size=1, unique=True))
def test_numbers_are_ordered_as_numbers(numbers: list[int]) -> None:
    names = [f"frame_{number}.png" for number in numbers]
    padded = [f"frame_{number:013d}.png" for number in numbers]
    assert sorted(names, key=natural_key) == [f"frame_{n}.png" for n in sorted(numbers)]
    assert sorted(padded, key=natural_key) == sorted(padded)


def test_order_by_hand() -> None:
    names = ["A2b10", "a2b9", "a", "100", "95", "007", "8", "b1", "a2"]
    in_order = ["007", "8", "95", "100", "a", "a2", "a2b9", "A2b10", "b1"]
    assert sorted(names, key=natural_key) == in_order
    assert sorted([f"{n}.png" for n in names], key=natural_key) == [f"{n}.png" for n in in_order]
    digits = "9" * 5000  # more than int() takes
    assert sorted([f"1{digits}", digits], key=natural_key) == [digits, f"1{digits}"]


def test_what_systems_leave_in_folders_is_hidden(tmp_path: Path) -> None:
    for name in ("10.png", "9.PNG", "8.jpg", "notes.txt", "Thumbs.db", *LEFTOVERS):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "._9.png").write_bytes(b"")
    assert [p.name for p in list_files(tmp_path, (".png",))] == ["9.PNG", "10.png"]
    assert list(by_stem(tmp_path, (".png", ".jpg"))) == ["8", "9", "10"]
    assert [p.name for p in list_folders(tmp_path)] == ["folder.png"]
    assert [folder.name for folder, _ in walk(tmp_path)] == [tmp_path.name, "folder.png"]
    assert list_files(tmp_path / "none", (".png",)) == list_folders(tmp_path / "none") == []


@pytest.mark.parametrize(
    "data",
    [
        "a\nb c\n".encode("utf-8-sig"),
        b"\n a\r\n\r\nb c",
        "a\r\nb c\r\n".encode("utf-16"),
        b"\xfe\xff" + "a\nb c".encode("utf-16-be"),
        "\ufeffa\n\ufeffb c\n".encode(),  # two lists, one after the other
    ],
)
def test_lists_as_editors_save_them(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "val.txt").write_bytes(data)
    assert read_list(tmp_path / "val.txt") == ["a", "b c"]


@pytest.mark.parametrize("data", [b"\xff\xfe", b"a\xff\n"])
def test_lists_that_are_no_text_are_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "val.txt").write_bytes(data)
    with pytest.raises(InputError, match=r"val\.txt: cannot be read as a list"):
        read_list(tmp_path / "val.txt")
