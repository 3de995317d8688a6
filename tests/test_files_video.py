"""Any frame of any file is the one that reading in order gives, pixel for pixel.

What OpenCV reads in order is the measure. It writes MPEG-2 (with B-frames and open groups), MPEG-4,
MJPEG, VP8 and VP9; H.264 and HEVC are PyAV's.
"""

from __future__ import annotations

import gc
import os
import random
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from segment_videos import begin_at, number_of, numbered, turn, vary_rate, write_video

from rhmnet.errors import InputError
from rhmnet.files import source as source_module
from rhmnet.files import video_place
from rhmnet.files.source import Source
from rhmnet.files.video_file import VideoFile

SIZE = (96, 128)
FRAMES = 90


def scene(index: int) -> np.ndarray:
    """uint8 [H, W, 3]: a texture that moves, so that every frame refers to its neighbours."""
    texture = np.random.default_rng(0).integers(0, 256, (250, 320, 3), np.uint8)
    y, x = index, 2 * index
    return cv2.GaussianBlur(texture, (0, 0), 2)[y : y + SIZE[0], x : x + SIZE[1]].copy()


def write_scene(path: Path, code: str) -> Path:
    fourcc = cv2.VideoWriter_fourcc(*code)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, 25, SIZE[::-1])
    if not writer.isOpened():
        pytest.skip(f"OpenCV writes no {code} here")
    for index in range(FRAMES):
        writer.write(scene(index))
    writer.release()
    return path


def encode(path: Path, codec: str, pixels: str = "yuv420p", **options: str) -> Path:
    """The scene by PyAV."""
    try:
        av.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"PyAV has no {codec} here")
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *SIZE, pixels
        for index in range(FRAMES):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(scene(index), "bgr24")))
        file.mux(stream.encode())
    return path


def cut(path: Path, share: float = 0.6) -> Path:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    return path


def changed(path: Path, change: Callable[..., None], *how: object) -> Path:
    change(path, *how)
    return path


def x264(path: Path, params: str, pixels: str = "yuv420p") -> Path:
    return encode(path, "libx264", pixels, preset="fast", **{"x264-params": params})


CLIPS = {
    "mpeg2 open groups, ts": lambda p: write_scene(p / "v.ts", "mpg2"),
    "mpeg2 open groups, ps": lambda p: write_scene(p / "v.mpg", "mpg2"),
    "mpeg2 open groups, mkv": lambda p: write_scene(p / "v.mkv", "mpg2"),
    "mpeg4": lambda p: write_scene(p / "v.mp4", "mp4v"),
    "mpeg4, avi": lambda p: write_scene(p / "v.avi", "mp4v"),
    "mjpeg": lambda p: write_scene(p / "v.avi", "MJPG"),
    "vp8": lambda p: write_scene(p / "v.webm", "VP80"),
    "vp9": lambda p: write_scene(p / "v.webm", "VP90"),
    "varying rate": lambda p: changed(
        write_scene(p / "v.mp4", "mp4v"), vary_rate, {3: 10, 4: 2, 50: 40}
    ),
    "edit list": lambda p: changed(write_scene(p / "v.mp4", "mp4v"), begin_at, 17),
    "turned": lambda p: changed(write_scene(p / "v.mp4", "mp4v"), turn),
    "cut avi": lambda p: cut(write_scene(p / "v.avi", "MJPG")),
    "cut ts": lambda p: cut(write_scene(p / "v.ts", "mpg2")),
    "cut webm": lambda p: cut(write_scene(p / "v.webm", "VP90")),
    "h264 B-frames": lambda p: x264(p / "v.mp4", "bframes=3:keyint=40"),
    "h264 open groups": lambda p: x264(p / "v.mp4", "open-gop=1:bframes=3:keyint=16"),
    "h264 open groups, ts": lambda p: x264(p / "v.ts", "open-gop=1:bframes=3:keyint=16"),
    "h264 refresh": lambda p: x264(p / "v.mp4", "intra-refresh=1:keyint=20"),
    "h264 without times": lambda p: x264(p / "v.h264", "keyint=20"),
    "h264 10 bits": lambda p: x264(p / "v.mp4", "keyint=20", "yuv420p10le"),
    "h264 edit list": lambda p: changed(x264(p / "v.mp4", "bframes=3:keyint=40"), begin_at, 17),
    "hevc open groups": lambda p: encode(
        p / "v.mp4", "libx265", **{"x265-params": "log-level=none:keyint=16:open-gop=1"}
    ),
}


def in_order(path: Path) -> list[np.ndarray]:
    """All frames as OpenCV reads them, uint8 [H, W, 3] RGB; no code of the project takes part."""
    capture, frames = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), []
    while True:
        found, image = capture.read()
        if not found:
            return frames
        frames.append(image[..., ::-1].copy())


