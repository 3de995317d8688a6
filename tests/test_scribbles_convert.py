"""Conversions: maps come back pixel for pixel, lines are drawn where they say."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rhmnet.errors import InputError
from rhmnet.files.images import read_labels, write_map
from rhmnet.tools.scribbles import (
    Drawing,
    Stroke,
    clip,
    guess_num_objects,
    rasterize,
    trace,
)
from rhmnet.tools.scribbles.convert import SUFFIXES, ConvertOptions, convert
from rhmnet.tools.scribbles.line_files import flatten, matrix, read_davis, read_svg
from rhmnet.visualize import davis_palette

ANY = ConvertOptions()


def random_map(seed: int, height: int, width: int, largest: int) -> np.ndarray:
    """Noise, thin lines and blobs of labels 1..largest, each present."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((height, width), np.uint8)
    for value in range(1, largest + 1):
        y, x = rng.integers(height), rng.integers(width)
        labels[y : y + rng.integers(1, 9), x : x + rng.integers(1, 30)] = value
        labels[rng.random(labels.shape) < 0.05] = value
    labels.flat[:largest] = np.arange(1, largest + 1)
    return labels


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(6, 40), st.integers(2, 5))
def test_traced_maps_are_drawn_to_the_same_pixels(seed, height, width, largest):
    labels = random_map(seed, height, width, largest)
    drawing = trace(labels, largest - 1)
    assert (rasterize(drawing, largest - 1, thickness=99) == labels).all()


@pytest.mark.parametrize("name", ["davis", "labelme", "svg", "png"])
def test_round_trip_from_bmp_loses_nothing(tmp_path, name):
    for seed in range(4):
        labels = random_map(seed, 70 + seed, 97, 4)
        source = tmp_path / "möwe 1" / "00003.bmp"
        write_map(source, labels)
        middle, back = tmp_path / f"middle{SUFFIXES[name]}", tmp_path / "back.bmp"
        assert convert(source, middle, name, ANY) == []
        convert(middle, back, "bmp", ANY)
        assert (read_labels(back) == labels).all()
        assert back.read_bytes() == source.read_bytes()


def test_lines_to_lines_keep_their_points(tmp_path):
    first = tmp_path / "a.svg"
    first.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 101 51">'
        '<g id="object 2"><path d="M 10.5 20.5 L 30.5 20.5 50.5 40.5" stroke-width="3"/></g>'
        '<polyline data-label="background" points="1.5,2.5 9.5,2.5"/></svg>'
    )
    convert(first, tmp_path / "b.json", "labelme", ANY)
    convert(tmp_path / "b.json", tmp_path / "c.json", "davis", ANY)
    lines = json.loads((tmp_path / "c.json").read_text())["scribbles"][0]
    assert [line["object_id"] for line in lines] == [2, 0]
    assert [line["thickness"] for line in lines] == [3, None]
    pixels = np.array(lines[0]["path"]) * [100, 50]
    assert np.abs(pixels - [[10, 20], [30, 20], [50, 40]]).max() < 0.02
    assert (pixels.astype(int) == [[10, 20], [30, 20], [50, 40]]).all()  # cut off, not rounded


def test_davis_json_frames_objects_and_thickness(tmp_path):
    path = tmp_path / "bear.json"
    line = {"path": [[0.1, 0.5], [0.9, 0.5]], "object_id": 1, "start_time": 0, "end_time": 9}
    below = {"path": [[0, 1], [1, 1]], "object_id": 0}
    path.write_text(json.dumps({"sequence": "bear", "scribbles": [[], [line, below], [line]]}))
    with pytest.raises(InputError, match="--size"):
        convert(path, tmp_path / "out", "bmp", ANY)
    options = ConvertOptions(size=(96, 201), num_objects=2, thickness=15)
    notes = convert(path, tmp_path / "out", "bmp", options)
    assert any("start_time" in note for note in notes)
    assert sorted(p.name for p in (tmp_path / "out" / "bear").iterdir()) == [
        "00001.bmp",
        "00002.bmp",
    ]
    labels = read_labels(tmp_path / "out" / "bear" / "00001.bmp")
    assert labels.shape == (96, 201)
    column = labels[:, 100]
    assert np.count_nonzero(column == 1) == 3  # 15 pixels at 480p, a fifth of that at 96p
    assert (column[47:50] == 1).all() or (column[46:49] == 1).all()
    assert set(np.unique(labels)) == {0, 1, 3} and (labels[95] == 3).all()


