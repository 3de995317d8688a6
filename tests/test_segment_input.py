"""Reading one's own video: files, folders, patterns, in both directions; strokes on it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from segment_videos import number_of, numbered, numbers, turn, vary_rate, write_video

from rhmnet.errors import InputError
from rhmnet.files import source as source_module
from rhmnet.files.images import read_image
from rhmnet.files.source import Source
from rhmnet.files.video_place import Place
from rhmnet.inputs import resize_strokes
from rhmnet.tools.segment.stroke_files import StrokeFileOptions, describe, read_strokes

SIZE = (48, 64)


def write_images(folder: Path, names: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        assert cv2.imwrite(str(folder / name), numbered(index))
    return folder


def test_images_are_sorted_naturally_and_read_in_both_directions(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "shot", [f"f{n}.png" for n in (1, 2, 9, 10, 11, 100)])
    source = Source(folder)
    assert [source.frame_name(i) for i in range(6)] == ["f1", "f2", "f9", "f10", "f11", "f100"]
    assert numbers(source, 1) == [1, 2, 3, 4, 5]
    assert numbers(source, 3, backward=True) == [3, 2, 1, 0]
    assert numbers(source, -1, backward=True) == []
    assert (source.name, source.size, source.count()) == ("shot", SIZE, 6)


@pytest.mark.parametrize("pattern", ["f_*.png", "f_%02d.png", "f_%d.png", "f_[0-9]*.png"])
def test_patterns_pick_frames(tmp_path: Path, pattern: str) -> None:
    write_images(tmp_path, ["f_00.png", "f_01.png", "mask.png"])
    assert Source(tmp_path / pattern).count() == 2


def test_a_name_with_brackets_is_a_folder_first(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "clip [1]", ["0.png"])
    assert Source(folder).count() == 1


def test_what_cannot_be_a_video_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video")
    mixed = write_images(tmp_path / "mixed", ["0.png", "1.png"])
    assert cv2.imwrite(str(mixed / "1.png"), np.zeros((10, 20, 3), np.uint8))
    twice = write_images(tmp_path / "twice", ["a.png", "a.jpg"])
    for place, told in (
        ("none.mp4", "no such video"),
        ("empty", "holds no images"),
        ("text.mp4", "cannot be opened as a video"),
        ("no*.png", "no image fits"),
        ("mixed", "expected frames of one size"),
        (twice.name, "same name"),
    ):
        with pytest.raises(InputError, match=told):
            Source(tmp_path / place)


def test_grey_and_deep_images_become_8_bit_rgb(tmp_path: Path) -> None:
    deep = np.array([[0, 255, 256], [511, 32768, 65535]], np.uint16)
    for name in ("deep.png", "deep.tiff"):
        assert cv2.imwrite(str(tmp_path / name), deep)
        frame = read_image(tmp_path / name)
        assert frame.dtype == np.uint8
        assert frame.tolist() == [[[v >> 8] * 3 for v in row] for row in deep.tolist()]
    Image.fromarray(np.array([[7, 9]], np.uint8)).save(tmp_path / "grey.png")
    assert read_image(tmp_path / "grey.png").tolist() == [[[7] * 3, [9] * 3]]


@pytest.mark.parametrize(
    ("name", "code"), [("v.mp4", "mp4v"), ("v.avi", "MJPG"), ("v.mov", "mp4v"), ("v.webm", "VP80")]
)
def test_a_video_backward_is_the_video_reversed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str
) -> None:
    monkeypatch.setattr(source_module, "_CHUNK_BYTES", 0)  # the least, so that there are many
    source = Source(write_video(tmp_path / name, 60, code=code))
    assert numbers(source, 0) == list(range(60)) and source.count() == 60
    assert numbers(source, 58) == [58, 59]
    assert numbers(source, 41, backward=True) == list(range(41, -1, -1))
    forward = np.stack(list(source.forward(0, SIZE)))
    backward = np.stack(list(source.backward(59, SIZE)))
    np.testing.assert_array_equal(forward, backward[::-1])
    assert source.fps == pytest.approx(25, abs=0.01) and source.note is None


def test_varying_frame_rate_keeps_the_frames_and_the_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "_CHUNK_BYTES", 0)
    path = write_video(tmp_path / "phone.mp4", 60)
    vary_rate(path, {3: 10, 4: 2, 30: 40})
    source = Source(path)
    assert numbers(source, 0) == list(range(60))
    steps = np.diff(source.reader._times)
    assert steps.max() > 10 * steps.min()  # it does vary
    assert numbers(source, 55, backward=True) == list(range(55, -1, -1))
    times = source.reader._times
    assert source.fps == pytest.approx(59 / float((times[-1] - times[0]) * source.reader._unit))


def test_seeks_that_land_elsewhere_do_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "_CHUNK_BYTES", 0)
    source = Source(write_video(tmp_path / "v.mp4", 60))
    assert source.count_exactly() == 60
    seek, (begin, *_, end) = Place.seek, source.reader._times
    for wrong in (lambda time: begin, lambda time: end, lambda time: (time + end) // 2):
        monkeypatch.setattr(Place, "seek", lambda place, time, to=wrong: seek(place, to(time)))
        assert numbers(source, 59, backward=True) == list(range(59, -1, -1))
    source.reader._times_tell = False  # as in a file without times
    assert numbers(source, 59, backward=True) == list(range(59, -1, -1))


def test_a_phones_video_is_turned(tmp_path: Path) -> None:
    path = write_video(tmp_path / "phone.mp4", 3)
    turn(path)
    source = Source(path)
    assert source.size == (64, 48)
    for index, image in enumerate(source.forward(0, source.size)):
        assert number_of(np.rot90(image)) == index  # turned clockwise, so back again


def test_a_broken_tail_is_told_and_the_rest_is_used(tmp_path: Path) -> None:
    path = write_video(tmp_path / "cut.avi", 60, code="MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = Source(path)
    assert source.count() == 60
    frames = numbers(source, 0)
    assert 0 < len(frames) < 60 and frames == list(range(len(frames)))
    assert source.count() == len(frames)
    assert f"only {len(frames)} can be read" in source.note


def save_map(path: Path, labels: np.ndarray) -> Path:
    Image.fromarray(labels).save(path)
    return path


@pytest.fixture
def source(tmp_path: Path):
    return Source(str(write_images(tmp_path / "video", [f"{n:05d}.png" for n in range(5, 15)])))


@pytest.fixture
def labels() -> np.ndarray:
    labels = np.zeros(SIZE, np.uint8)
    labels[10], labels[20], labels[30] = 1, 2, 255
    return labels


def test_maps_are_named_after_their_frames(tmp_path: Path, source, labels: np.ndarray) -> None:
    first = save_map(tmp_path / "00007.png", np.where(labels == 2, 0, labels).astype(np.uint8))
    second = save_map(tmp_path / "12.bmp", np.where(labels == 1, 0, labels).astype(np.uint8))
    strokes = read_strokes([second, first], source, StrokeFileOptions())
    assert strokes.frames_of() == {2: [1], 7: [2]}
    assert list(strokes.maps) == [2, 7]
    assert strokes.num_objects == 2 and strokes.objects() == [1, 2]
    folder = tmp_path / "strokes"
    folder.mkdir()
    first.rename(folder / first.name)
    second.rename(folder / second.name)
    again = read_strokes([folder], source, StrokeFileOptions())
    assert again.frames_of() == strokes.frames_of()


def test_a_single_map_is_of_the_first_frame_or_the_given_one(
    tmp_path: Path, source, labels: np.ndarray
) -> None:
    path = save_map(tmp_path / "my strokes.png", labels)
    assert list(read_strokes([path], source, StrokeFileOptions()).maps) == [0]
    assert list(read_strokes([path], source, StrokeFileOptions(frame=4)).maps) == [4]


def test_which_value_is_background(tmp_path: Path, source, labels: np.ndarray) -> None:
    path = save_map(tmp_path / "s.png", labels)
    (read,) = read_strokes([path], source, StrokeFileOptions()).maps.values()
    np.testing.assert_array_equal(read, labels)
    strokes = read_strokes([path], source, StrokeFileOptions(num_objects=1))
    assert strokes.num_objects == 1
    np.testing.assert_array_equal(strokes.maps[0], np.where(labels == 2, 255, labels))


def test_davis_json_holds_strokes_of_several_frames(tmp_path: Path, source) -> None:
    line = [[0.0, 0.5], [1.0, 0.5]]
    frames = [[] for _ in range(10)]
    frames[3] = [{"path": line, "object_id": 1}, {"path": [[0, 0], [1, 0]], "object_id": 0}]
    frames[8] = [{"path": line, "object_id": 3}]
    path = tmp_path / "dog.json"
    path.write_text(json.dumps({"scribbles": frames, "sequence": "dog"}))
    strokes = read_strokes([path], source, StrokeFileOptions())
    assert strokes.frames_of() == {3: [1], 8: [3]} and strokes.num_objects == 3
    assert (strokes.maps[3][24] == 1).all() and (strokes.maps[3][0] == 255).all()
    assert (strokes.maps[8][24] == 3).all()


def test_strokes_that_cannot_be_used_are_told(tmp_path: Path, source, labels: np.ndarray) -> None:
    def told(message: str, *paths: Path, **options) -> None:
        with pytest.raises(InputError, match=message):
            read_strokes(paths, source, StrokeFileOptions(**options))

    good = save_map(tmp_path / "00006.png", labels)
    told("no such file", tmp_path / "none.png")
    told("no such file", tmp_path / "none.json")
    told("no stroke", save_map(tmp_path / "empty.png", np.zeros(SIZE, np.uint8)))
    told("holds no stroke on frame 2", good, save_map(tmp_path / "7.png", labels * 0))
    background = np.where(labels == 255, labels, 0).astype(np.uint8)
    told("no stroke of an object", save_map(tmp_path / "bg.png", background))
    told("strokes of 32x24 pixels", save_map(tmp_path / "small.png", labels[::2, ::2]))
    told("another shape", save_map(tmp_path / "turned.png", labels.T), resize=True)
    told("frame 99, but the video has frames 0..9", good, frame=99)
    told("counted from 0", good, frame=-1)
    told("already", good, save_map(tmp_path / "00006.bmp", labels))
    told("named after its frame", good, save_map(tmp_path / "x.png", labels))
    told("is for a single map", good, save_map(tmp_path / "00008.png", labels), frame=3)
    told("correct --num-objects", save_map(tmp_path / "six.png", labels // 2 + 3), num_objects=1)
    told("value 254", save_map(tmp_path / "large.png", labels * 2))
    told("convert_scribbles", tmp_path / "strokes.svg")


def test_strokes_fit_to_another_size_on_request(tmp_path: Path, source, labels: np.ndarray) -> None:
    large = save_map(tmp_path / "large.png", labels.repeat(3, 0).repeat(3, 1))
    strokes = read_strokes([large], source, StrokeFileOptions(resize=True))
    np.testing.assert_array_equal(strokes.maps[0], labels)


def test_thin_strokes_survive_shrinking() -> None:
    labels = np.zeros((90, 90), np.uint8)
    labels[:, 41], labels[70, :], labels[10:30, 60:80] = 1, 2, 255
    small = resize_strokes(labels, (20, 20))
    assert (small[:15, 9] == 1).all()  # column 41 of 90 lies in column 9 of 20
    assert (np.delete(small[15], 9) == 2).all()
    assert (small[3:6, 14:17] == 255).all()
    assert set(np.unique(small)) == {0, 1, 2, 255}
    untouched = np.delete(np.delete(small, 9, 1), 15, 0)[:, :12]
    assert not untouched.any()


def test_painted_strokes_are_read_and_told(tmp_path: Path, source, labels: np.ndarray) -> None:
    colours = np.zeros((*SIZE, 4), np.uint8)
    for value, colour in ((1, (0, 0, 255)), (2, (255, 0, 0)), (255, (255, 255, 255))):
        colours[labels == value] = (*colour, 255)
    Image.fromarray(colours).save(tmp_path / "00006.png")
    later = colours.copy()
    later[labels == 1] = 0  # red alone must not become object 1
    Image.fromarray(later).save(tmp_path / "00009.png")
    paths = [tmp_path / "00009.png", tmp_path / "00006.png"]
    strokes = read_strokes(paths, source, StrokeFileOptions())
    np.testing.assert_array_equal(strokes.maps[1], labels)
    np.testing.assert_array_equal(strokes.maps[4], np.where(labels == 1, 0, labels))
    first, *lines = describe(strokes)
    assert first == "frame 1: objects 1, 2; frame 4: object 2, with background strokes"
    assert lines[0] == (
        "00006.png: painted on a transparent layer: blue → object 1, red → object 2; "
        "background: white"
    )


def test_the_frame_itself_may_be_painted_over(tmp_path: Path, source, labels: np.ndarray) -> None:
    frame = next(source.forward(3, SIZE))
    frame[labels == 1], frame[labels == 255] = (255, 0, 0), (0, 255, 0)
    for name, option in (("00008.png", {}), ("mine.png", {"frame": 3})):
        Image.fromarray(frame).save(tmp_path / name)
        options = StrokeFileOptions(background_color="green", **option)
        strokes = read_strokes([tmp_path / name], source, options)
        np.testing.assert_array_equal(strokes.maps[3], np.where(labels == 2, 0, labels))


def test_what_labels_mean_is_told_where_it_could_be_otherwise(tmp_path: Path, source) -> None:
    def told(values: list[int], **options) -> str:
        labels = np.zeros(SIZE, np.uint8)
        for row, value in enumerate(values):
            labels[4 * row + 4] = value
        path = save_map(tmp_path / "s.png", labels)
        return "; ".join(describe(read_strokes([path], source, StrokeFileOptions(**options))))

    assert "label 3, the largest, is read as an object" in told([1, 2, 3])
    assert "--num-objects 2" in told([1, 2, 3])
    assert "labels are objects' numbers: 200" in told([200, 255])
    for values, options in (([1, 2, 255], {}), ([1], {}), ([1, 2, 3], {"num_objects": 2})):
        assert "\n" not in told(values, **options)