@pytest.mark.parametrize("kind", CLIPS)
def test_any_frame_is_that_of_reading_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(source_module, "_CHUNK_BYTES", 0)  # the least, so that there are many
    monkeypatch.setattr(source_module, "_CACHE_BYTES", 0)
    path = CLIPS[kind](tmp_path)
    wanted = in_order(path)
    assert len(wanted) > 40
    source = Source(path)
    assert len(source) == len(wanted) == len(source.names)
    assert source.note is None or "cut" in kind  # nothing to warn of
    if "cut" in kind:  # the last one is there in part; the rest is what lay in memory
        del wanted[-1]
    source = Source(path)
    order = [*range(len(wanted)), *range(0, len(wanted), 7)]
    random.Random(kind).shuffle(order)
    for index in order:
        np.testing.assert_array_equal(source.frame(index), wanted[index])
    for start in (0, 41):
        forward = [*source.forward(start, source.size)][: len(wanted) - start]
        np.testing.assert_array_equal(np.stack(forward), wanted[start:])
    backward = [*source.backward(len(wanted) - 1, source.size)]
    np.testing.assert_array_equal(np.stack(backward), wanted[::-1])


def test_interlaced_frames_are_pictures(tmp_path: Path) -> None:
    """OpenCV 5.0 hands out memory that was never written to."""
    path = x264(tmp_path / "v.mp4", "tff=1:keyint=30")
    with av.open(str(path)) as file:
        assert next(file.decode(video=0)).interlaced_frame
    source = Source(path)
    for index in (FRAMES - 1, 3, 50):
        assert np.abs(source.frame(index).astype(int) - scene(index)[..., ::-1]).mean() < 8


@pytest.mark.parametrize("kind", ["mpeg2 open groups, ts", "hevc open groups"])
def test_a_seek_that_gives_other_pixels_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The frames behind every seek are spoilt, as those at the start of an open group can be."""
    path = CLIPS[kind](tmp_path)
    wanted = in_order(path)
    source = Source(path)
    assert len(source) == len(wanted)
    grab, spoilt = video_place.Place.grab, []

    def spoil(place):
        there = grab(place)
        if there and not place.in_order:
            spoilt.append(place.index)
            plane = place._frame.planes[0]
            pixels = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size).copy()
            pixels[:8, :8] ^= 1
            plane.update(pixels.tobytes())
        return there

    monkeypatch.setattr(video_place.Place, "grab", spoil)
    for index in (60, 45, 70):
        np.testing.assert_array_equal(source.frame(index), wanted[index])
    assert len(spoilt) >= 3


def test_frames_before_the_end_is_known_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(write_video(tmp_path / "v.mp4", 80))
    grabs = []
    grab = video_place.Place.grab
    monkeypatch.setattr(video_place.Place, "grab", lambda place: grabs.append(0) or grab(place))
    for index in (5, 40, 79):
        assert number_of(source.frame(index)) == index
    assert len(grabs) == 80  # each goes on from the one before
    assert len(source.reader._times) == 80


def test_frames_that_are_not_there(tmp_path: Path) -> None:
    source = Source(write_video(tmp_path / "v.mp4", 5))
    for index in (5, 99, -1):
        with pytest.raises(IndexError, match=f"no frame {index}"):
            source.frame(index)
    assert len(source) == 5
    with pytest.raises(ValueError, match="read-only"):
        source.frame(4)[:] = 0


def test_a_header_that_announces_more_frames_than_there_are(tmp_path: Path) -> None:
    source = Source(cut(write_scene(tmp_path / "v.avi", "MJPG")))
    assert source.count() == FRAMES
    assert len(source) < FRAMES and source.count() == len(source)
    assert f"only {len(source)} can be read" in source.note


def test_a_file_cut_within_its_header_is_told(tmp_path: Path) -> None:
    path = cut(write_scene(tmp_path / "v.mp4", "mp4v"))  # its index stands at the end
    with pytest.raises(InputError, match="cannot be opened as a video"):
        Source(path)


def test_a_file_that_shrinks_under_way_is_told(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "v.ts", "mpg2")
    source = Source(path)
    assert len(source) == FRAMES
    cut(path)
    with pytest.raises(InputError, match="though it was found before"):
        source.frame(FRAMES - 1)


@pytest.mark.parametrize("disposal", [0, 1, 2, 3])
def test_any_frame_of_an_animation(tmp_path: Path, disposal: int) -> None:
    """Frames are patches on what earlier ones left, which each kind of disposal says otherwise."""
    frames = [Image.fromarray(numbered(index)) for index in range(20)]
    options = {"disposal": disposal, "optimize": False, "duration": 40}
    frames[0].save(tmp_path / "v.gif", save_all=True, append_images=frames[1:], **options)
    path = tmp_path / "v.gif"
    wanted = np.stack([*Source(path).forward(0, (48, 64))])
    source = Source(path)
    for index in (13, 4, 19, 0, 18, 5):
        np.testing.assert_array_equal(source.frame(index), wanted[index])
    assert [len(source), source.fps, source.names[3]] == [20, 25, "00003"]


def test_images_have_their_own_names(tmp_path: Path) -> None:
    for name in ("b", "a10", "a9"):
        Image.fromarray(numbered(len(name))).save(tmp_path / f"{name}.png")
    source = Source(tmp_path)
    assert source.names == ["a9", "a10", "b"] and len(source) == 3
    np.testing.assert_array_equal(source.frame(2), numbered(1))


def test_stepping_back_decodes_in_runs(tmp_path: Path) -> None:
    source = Source(write_scene(tmp_path / "v.mp4", "mp4v"))
    wanted = [*source.forward(0, source.size)]
    read, asked = source.reader.read, []

    def count(begin: int, end: int):
        asked.append((begin, end))
        return read(begin, end)

    source.reader.read = count
    for index in range(FRAMES - 1, FRAMES - 18, -1):
        np.testing.assert_array_equal(source.frame(index), wanted[index])
    assert asked == [(89, 90), (81, 89), (73, 81)]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks Linux which files are open")
def test_places_that_are_not_wanted_any_more_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each holds a decoder, which of a 4K file takes 100 MB."""
    monkeypatch.setattr(source_module, "_CACHE_BYTES", 0)
    path = write_scene(tmp_path / "v.mp4", "mp4v")
    source = Source(path)
    assert len(source) == FRAMES
    gc.disable()  # it would close them some time later
    try:
        for index in (9, 6, 3) * 5:  # before the second key frame: each from the beginning
            source.frame(index)
        links = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
        count = sum(link.exists() and link.resolve() == path.resolve() for link in links)
    finally:
        gc.enable()
    assert count <= 2