def test_saliency_maps_are_foreground_and_background(tmp_path):
    labels = random_map(0, 40, 60, 4)
    write_map(tmp_path / "a.bmp", labels)
    (note,) = convert(tmp_path / "a.bmp", tmp_path / "a.png", "saliency", ANY)
    assert "3 objects" in note
    saliency = read_labels(tmp_path / "a.png")
    assert ((saliency == 2) == (labels == 4)).all()
    assert ((saliency == 1) == ((labels > 0) & (labels < 4))).all()
    convert(tmp_path / "a.png", tmp_path / "back.bmp", "bmp", ANY, saliency=True)
    assert (read_labels(tmp_path / "back.bmp") == saliency).all()
    with pytest.raises(InputError, match="label 4"):
        convert(tmp_path / "a.bmp", tmp_path / "b.bmp", "bmp", ANY, saliency=True)


def test_coloured_picture_loses_only_its_anti_aliasing(tmp_path):
    labels = random_map(1, 40, 60, 3)
    colours = davis_palette()[labels]
    colours[0, 10:15] = (3, 77, 201)
    Image.fromarray(colours).save(tmp_path / "rgb.png")
    (note,) = convert(tmp_path / "rgb.png", tmp_path / "a.bmp", "bmp", ANY)
    assert "5 pixels" in note and "anti-aliasing" in note
    labels[0, 10:15] = 0
    assert (read_labels(tmp_path / "a.bmp") == labels).all()


def test_labelme_names_and_shapes(tmp_path):
    shapes = [
        {"label": "dog", "points": [[5.5, 5.5], [15.5, 5.5]], "shape_type": "linestrip"},
        {"label": "1", "points": [[5.5, 9.5]], "shape_type": "point"},
        {"label": "bg", "points": [[5.5, 15.5], [15.5, 15.5]], "shape_type": "line"},
        {"label": "cat", "points": [[0, 0], [5, 5], [5, 0]], "shape_type": "polygon"},
    ]
    content = {"shapes": shapes, "imageHeight": 20, "imageWidth": 30}
    (tmp_path / "a.json").write_text(json.dumps(content))
    notes = convert(tmp_path / "a.json", tmp_path / "a.bmp", "bmp", ANY)
    labels = read_labels(tmp_path / "a.bmp")
    assert (labels[5, 5:16] == 2).all() and labels[9, 5] == 1 and (labels[15, 5:16] == 3).all()
    assert np.count_nonzero(labels) == 23
    assert any("'dog', now object 2" in note for note in notes)
    assert any("polygon" in note for note in notes)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("M1,2 3,4", [[1, 2], [3, 4]]),
        ("m1 2l2 2h-1v.5", [[1, 2], [3, 4], [2, 4], [2, 4.5]]),
        ("M0 0H4V3Z", [[0, 0], [4, 0], [4, 3], [0, 0]]),
        ("M0-1L1e1-2", [[0, -1], [10, -2]]),
    ],
)
def test_svg_straight_paths(data, expected):
    (line,) = flatten(data)
    assert (line == expected).all()


