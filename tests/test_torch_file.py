"""Files that are not what their name says, damaged ones, and weights of another kind."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from rhmnet.checkpoint import read_checkpoint
from rhmnet.errors import InputError
from rhmnet.files.reading import read_torch_file


def saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def packed(kind: str) -> bytes:
    whole, file = saved({"state_dict": {"a": torch.ones(64)}}), io.BytesIO()
    if kind == "tar":
        with tarfile.open(fileobj=file, mode="w") as archive:
            part = tarfile.TarInfo("weights.pth")
            part.size = len(whole)
            archive.addfile(part, io.BytesIO(whole))
    elif kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("weights.pth", whole)
    elif kind == "npz":
        np.savez(file, a=np.ones(3))
    elif kind == "compressed":
        with (
            zipfile.ZipFile(io.BytesIO(whole)) as source,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            for name in source.namelist():
                archive.writestr(name, source.read(name))
            archive.writestr("archive/zeros", bytes(1 << 20))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<!DOCTYPE html><html><title>Sign in</title>", "a web page"),
        (b"\xef\xbb\xbf\r\n  <HTML lang=en>", "a web page"),
        ("<html>".encode("utf-16"), "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS pointer"),
        (gzip.compress(b"weights", mtime=0), "gzip archive; unpack"),
        (packed("tar"), "tar archive; unpack"),
        (packed("zip"), "zip archive of 'weights.pth'; unpack"),
        (packed("npz"), "zip archive of 'a.npy'"),
        (packed("compressed"), "its parts are larger than the file"),
        (b'\x10\0\0\0\0\0\0\0{"a": {}}', "safetensors"),
        (b'{"error": "quota exceeded"}', "a text file"),
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "not a checkpoint"),
        (bytes(range(256)), "not a checkpoint"),
        (bytes(4096), "not a checkpoint"),
    ],
)
def test_it_is_said_what_a_file_is(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "weights.pth.tar"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"weights\.pth\.tar: .*{told}") as error:
        read_torch_file(path)
    assert "\n" not in str(error.value) and "could run code" not in str(error.value)
    assert "weights_only" not in str(error.value)


def test_a_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder; expected a file"):
        read_checkpoint(tmp_path)


def test_every_flipped_byte_of_the_weights_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "c.pth.tar"
    weights = torch.arange(1000, dtype=torch.float32)
    whole = saved({"epoch": 1, "state_dict": {"a": weights}})
    begin = whole.index(weights.numpy().tobytes())
    for offset in range(begin, begin + 4000, 97):
        damaged = bytearray(whole)
        damaged[offset] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="damaged: the checksum of"):
            read_checkpoint(path)


def test_flipped_bytes_anywhere_are_refused_or_change_nothing(tmp_path: Path) -> None:
    path, generator = tmp_path / "c.pth.tar", np.random.default_rng(0)
    weights = torch.arange(8, dtype=torch.float32)
    whole = saved({"epoch": 1, "state_dict": {"a": weights}})
    refused = 0
    for offset in generator.permutation(len(whole))[:300]:
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << int(generator.integers(8))
        path.write_bytes(damaged)
        try:
            assert torch.equal(read_checkpoint(path)["state_dict"]["a"], weights)
        except InputError:
            refused += 1
    assert refused > 30


ODD = {
    "int8": lambda: torch.ones(2, 2, dtype=torch.int8),
    "int64": lambda: torch.ones(2, 2, dtype=torch.int64),
    "uint8": lambda: torch.ones(2, 2, dtype=torch.uint8),
    "bool": lambda: torch.ones(2, 2, dtype=torch.bool),
    "complex": lambda: torch.ones(2, 2, dtype=torch.complex64),
    "sparse": lambda: torch.ones(2, 2).to_sparse(),
    "sparse (rows)": lambda: torch.ones(2, 2).to_sparse_csr(),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8),
    "meta": lambda: torch.ones(2, 2, device="meta"),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "a view that repeats its values": lambda: torch.ones(1).expand(10**6, 10**6),
}


@pytest.mark.filterwarnings("ignore")  # PyTorch's, of kinds that it means to drop
@pytest.mark.parametrize("kind", ODD)
def test_weights_of_another_kind_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "c.pth.tar"
    path.write_bytes(saved({"state_dict": {"fine": torch.ones(2), "heads.odd": ODD[kind]()}}))
    told = kind.partition(" (")[0]
    with pytest.raises(InputError, match=rf"c\.pth\.tar: 'heads\.odd' is {told}"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("epoch", "expected"), [(None, 0), (7, 7), (7.0, 7), (torch.tensor(7), 7), ("absent", 0)]
)
def test_epochs(tmp_path: Path, epoch: object, expected: int) -> None:
    stated = {} if epoch == "absent" else {"epoch": epoch}
    (tmp_path / "c.pth").write_bytes(saved({"state_dict": {"a": torch.ones(1)}, **stated}))
    assert read_checkpoint(tmp_path / "c.pth")["epoch"] == expected


@pytest.mark.parametrize(
    "epoch",
    [
        "abc",
        "../../x",
        float("nan"),
        float("inf"),
        1.5,
        -1,
        10**12,
        True,
        [1],
        {},
        1j,
    ],
)
def test_epochs_that_are_none(tmp_path: Path, epoch: object) -> None:
    (tmp_path / "c.pth").write_bytes(saved({"state_dict": {"a": torch.ones(1)}, "epoch": epoch}))
    with pytest.raises(InputError, match=r"c\.pth: its epoch is .*expected a whole number"):
        read_checkpoint(tmp_path / "c.pth")
