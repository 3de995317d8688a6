"""What a name on the command line stands for: odd names, patterns, frames in one file."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from segment_videos import numbered, numbers, write_video

from rhmnet.errors import InputError
from rhmnet.files import source as source_module
from rhmnet.files.image_frames import ImageStack
from rhmnet.files.source import Source


def write_frames(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        Image.fromarray(numbered(index)).save(folder / name)
    return folder


def write_stack(path: Path, count: int, **options: object) -> Path:
    frames = [Image.fromarray(numbered(index)) for index in range(count)]
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "2024-05-01T12:30:00.mp4",
        "http:v.mp4",
        "-dash.mp4",
        "50%.mp4",
        "v%03d.mp4",
        "[1] a*b?.mp4",
        "new\nline.mp4",
        "ä ö.mp4",
        os.fsdecode(b"a\xffb.mp4"),
    ],
)
def test_a_video_may_have_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_video(tmp_path / "v.mp4", 5).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for path in (name, f"./{name}", str(tmp_path / name)):
        source = Source(path)
        assert numbers(source, 0) == [0, 1, 2, 3, 4]
        assert numbers(source, 3, backward=True) == [3, 2, 1, 0]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("s.tif", {}),
        ("s.tiff", {"compression": "tiff_deflate"}),
        ("s.webp", {"lossless": True}),
        ("s.png", {}),
        ("s.gif", {}),
    ],
)
def test_frames_in_one_image_file_are_a_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: dict
) -> None:
    monkeypatch.setattr(source_module, "_CHUNK_BYTES", 0)  # the least, so that there are many
    source = Source(write_stack(tmp_path / name, 20, **options))
    assert isinstance(source.reader, ImageStack)
    assert (source.name, source.size, source.count()) == ("s", (48, 64), 20)
    assert numbers(source, 0) == list(range(20))
    assert numbers(source, 17) == [17, 18, 19]
    assert numbers(source, 18, backward=True) == list(range(18, -1, -1))
    assert [source.frame_name(3), source.frame_number("00003")] == ["00003", 3]


def test_an_animation_says_its_rate(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "s.webp", 4, lossless=True, duration=[100, 100, 100, 500])
    assert Source(path).fps == pytest.approx(5)
    assert Source(str(path), fps=30).fps == 30
    assert Source(write_stack(tmp_path / "s.tif", 4)).fps == 25


def test_a_deep_stack_is_scaled_and_pages_of_other_sizes_are_told(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((4, 6), 256 * n, np.uint16)) for n in (7, 9)]
    pages[0].save(tmp_path / "s.tif", save_all=True, append_images=pages[1:])
    source = Source(tmp_path / "s.tif")
    assert [int(image.mean()) for image in source.forward(0, source.size)] == [7, 9]
    pages[0].save(tmp_path / "t.tif", save_all=True, append_images=[Image.new("L", (5, 5))])
    with pytest.raises(InputError, match=r"t\.tif: frame 1 has 5x5 pixels"):
        Source(tmp_path / "t.tif")


def test_a_stack_among_frames_and_a_damaged_one_are_told(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "shot", "0.tif", "1.tif")
    write_stack(folder / "2.tif", 3)
    with pytest.raises(InputError, match=r"2\.tif: holds 3 frames"):
        Source(folder)
    path = write_stack(tmp_path / "s.png", 5)
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"s\.png: .*damaged"):
        Source(path)


def test_one_image_is_a_video_of_one_frame(tmp_path: Path) -> None:
    write_frames(tmp_path, "a.png", "a.gif")
    for name in ("a.png", "a.gif"):
        assert Source(tmp_path / name).count() == 1


def test_what_is_there_by_name_is_no_pattern(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "clip [1]" / "50%d", "f[0].png", "f[1].png", "f2.png", "m.png")
    write_frames(tmp_path / "clip 1" / "50%d", "other.png")
    for pattern, found in (
        ("", ["f2", "f[0]", "f[1]", "m"]),
        ("f[[]?].png", ["f[0]", "f[1]"]),
        ("f*.png", ["f2", "f[0]", "f[1]"]),
        ("f[*].png", ["f[0]", "f[1]"]),
        ("f[0-9].png", ["f2"]),
        ("f%d.png", ["f2"]),
        ("f[%d].png", ["f[0]", "f[1]"]),
        ("f[0].png", ["f[0]"]),
    ):
        source = Source(folder / pattern)
        assert [source.frame_name(i) for i in range(source.count())] == found, pattern


def test_hidden_files_are_no_frames(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "shot", "9.png", "10.png")
    for name in ("._9.png", "._10.png", ".DS_Store"):
        (folder / name).write_bytes(b"\0\5\x16\7")
    for place in (folder, folder / "*.png", folder / "%d.png", folder / "?*.png"):
        source = Source(place)
        assert [source.frame_name(i) for i in range(source.count())] == ["9", "10"]


def test_frames_turned_by_exif_have_the_size_that_is_shown(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for index in range(2):
        turned = Image.fromarray(np.rot90(numbered(index)).copy())
        turned.save(tmp_path / f"{index}.jpg", exif=exif)
    source = Source(tmp_path)
    assert source.size == (48, 64)
    assert numbers(source, 0) == [0, 1]


def test_a_file_that_is_no_video_is_not_taken_for_numbered_images(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "a1.png"), numbered(1))
    (tmp_path / "a1.dat").write_text("no video")
    with pytest.raises(InputError, match="cannot be opened as a video"):
        Source(tmp_path / "a1.dat")
    with pytest.raises(InputError, match="empty"):
        Source("")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_canvas_of_an_animation_takes_no_memory(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "s.webp", 3, lossless=True)
    data = bytearray(path.read_bytes())
    at = data.index(b"VP8X") + 12  # width and height less one, 3 bytes each
    data[at : at + 6] = (9999).to_bytes(3, "little") * 2
    path.write_bytes(data)
    with pytest.raises(InputError, match="header says 10000x10000"):
        Source(path)