def test_svg_curves_end_and_bend_as_they_should():
    for data, end, middle in [
        ("M0 0C0 10 10 10 10 0", [10, 0], [5, 7.5]),
        ("M0 0q5 10 10 0", [10, 0], [5, 5]),
        ("M0 0A5 5 0 0 1 10 0", [10, 0], [5, -5]),
        ("M0 0a5 5 0 0010 0", [10, 0], [5, 5]),  # flags written without spaces
        ("M0 0a5 5 0 1,0 10,0", [10, 0], [5, 5]),
    ]:
        (line,) = flatten(data)
        assert np.allclose(line[-1], end)
        assert np.abs(line - middle).sum(axis=1).min() < 0.5
    (smooth,) = flatten("M0 0C0 5 5 5 5 0S10-5 10 0")
    assert np.allclose(smooth[24:], [[10, 0]] - smooth[24::-1], atol=1e-9)  # point symmetric
    assert len(flatten("M0 0L1 1M5 5L6 6")) == 2
    for wrong in ("L1 2", "M1", "M1 2X", "M0 0L1 2 3", "M0 0 #"):
        with pytest.raises(ValueError, match="path data"):
            flatten(wrong)


def test_svg_transforms_multiply_from_left_to_right():
    point = matrix("translate(10 20) scale(2) rotate(90)") @ [1, 0, 1]
    assert np.allclose(point, [10, 22, 1])
    assert np.allclose(matrix("rotate(180 5 5)") @ [4, 5, 1], [6, 5, 1])
    assert np.allclose(matrix("matrix(1 2 3 4 5 6)") @ [1, 1, 1], [9, 12, 1])
    with pytest.raises(ValueError, match="wobble"):
        matrix("wobble(3)")


def test_larger_objects_than_allowed_are_refused():
    drawing = Drawing((10, 10), [Stroke(5, np.array([[1.0, 1.0]]))])
    with pytest.raises(ValueError, match="object 5"):
        rasterize(drawing, 4, 5)
    assert guess_num_objects(np.array([[0, 1, 255]], np.uint8)) == 1
    assert guess_num_objects(np.array([[0, 1, 2]], np.uint8)) == 1


@pytest.mark.parametrize("name", ["davis", "labelme", "svg", "png"])
def test_maps_without_strokes_come_back(tmp_path, name):
    write_map(tmp_path / "00002.bmp", np.zeros((20, 30), np.uint8))
    middle = tmp_path / f"00002{SUFFIXES[name]}"
    assert convert(tmp_path / "00002.bmp", middle, name, ANY) == []
    back = tmp_path / "back" / "00002.bmp"
    assert convert(middle, back, "bmp", ANY) == []
    assert back.read_bytes() == (tmp_path / "00002.bmp").read_bytes()


def test_255_becomes_the_label_of_background(tmp_path):
    write_map(tmp_path / "a.bmp", np.array([[0, 1, 2, 255]], np.uint8))
    convert(tmp_path / "a.bmp", tmp_path / "b.bmp", "bmp", ANY)
    assert read_labels(tmp_path / "b.bmp").tolist() == [[0, 1, 2, 3]]


def test_lines_that_leave_the_image_are_cut_at_its_border(tmp_path):
    (tmp_path / "a.svg").write_text(
        '<svg width="101" height="51"><path data-label="1" d="M 0 20.5 H 150 V 10.5 H 50.5"/></svg>'
    )
    (note,) = convert(tmp_path / "a.svg", tmp_path / "a.json", "davis", ANY)
    assert "outside" in note
    for points, outside in (
        ([[-5, 3], [5, 3]], True),
        ([[-0.4, 3], [5, 3]], False),
        ([[-1, 3]], True),
        ([[-1, -1], [-1, 9]], True),
        ([[0, 0], [100, 50]], False),
    ):
        drawing, found = clip(Drawing((51, 101), [Stroke(1, np.array(points, float))]))
        assert found == outside
        assert all((s.points >= 0).all() for s in drawing.strokes)
    lines = json.loads((tmp_path / "a.json").read_text())["scribbles"][0]
    pixels = [np.array(line["path"]) * [100, 50] for line in lines]
    assert np.allclose(pixels, [[[0, 20], [100, 20]], [[100, 10], [50, 10]]], atol=0.02)
    convert(tmp_path / "a.json", tmp_path / "a.bmp", "bmp", ConvertOptions(thickness=1))
    assert np.count_nonzero(read_labels(tmp_path / "a.bmp")) == 101 + 51


