"""Images and label maps: values kept, and every kind of bad file named."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rhmnet.errors import InputError
from rhmnet.files.images import image_size, read_image, read_labels

PALETTE = [0, 0, 0, 200, 0, 0, 0, 200, 0, 0, 0, 200]


def texture(height: int = 40, width: int = 61) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows * 5, columns * 4, (rows + columns) * 2], axis=-1)
    return image.astype(np.uint8)


def jpeg_with_thumbnail() -> bytes:
    """A JPEG whose EXIF block holds another, whole JPEG: an end marker before the pixels start."""
    small, large = io.BytesIO(), io.BytesIO()
    Image.fromarray(texture(16, 16)).save(small, "JPEG")
    exif = b"Exif\0\0" + struct.pack("<2sHI", b"II", 42, 8) + b"\0" * 6 + small.getvalue()
    Image.fromarray(texture()).save(large, "JPEG", exif=exif, quality=95)
    return large.getvalue()


def label_map() -> np.ndarray:
    labels = np.zeros((7, 13), np.uint8)  # 13: a BMP row is padded to 16 bytes
    labels[1], labels[3], labels[6, 5:] = 1, 3, 2
    return labels


def test_png_is_read_exactly_and_rgb_comes_first(tmp_path: Path) -> None:
    Image.fromarray(texture()).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), texture())


def test_jpeg_is_rgb_and_close(tmp_path: Path) -> None:
    Image.fromarray(texture()).save(tmp_path / "a.jpg", quality=98, subsampling=0)
    image = read_image(tmp_path / "a.jpg")
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - texture()).max() <= 6


def test_grey_jpeg_becomes_rgb(tmp_path: Path) -> None:
    Image.fromarray(texture()[..., 0]).save(tmp_path / "a.jpg")
    image = read_image(tmp_path / "a.jpg")
    assert image.shape == (40, 61, 3)
    assert (image[..., 0] == image[..., 2]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_images_are_shown_as_exif_says(tmp_path: Path, name: str, orientation: int) -> None:
    stored = texture(32, 48)
    exif = Image.Exif()
    exif[0x0112] = orientation
    kind = {"subsampling": 0, "quality": 98} if name == "a.jpg" else {}
    kind = {"lossless": True} if name == "a.webp" else kind
    Image.fromarray(stored).save(tmp_path / name, exif=exif, **kind)
    # by definition: which side of the scene row 0 and column 0 of the file lie on
    shown = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.swapaxes(0, 1),
        6: stored[::-1].swapaxes(0, 1),
        7: stored[::-1, ::-1].swapaxes(0, 1),
        8: stored[:, ::-1].swapaxes(0, 1),
    }[orientation]
    image = read_image(tmp_path / name)
    assert image.shape == shown.shape
    assert np.abs(image.astype(int) - shown).max() <= (6 if name == "a.jpg" else 0)
    assert image_size(tmp_path / name) == shown.shape[:2]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow's
@pytest.mark.parametrize("exif", [b"Exif\0\0MM\0*\0\0\0\x08\0\x05", b"Exif\0\0", b""])
def test_senseless_exif_turns_nothing(tmp_path: Path, exif: bytes) -> None:
    """Nor does that of a second photo behind the first one's end."""
    turned = Image.Exif()
    turned[0x0112] = 6
    second = io.BytesIO()
    Image.fromarray(texture()).save(second, "JPEG", exif=turned)
    Image.fromarray(texture()).save(tmp_path / "a.jpg", exif=exif)
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data + second.getvalue())
    assert read_image(tmp_path / "a.jpg").shape == (40, 61, 3)


def test_a_label_map_is_turned_like_its_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(label_map()).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), label_map()[::-1].T)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow's
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_cut_anywhere_is_named(tmp_path: Path, progressive: bool) -> None:
    data = jpeg_with_thumbnail()
    if progressive:
        whole = io.BytesIO()
        Image.fromarray(texture()).save(whole, "JPEG", progressive=True)
        data = whole.getvalue()
    path = tmp_path / "cut.jpg"
    path.write_bytes(data)
    assert read_image(path).shape == (40, 61, 3)
    # what phones append holds any bytes, marks of pixels' begin and end among them
    for tail in (b"trailing bytes are harmless", b"\xff\xda\0\x08\1film", data[: len(data) // 2]):
        path.write_bytes(data + tail)
        assert read_image(path).shape == (40, 61, 3)
    for length in range(0, len(data) - 1, 7):
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match=r"cut\.jpg"):
            read_image(path)


@pytest.mark.parametrize("name", ["a.bmp", "a.png"])
@pytest.mark.parametrize("palette", [None, PALETTE, [0, 0, 0, 255, 255, 255]])
def test_labels_keep_indices(tmp_path: Path, name: str, palette: list[int] | None) -> None:
    labels = label_map() if palette != [0, 0, 0, 255, 255, 255] else np.minimum(label_map(), 1)
    image = Image.fromarray(labels)
    if palette is not None:
        image = Image.frombytes("P", labels.shape[::-1], labels.tobytes())
        image.putpalette(palette)
    image.save(tmp_path / name)
    read = read_labels(tmp_path / name)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, labels)


def test_bmp_stored_from_the_top(tmp_path: Path) -> None:
    Image.fromarray(label_map()).save(tmp_path / "a.bmp")
    data = bytearray((tmp_path / "a.bmp").read_bytes())
    struct.pack_into("<i", data, 22, -7)
    (tmp_path / "a.bmp").write_bytes(data)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.bmp"), label_map()[::-1])


@pytest.mark.parametrize("name", ["a.bmp", "a.png"])
def test_cut_labels_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.fromarray(label_map()).save(path)
    data = path.read_bytes()
    for length in range(0, len(data) - 16, 5):
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match=name):
            read_labels(path)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16"])
def test_colours_are_not_labels(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (5, 4)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: expected a label map"):
        read_labels(tmp_path / "a.png")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits_is_read_as_its_values(tmp_path: Path, bits: int) -> None:
    """Written by hand: a row of 8 pixels, values 0, 1, ... as far as they go, packed into bytes."""
    values = np.arange(8) % 2**bits
    packed = np.unpackbits(values.astype(np.uint8)[:, None], axis=1)[:, -bits:]
    row = b"\0" + np.packbits(packed).tobytes()
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 8, 1, bits, 0, 0, 0, 0)),
        *((b"IDAT", zlib.compress(row)), (b"IEND", b"")),
    ]
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in chunks:
        check = struct.pack(">I", zlib.crc32(kind + content))
        data += struct.pack(">I", len(content)) + kind + content + check
    (tmp_path / "a.png").write_bytes(data)
    found = read_labels(tmp_path / "a.png")
    assert found.dtype == np.uint8 and found.tolist() == [values.tolist()]


def test_colour_bmp_is_not_labels(tmp_path: Path) -> None:
    Image.new("RGB", (5, 4)).save(tmp_path / "a.bmp")
    with pytest.raises(InputError, match=r"a\.bmp: expected a label map"):
        read_labels(tmp_path / "a.bmp")


@pytest.mark.parametrize("read", [read_image, read_labels])
def test_missing_folder_and_text_are_named(tmp_path: Path, read) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "folder.png").mkdir()
    for name, words in [("none.png", "no such"), ("text.png", "cannot"), ("folder.png", "cannot")]:
        with pytest.raises(InputError, match=words) as caught:
            read(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
