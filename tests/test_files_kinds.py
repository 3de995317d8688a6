"""Images of every depth and kind, and damage to them: read right, or told in one line."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from rhmnet.errors import InputError
from rhmnet.files import decoding
from rhmnet.files.images import image_size, read_image, read_labels

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning"
)
DEEP = np.array([[0, 255, 256], [511, 32768, 65535]], np.uint16)


def labels_of(height: int = 9, width: int = 13) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return ((rows * 3 + columns) % 7).astype(np.uint8)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bits_become_8_in_grey_and_in_colour(tmp_path: Path, name: str) -> None:
    colours = np.stack([DEEP, DEEP[::-1], DEEP[:, ::-1]], axis=-1)
    assert cv2.imwrite(str(tmp_path / name), colours[..., ::-1])
    np.testing.assert_array_equal(read_image(tmp_path / name), colours >> 8)
    assert cv2.imwrite(str(tmp_path / name), DEEP)
    np.testing.assert_array_equal(read_image(tmp_path / name), np.stack([DEEP >> 8] * 3, -1))


def test_floats_of_0_to_1_are_scaled_and_others_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.array([[0, 0.5, 1], [-0.01, 1.02, 0.2]], np.float32)).save(path)
    assert read_image(path)[..., 1].tolist() == [[0, 128, 255], [0, 255, 51]]
    for wrong in (255.0, -3.0, np.nan, np.inf):
        Image.fromarray(np.array([[0, wrong]], np.float32)).save(path)
        with pytest.raises(InputError, match=r"a\.tif: grey values from"):
            read_image(path)
    Image.fromarray(np.array([[0, 70000]], np.int32)).save(path)
    with pytest.raises(InputError, match="from 0 to 70000"):
        read_image(path)


def indexed_bmp(path: Path, indices: np.ndarray, bits: int, palette: np.ndarray) -> Path:
    """Write a BMP whose pixels have 1, 4 or 8 bits; palette: uint8 [2 ** bits, 3], RGB."""
    height, width = indices.shape
    digits = np.unpackbits(indices[::-1, :, None], axis=2)[..., 8 - bits :].reshape(height, -1)
    rows = np.packbits(digits, axis=1)
    rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
    table = np.pad(palette[:, ::-1], ((0, 0), (0, 1))).tobytes()
    begin = 54 + len(table)
    header = struct.pack("<2sIII", b"BM", begin + rows.size, 0, begin)
    header += struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, rows.size, 0, 0, 0, 0)
    path.write_bytes(header + table + rows.tobytes())
    return path


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("grey", [True, False])
def test_bmp_of_any_depth_and_palette(tmp_path: Path, bits: int, grey: bool) -> None:
    count = 1 << bits
    values = np.arange(count, dtype=np.uint8)
    palette = np.stack([values, values if grey else values // 2, values], axis=-1)
    indices = (labels_of().astype(int) % count).astype(np.uint8)
    path = indexed_bmp(tmp_path / "a.bmp", indices, bits, palette)
    np.testing.assert_array_equal(read_labels(path), indices)
    np.testing.assert_array_equal(read_image(path), palette[indices])
    data = path.read_bytes()
    for length in range(0, len(data) - 3, 9):  # rows are padded
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match=r"a\.bmp"):
            read_labels(path)


@pytest.mark.parametrize("mode", ["L", "P"])
def test_no_flipped_bit_of_a_png_goes_unnoticed(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.png"
    image = Image.frombytes(mode, (13, 9), labels_of().tobytes())
    if mode == "P":
        image.putpalette(bytes(range(21)))
    image.save(path)
    data = path.read_bytes()
    np.testing.assert_array_equal(read_labels(path), labels_of())
    for place in range(len(data)):
        for bit in (0, 3, 7):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            with pytest.raises(InputError, match=r"a\.png"):
                read_labels(path)
    path.write_bytes(data + b"more")  # behind the end there is nothing to be damaged
    np.testing.assert_array_equal(read_labels(path), labels_of())


@pytest.mark.parametrize(
    ("name", "deep"),
    [(f"a.{kind}", False) for kind in ("png", "tif", "webp", "bmp", "jpg", "gif")]
    + [("a.png", True), ("a.tif", True)],
)
def test_flipped_bytes_never_end_in_another_error(tmp_path: Path, name: str, deep: bool) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 65535 if deep else 255, (9, 12), np.uint16 if deep else np.uint8)
    path = tmp_path / name
    Image.fromarray(image).save(path)
    data = path.read_bytes()
    for _ in range(150):
        flipped = np.frombuffer(data, np.uint8).copy()
        flipped[rng.integers(len(flipped), size=rng.integers(1, 4))] = rng.integers(256)
        path.write_bytes(flipped.tobytes())
        for read in (read_image, read_labels, image_size):
            try:
                read(path)
            except InputError as error:
                assert name in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_cut_off_frames_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    image = np.random.default_rng(0).integers(0, 255, (16, 20), np.uint8)
    Image.fromarray(image if name == "a.webp" else image.astype(np.uint16) * 256).save(path)
    data = path.read_bytes()
    for length in range(0, len(data) - 10, 23):
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match=r"a\.\w+: "):
            read_image(path)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.tif"])
@pytest.mark.parametrize("side", [60000, 12000])
def test_a_header_takes_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, side: int
) -> None:
    """Sizes above the bound, and below it but more than a few hundred bytes can hold."""
    path = tmp_path / name
    Image.fromarray(labels_of(64, 64)).save(path)
    data = bytearray(path.read_bytes())
    if name == "a.jpg":
        struct.pack_into(">HH", data, data.find(b"\xff\xc0") + 5, side, side)
    elif name == "a.png":
        struct.pack_into(">II", data, 16, side, side)
        struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    elif name == "a.bmp":
        struct.pack_into("<ii", data, 18, side, side)
    else:
        entries = struct.unpack_from("<I", data, 4)[0]
        for entry in range(entries + 2, entries + 26, 12):  # width and height come first
            struct.pack_into("<HII", data, entry + 2, 4, 1, side)
    path.write_bytes(data)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(InputError, match=r"cut off|header says|truncated"):
        read_image(path)
    if side * side > decoding.MAX_PIXELS:
        with pytest.raises(InputError, match="header says"):
            image_size(path)


def several(path: Path, count: int) -> Path:
    """An image file with frames of grey 10, 20, ... ."""
    frames = [Image.new("L", (24, 16), 10 * (n + 1)) for n in range(count)]
    more = {"lossless": True} if path.suffix == ".webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **more)
    return path


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.webp", "a.gif"])
def test_several_frames_are_no_image(tmp_path: Path, name: str) -> None:
    assert read_image(several(tmp_path / f"one{name}", 1)).shape == (16, 24, 3)
    path = several(tmp_path / name, 3)
    for read in (read_image, read_labels, image_size):
        with pytest.raises(InputError, match="holds 3 frames"):
            read(path)


def test_a_preview_in_a_tiff_is_no_frame(tmp_path: Path) -> None:
    page, preview = Image.new("L", (24, 16), 7), Image.new("L", (12, 8), 7)
    preview.encoderinfo = {"tiffinfo": {254: 1}}
    page.save(tmp_path / "a.tif", save_all=True, append_images=[preview])
    with Image.open(tmp_path / "a.tif") as image:
        assert image.n_frames == 2
    assert read_image(tmp_path / "a.tif").shape == (16, 24, 3)
    assert image_size(tmp_path / "a.tif") == (16, 24)


def test_pipes_and_jpeg_labels_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match="no regular file"):
        read_image(tmp_path / "pipe.png")
    with pytest.raises(InputError, match="no regular file"):
        image_size(tmp_path / "pipe.png")
    Image.fromarray(labels_of()).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").rename(tmp_path / "a.png")
    with pytest.raises(InputError, match="JPEG, which changes values"):
        read_labels(tmp_path / "a.png")
    with pytest.raises(InputError, match="no name of a file"):
        read_image(tmp_path / "a\0.png")
