"""One reader of JSON: what it refuses, always by a line that names the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from rhmnet.errors import InputError
from rhmnet.files import reading
from rhmnet.files.reading import read_json


def test_objects_are_read_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    text = '{"ä": [1, 2.5, 1e99, -1e-400, null, true, "1e999"]}'
    for encoding in ("utf-8", "utf-8-sig"):
        path = tmp_path / "a.json"
        path.write_text(text, encoding=encoding)
        assert read_json(path) == {"ä": [1, 2.5, 1e99, 0.0, None, True, "1e999"]}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"[" * 100_000, "nested too deep"),
        (b'{"a":' * 100_000, "nested too deep"),
        (b'{"a": Infinity}', "Infinity is no number"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": -1e999}', "too large"),
        (b'{"a": ' + b"9" * 100_000 + b"}", "cannot be read as JSON"),
        (b'{"a": 1', "cannot be read as JSON"),
        (b'{"a": ' + b"9" * 400 + b".0}", "too large"),
        (b'{"a": ' + b"9" * 250 + b"e99}", "too large"),
        (b'{"a": -' + b"9" * 400 + b"}", "too large"),
        (b"", "it is empty"),
        ('{"ä": 1}'.encode("latin-1"), "not UTF-8"),
        (b"[1]", "found list"),
        (b"3", "found int"),
    ],
)
def test_whatever_is_wrong_is_told_with_the_files_name(
    tmp_path: Path, data: bytes, told: str
) -> None:
    path = tmp_path / "odd.json"
    path.write_bytes(data)
    with pytest.raises(InputError, match=told) as error:
        read_json(path)
    assert "odd.json" in str(error.value) and "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_files_that_are_no_files_are_told(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(InputError, match="no such file; expected a list of videos"):
        read_json(tmp_path / "none.json", "a list of videos")
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path)
    path = tmp_path / "large.json"
    path.write_text("{}")
    monkeypatch.setattr(reading, "MOST_BYTES", 1)
    with pytest.raises(InputError, match="more than"):
        read_json(path)