def test_a_view_box_of_another_shape_keeps_its_proportions(tmp_path):
    for how, expected in (("", 15), ("xMinYMid", 0), ('none" x="', 0)):
        (tmp_path / "a.svg").write_text(
            f'<svg width="90" height="60" viewBox="0 0 30 30" preserveAspectRatio="{how}">'
            '<path data-label="1" d="M 0.25 15 H 10"/></svg>'
        )
        drawing = read_svg(tmp_path / "a.svg")[0]
        scale = 3 if "none" in how else 2
        assert np.allclose(
            drawing.strokes[0].points[:, 0] + 0.5, np.array([0.25, 10]) * scale + expected
        )


def test_the_annotated_frame_names_the_only_frame(tmp_path):
    line = {"path": [[0, 0], [1, 1]], "object_id": 1}
    content = {"sequence": "a", "annotated_frame": 7, "size": [9, 9], "scribbles": [[line]]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert list(read_davis(tmp_path / "a.json")) == [7]
    notes = convert(tmp_path / "a.json", tmp_path / "a.bmp", "bmp", ANY)
    assert any("number of its frame, 7" in note for note in notes)


def test_what_a_file_holds_beyond_lines_is_said_to_be_dropped(tmp_path):
    line = {"path": [[0, 0], [1, 1]], "object_id": 1}
    content = {"sequence": "bear", "session_id": "x", "size": [9, 9], "scribbles": [[line]]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    shape = {"label": "1", "points": [[1, 1]], "shape_type": "point", "group_id": 3}
    content = {"shapes": [shape], "imageHeight": 9, "imageWidth": 9, "imageData": "abc"}
    (tmp_path / "b.json").write_text(json.dumps(content))
    for name, dropped in (("a", ["session_id", "bear"]), ("b", ["group_id", "picture"])):
        notes = convert(tmp_path / f"{name}.json", tmp_path / f"{name}.svg", "svg", ANY)
        assert all(any(word in note for note in notes) for word in dropped)


def test_two_sources_of_one_target_and_labels_above_n_are_refused(tmp_path):
    labels = random_map(0, 20, 30, 4)
    for name in ("a.bmp", "a.png"):
        write_map(tmp_path / "maps" / name, labels)
    with pytest.raises(InputError, match=r"a\.bmp would also become"):
        convert(tmp_path / "maps", tmp_path / "out", "svg", ANY)
    with pytest.raises(InputError, match="label 4 found; expected at most 2"):
        convert(
            tmp_path / "maps" / "a.bmp", tmp_path / "a.svg", "svg", ConvertOptions(num_objects=1)
        )
    with pytest.raises(InputError, match="cannot be written"):
        convert(tmp_path / "maps" / "a.bmp", tmp_path / "maps" / "a.png" / "b.svg", "svg", ANY)


@pytest.mark.parametrize(
    "change", [{"thickness": "x"}, {"thickness": -1}, {"points": []}, {"points": [[1e300, 0]]}]
)
def test_malformed_lines_are_refused_by_name(tmp_path, change):
    shape = {"label": "1", "points": [[1, 1], [5, 5]], "shape_type": "linestrip", **change}
    content = {"shapes": [shape], "imageHeight": 9, "imageWidth": 9}
    (tmp_path / "a.json").write_text(json.dumps(content))
    for kind in ("bmp", "svg", "davis"):
        with pytest.raises(InputError, match=r"a\.json: "):
            convert(tmp_path / "a.json", tmp_path / f"b{SUFFIXES[kind]}", kind, ANY)


@pytest.mark.parametrize("side", ["9" * 400 + ".0", "1e400", "9" * 150, "99999999", "2.5", '"9"'])
def test_a_size_that_is_none_is_told_by_its_key(tmp_path, side):
    (tmp_path / "davis.json").write_text(f'{{"scribbles": [], "size": [9, {side}]}}')
    (tmp_path / "labelme.json").write_text(
        f'{{"shapes": [], "imageHeight": 9, "imageWidth": {side}}}'
    )
    for name in ("davis", "labelme"):
        with pytest.raises(InputError, match=r"\.json: (size|imageHeight|cannot).*(9+|2\.5|large)"):
            convert(tmp_path / f"{name}.json", tmp_path / "b.svg", "svg", ANY)


@pytest.mark.parametrize(
    "start", [f'<svg width="{"9" * 400}" height="9">', '<?xml version="1.0" encoding="x"?><svg>']
)
def test_an_odd_head_of_an_svg_is_refused(tmp_path, start):
    (tmp_path / "a.svg").write_text(f'{start}<path id="1" d="M0 0L1 1"/></svg>')
    with pytest.raises(InputError, match=r"a\.svg: cannot be read as SVG \((its|unknown)"):
        convert(tmp_path / "a.svg", tmp_path / "b.json", "davis", ANY)


def test_davis_json_is_mended_where_a_hand_slipped_and_told(tmp_path):
    lines = [
        {"path": [[-0.0004, 0.5], [1.0004, 0.5]], "object_id": 1},
        {"path": [], "object_id": 2},
    ]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"size": [21, 41], "scribbles": [lines, [lines[1]]]}))
    notes = convert(path, tmp_path / "a.bmp", "bmp", ConvertOptions(num_objects=1))
    assert any("end on its border" in note for note in notes)
    assert any("without a point" in note for note in notes)
    labels = read_labels(tmp_path / "a.bmp")
    assert (labels[10] == 1).all() and set(np.unique(labels)) == {0, 1}