def test_several_threads_read_one_source(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "v.ts", "mpg2")
    wanted = in_order(path)
    source = Source(path)

    def read(seed: int) -> bool:
        if seed % 2:
            return bool((np.stack([*source.forward(0, source.size)]) == wanted).all())
        order = [random.Random(seed).randrange(FRAMES) for _ in range(20)]
        return all((source.frame(index) == wanted[index]).all() for index in order)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(6)))
    assert len(source) == FRAMES


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p10le"])
def test_an_index_spares_reading_through(tmp_path: Path, pixels: str) -> None:
    path = encode(tmp_path / "a.mkv", "libx264", pixels, g="12")
    frames, whole = in_order(path), VideoFile(path)
    data = whole.index()
    again = VideoFile(path)
    seen: list[int] = []
    again.on_first_sight = lambda index, *_: seen.append(index)
    assert again.take_index(data) and again.count() == len(frames) == again.count_exactly()
    assert again.fps() == whole.fps() and again.farthest_from_key() == whole.farthest_from_key() > 0
    for index in (70, 3, 89, 41):
        assert np.array_equal(next(again.read(index)), frames[index])
    assert not seen and [told[0] for told in again.look_through()] == [*range(FRAMES)]


@pytest.mark.parametrize("kind", CLIPS)
def test_frames_by_an_index_are_those_of_reading_in_order(tmp_path: Path, kind: str) -> None:
    path = CLIPS[kind](tmp_path)
    wanted, data, reader = in_order(path), VideoFile(path).index(), VideoFile(path)
    assert reader.take_index(data) and reader.count() in (len(wanted), len(wanted) - 1)
    order = [*range(0, reader.count(), 9)]
    random.Random(kind).shuffle(order)
    for index in order:
        np.testing.assert_array_equal(next(reader.read(index)), wanted[index])


def test_an_index_that_is_damaged_or_of_another_file_is_not_taken(tmp_path: Path) -> None:
    path, other = encode(tmp_path / "a.mkv", "libx264"), tmp_path / "b.mkv"
    encode(other, "libx264", g="5")
    data = VideoFile(path).index()
    for bad in (b"", data[:-8], data[:-1] + b"?", VideoFile(other).index(), b"x" * 4000):
        reader = VideoFile(path)
        assert not reader.take_index(bad) and reader.count_exactly() == FRAMES


def test_an_index_that_lies_gives_no_wrong_frame(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", "libx264", g="12")
    frames, reader = in_order(path), VideoFile(path)
    data = reader.index()
    head, _, body = data[4:].partition(b"\n")
    numbers = np.frombuffer(body, "<i8").copy()
    numbers[:FRAMES] = np.roll(numbers[:FRAMES], 1)
    numbers[0] = -1
    lie = head + b"\n" + numbers.tobytes()
    again = VideoFile(path)
    assert again.take_index(zlib.crc32(lie).to_bytes(4, "little") + lie)
    for index in (70, 3, 41):
        assert np.array_equal(next(again.read(index)), frames[index])