@pytest.mark.parametrize(
    "line",
    [
        {"path": [[300, 20]], "object_id": 1},  # pixels
        {"path": [[0.1, "x"]], "object_id": 1},
        {"path": [[0.1, 0.2, 0.3]], "object_id": 1},
        {"path": {"x": 1}, "object_id": 1},
        {"path": [[0.1, 0.2]], "object_id": 1.5},
        {"path": [[0.1, 0.2]], "object_id": -1},
        {"path": [[0.1, 0.2]], "object_id": 1, "thickness": 0},
        {"path": [[0.1, 0.2]], "object_id": 1, "thickness": -3},
        {"path": [[0.1, 0.2]]},
        [0.1, 0.2],
        7,
    ],
)
def test_lines_that_are_none_are_named(tmp_path, line):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"size": [21, 41], "scribbles": [[line]]}))
    with pytest.raises(InputError, match=r"a\.json: line 0 of frame 0"):
        convert(path, tmp_path / "a.bmp", "bmp", ANY)


def test_svg_of_any_depth_is_read_and_of_any_size_refused(tmp_path):
    path = tmp_path / "a.svg"

    def write(inside: str, width: str = "40") -> None:
        head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20">'
        path.write_text(f"{head}{inside}</svg>")

    line = '<path data-label="1" d="M 5 10 L 35 10" stroke-width="2"/>'
    write("<g>" * 5000 + line + "</g>" * 5000)
    convert(path, tmp_path / "a.bmp", "bmp", ConvertOptions(num_objects=1))
    assert (read_labels(tmp_path / "a.bmp")[9:11, 6:34] == 1).any(axis=0).all()
    for inside, width in (
        (line, "9" * 400),
        (line.replace("L 35 10", "A 1e300 1e300 0 0 1 35 10"), "40"),
        (line.replace("35 10", "1e300 10"), "40"),
        (line.replace('"2"', '"-3"'), "40"),
        (line.replace('"2"', '"0"'), "40"),
        (line.replace('"2"', '"nan"'), "40"),
        (line.replace("<path", '<path transform="scale(1e200) scale(1e200)"'), "40"),
    ):
        write(inside, width)
        with pytest.raises(InputError, match=r"a\.svg"):
            convert(path, tmp_path / "b.bmp", "bmp", ConvertOptions(num_objects=1))
        assert not (tmp_path / "b.bmp").exists()
    write(line.replace('"2"', '"1e30"'))  # a pen that fills the picture
    convert(path, tmp_path / "a.bmp", "bmp", ConvertOptions(num_objects=1))
    assert (read_labels(tmp_path / "a.bmp") == 1).all()
