"""However strokes are painted and saved, they are those of the label map that they stand for."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import rhmnet
from rhmnet.data.davis import Davis, DavisVideo, read_prompt
from rhmnet.errors import InputError
from rhmnet.files.images import image_size
from rhmnet.files.legend import Legend, PaintOptions, names_of
from rhmnet.files.scribble_file import UnderstoodStrokes, read_strokes_file, straightened
from rhmnet.labels import davis_palette
from rhmnet.tools.scribbles.check import check_own
from rhmnet.tools.scribbles.convert import ConvertOptions, convert

SIZE = (120, 160)
RED, BLUE, GREEN, WHITE, GREY = (
    (230, 20, 20),
    (20, 40, 240),
    (0, 200, 0),
    (255, 255, 255),
    (150, 150, 150),
)
LINES = {1: [(20, 20), (60, 30), (70, 60)], 2: [(100, 40), (130, 90)], 255: [(10, 100), (90, 105)]}


def truth(thickness: int = 7) -> np.ndarray:
    labels = np.zeros(SIZE, np.uint8)
    for value, line in LINES.items():
        cv2.polylines(labels, [np.array(line)], False, value, thickness)
    return labels


def opacity(value: int, thickness: int, soft: float) -> np.ndarray:
    """float [H, W]: a line with anti-aliased edges, or those of a soft brush."""
    mask = np.zeros(SIZE, np.uint8)
    cv2.polylines(mask, [np.array(LINES[value])], False, 255, thickness, cv2.LINE_AA)
    return (cv2.GaussianBlur(mask, (0, 0), soft) if soft else mask) / 255.0


def frame() -> np.ndarray:
    """Something like a photograph: shades and texture, no colour as strong as paint."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(60, 190, (8, 10, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC).astype(float)
    return (smooth + rng.normal(0, 4, (*SIZE, 3))).clip(0, 255).astype(np.uint8)


def hard(ground: np.ndarray, behind: tuple = WHITE) -> np.ndarray:
    """Strokes without soft edges over a ground, uint8 [H, W, 3]."""
    picture, labels = ground.copy(), truth()
    for value, colour in ((1, RED), (2, BLUE), (255, behind)):
        picture[labels == value] = colour
    return picture


def softly(ground: np.ndarray, soft: float = 0, behind: tuple = WHITE) -> np.ndarray:
    picture = ground.astype(float)
    for value, colour in ((1, RED), (2, BLUE), (255, behind)):
        share = opacity(value, 7, soft)[..., None]
        picture = share * np.array(colour) + (1 - share) * picture
    return picture.round().astype(np.uint8)


def plain(shade: int) -> np.ndarray:
    return np.full((*SIZE, 3), shade, np.uint8)


def layer(soft: float | None = None) -> Image.Image:
    """A transparent layer; soft: None for hard edges."""
    rgba = np.dstack([hard(plain(0)), np.where(truth() > 0, 255, 0).astype(np.uint8)])
    if soft is not None:
        shares = {value: opacity(value, 7, soft) for value in LINES}
        rgba[..., 3] = (255 * np.max(list(shares.values()), axis=0)).round()
        for value, colour in ((1, RED), (2, BLUE), (255, WHITE)):
            rgba[shares[value] > 0, :3] = colour
    return Image.fromarray(rgba)


def indexed(picture: np.ndarray) -> Image.Image:
    """As editors save few colours: a palette in whatever order."""
    return Image.fromarray(picture).quantize(16)


def read(path: Path, **options) -> UnderstoodStrokes:
    return read_strokes_file(path, PaintOptions(**options))


EXACT: dict[str, tuple[str, Callable[[], Image.Image], dict]] = {
    "layer": ("s.png", layer, {}),
    "layer as WebP": ("s.webp", layer, {}),
    "layer as TIFF": ("s.tif", layer, {}),
    "layer as GIF": ("s.gif", layer, {}),
    "layer, palette": ("s.png", lambda: layer().quantize(8), {}),
    "black": ("s.png", lambda: Image.fromarray(hard(plain(0))), {"background_color": "white"}),
    "black, N known": ("s.png", lambda: Image.fromarray(hard(plain(0))), {"num_objects": 2}),
    "black BMP": ("s.bmp", lambda: Image.fromarray(hard(plain(0))), {"background_color": "#fff"}),
    "black, palette": ("s.png", lambda: indexed(hard(plain(0))), {"background_color": "white"}),
    "white": ("s.png", lambda: Image.fromarray(hard(plain(255), GREY)), {"num_objects": 2}),
    "white, opaque alpha": (
        "s.png",
        lambda: Image.fromarray(hard(plain(255), GREEN)).convert("RGBA"),
        {"background_color": "green"},
    ),
    "white GIF": (
        "s.gif",
        lambda: indexed(hard(plain(255), GREEN)),
        {"background_color": "lime"},
    ),
    "white 8-bit BMP": (
        "s.bmp",
        lambda: indexed(hard(plain(255), GREEN)),
        {"background_color": "#00c800"},
    ),
    "over the frame": (
        "s.png",
        lambda: Image.fromarray(hard(frame())),
        {"background_color": "white", "frame": frame()},
    ),
}


@pytest.mark.parametrize("way", EXACT)
def test_hard_edges_give_the_very_label_map(tmp_path: Path, way: str) -> None:
    name, paint, options = EXACT[way]
    paint().save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
    reading = read(tmp_path / name, **options)
    np.testing.assert_array_equal(reading.labels, truth())
    assert "red → object 1" in reading.how and "blue → object 2" in reading.how
    assert "background: " in reading.how


def assert_alike(labels: np.ndarray, reach: int = 1) -> None:
    """The same but for pixels so near to a stroke's edge."""
    wanted, square = truth(), np.ones([2 * reach + 1] * 2, np.uint8)
    edge = cv2.dilate(wanted, square) != cv2.erode(wanted, square)
    wrong = (labels != wanted) & ~edge
    assert not wrong.any(), f"{np.count_nonzero(wrong)} pixels"
    for value in LINES:
        share = np.count_nonzero((labels == value) & (wanted == value))
        assert share > 0.85 * np.count_nonzero(wanted == value)
    assert set(np.unique(labels)) == {0, *LINES}


@pytest.mark.parametrize("soft", [0, 1.0, 2.0])
@pytest.mark.parametrize("place", ["layer", "black", "white", "frame"])
def test_soft_brushes_join_their_colour(tmp_path: Path, place: str, soft: float) -> None:
    ground = {"black": plain(0), "white": plain(255), "frame": frame(), "layer": None}[place]
    behind = GREEN if place == "white" else WHITE
    picture = layer(soft) if ground is None else Image.fromarray(softly(ground, soft, behind))
    picture.save(tmp_path / "s.png")
    said = None if ground is None else "green" if place == "white" else "white"
    options = {"background_color": said, "frame": frame() if place == "frame" else None}
    assert_alike(read(tmp_path / "s.png", **options).labels)


def multiplied(picture: Image.Image) -> Image.Image:
    """Its colours times its opacity, as programs that composite so save them."""
    rgba = np.array(picture).astype(float)
    rgba[..., :3] *= rgba[..., 3:] / 255
    return Image.fromarray(rgba.round().astype(np.uint8))


@pytest.mark.parametrize("kind", ["png", "webp"])
@pytest.mark.parametrize("soft", [0, 1.0, 2.0])
def test_edges_multiplied_by_their_opacity_are_no_colours(
    tmp_path: Path, soft: float, kind: str
) -> None:
    path = tmp_path / f"s.{kind}"
    multiplied(layer(soft)).save(path, **({"quality": 80} if kind == "webp" else {}))
    assert_alike(read(path).labels)


def test_dark_colours_of_a_layer_are_not_taken_for_multiplied_ones() -> None:
    rgba = np.array(layer(1.0))
    for bright, dark in ((RED, (120, 0, 0)), (BLUE, (0, 0, 120)), (WHITE, (90, 90, 90))):
        rgba[(rgba[..., :3] == bright).all(axis=2), :3] = dark
    assert (straightened(rgba) == rgba).all()
    back = straightened(np.array(multiplied(Image.fromarray(rgba)))).astype(int)
    assert np.abs(back - rgba)[rgba[..., 3] >= 128].max() <= 2


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ((237, 28, 36), "red"),
        ((34, 177, 76), "green"),  # of Windows' Paint, not teal
        ((63, 72, 204), "blue"),
        ((185, 122, 87), "brown"),
        ((163, 73, 164), "magenta"),
        ((255, 174, 201), "pink"),
        ((0, 128, 0), "dark green"),
        ((128, 0, 0), "dark red"),
        ((0, 128, 128), "teal"),
        ((10, 0, 0), "black"),
        ((127, 127, 127), "grey"),
    ],
)
def test_colours_are_called_as_people_call_them(colour: tuple, name: str) -> None:
    assert names_of(np.array([colour], np.uint8)) == [name]


@pytest.mark.parametrize("quality", [75, 85, 95])
@pytest.mark.parametrize("place", ["black", "white", "frame"])
def test_noise_of_jpeg_is_no_stroke(tmp_path: Path, place: str, quality: int) -> None:
    ground = {"black": plain(0), "white": plain(255), "frame": frame()}[place]
    behind = GREEN if place == "white" else WHITE
    for suffix in ("jpg", "webp"):
        path = tmp_path / f"s.{suffix}"
        Image.fromarray(softly(ground, 0, behind)).save(path, quality=quality)
        said = "green" if place == "white" else "white"
        seen = frame() if place == "frame" else None
        assert_alike(read(path, background_color=said, frame=seen).labels, reach=2)


@pytest.mark.parametrize("turn", range(1, 9))
def test_painted_pictures_are_turned_as_their_frames_are(tmp_path: Path, turn: int) -> None:
    picture, found = Image.fromarray(softly(plain(0))), []
    exif = Image.Exif()
    exif[274] = turn
    for suffix in ("jpg", "png"):
        path = tmp_path / f"a.{suffix}"
        picture.save(path, exif=exif, quality=98)
        found.append(read(path, background_color="white").labels)
    assert found[0].shape == found[1].shape == image_size(path)
    assert np.mean(found[0] != found[1]) < 0.02


def test_a_player_that_shows_other_colours_paints_nothing(tmp_path: Path) -> None:
    shown = softly(frame()) * np.array([0.9, 1.0, 0.95]) + [12, -4, 6]
    Image.fromarray(shown.clip(0, 255).round().astype(np.uint8)).save(tmp_path / "s.png")
    assert_alike(read(tmp_path / "s.png", background_color="white", frame=frame()).labels)


def test_a_darker_shade_is_another_object_where_it_was_painted_alone(tmp_path: Path) -> None:
    picture = plain(0)
    cv2.line(picture, (20, 20), (140, 30), (255, 40, 40), 5, cv2.LINE_AA)
    cv2.line(picture, (20, 90), (140, 60), (150, 24, 24), 5, cv2.LINE_AA)
    Image.fromarray(picture).save(tmp_path / "s.png")
    labels = read(tmp_path / "s.png").labels
    assert set(np.unique(labels)) == {0, 1, 2}
    assert (labels[:45] != 2).all() and (labels[50:] != 1).all()
    assert (labels[25, 80], labels[75, 80]) == (1, 2)


def test_colours_of_davis_keep_their_numbers(tmp_path: Path) -> None:
    labels = np.where(truth() == 255, 9, truth()).astype(np.uint8)
    Image.fromarray(davis_palette()[labels]).save(tmp_path / "rgb.png")
    swapped = Image.fromarray(np.array([2, 0, 1] + 6 * [0] + [3], np.uint8)[labels])
    palette = np.zeros((256, 3), np.uint8)
    palette[:4] = davis_palette()[[2, 0, 1, 9]]
    palette = palette[[0, 1, 2, 3]]
    order = np.array([1, 2, 0] + 6 * [0] + [3], np.uint8)[labels]
    swapped = Image.fromarray(order)
    swapped.putpalette(palette.tobytes())
    swapped.save(tmp_path / "order.png")
    for name in ("rgb.png", "order.png"):
        reading = read(tmp_path / name)
        np.testing.assert_array_equal(reading.labels, labels)
        assert "object 9" in reading.how


@pytest.mark.parametrize("palette", ["davis", "greys", "own", "none"])
def test_label_maps_are_read_as_before(tmp_path: Path, palette: str) -> None:
    labels = truth()
    image = Image.fromarray(labels)
    colours = {"davis": davis_palette(), "greys": np.arange(256)[:, None].repeat(3, 1)}
    if palette in colours:
        image.putpalette(colours[palette].astype(np.uint8).tobytes())
    elif palette == "own":
        own = np.random.default_rng(0).integers(0, 256, (256, 3)).astype(np.uint8)
        image.putpalette(own.tobytes())
    for name in ("s.png", "s.bmp"):
        image.save(tmp_path / name)
        reading = read(tmp_path / name)
        np.testing.assert_array_equal(reading.labels, labels)
        assert reading.how is None


def test_greys_of_a_label_map_saved_as_rgb_are_its_values(tmp_path: Path) -> None:
    Image.fromarray(truth()).convert("RGB").save(tmp_path / "s.png")
    np.testing.assert_array_equal(read(tmp_path / "s.png").labels, truth())


def test_anti_aliased_label_maps_are_joined_where_that_is_clear(tmp_path: Path) -> None:
    labels = np.zeros(SIZE, np.uint8)
    for value in LINES:
        shade = opacity(value, 7, 0) * {1: 120, 2: 60, 255: 255}[value]
        labels = np.maximum(labels, shade.round().astype(np.uint8))
    Image.fromarray(labels).save(tmp_path / "s.png")
    reading = read(tmp_path / "s.png")
    number = np.zeros(256, np.uint8)
    number[[120, 60, 255]] = 1, 2, 255
    assert_alike(number[reading.labels])
    assert "60, 120, 255" in reading.how
    cv2.line(labels, (30, 10), (40, 70), 255, 3, cv2.LINE_AA)  # across another stroke
    Image.fromarray(labels).save(tmp_path / "s.png")
    with pytest.raises(InputError, match=r"s\.png: anti-aliased edges"):
        read(tmp_path / "s.png")


def test_what_is_not_clear_shows_the_colours_and_the_option(tmp_path: Path) -> None:
    path = tmp_path / "s.png"

    def told(picture: np.ndarray | Image.Image, message: str, **options) -> None:
        image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
        image.save(path)
        with pytest.raises(InputError, match=message) as error:
            read(path, **options)
        assert str(path) in str(error.value) and "\n" not in str(error.value)

    count = np.count_nonzero(truth() == 255)
    told(hard(plain(0)), rf"white #ffffff \({count} pixels\).*--background-color white")
    told(hard(plain(0)), "cyan is none of its colours; found red", background_color="cyan")
    with pytest.raises(InputError, match="expected a name as white"):
        read(path, background_color="no colour")
    told(hard(plain(0), GREEN), "more colours than objects", num_objects=2)
    told(hard(frame()), "not clear what is stroke")
    told(hard(frame()), "160x120 pixels of paint on a frame of 80x60", frame=frame()[::2, ::2])
    told(hard(frame()), "not clear what is stroke", frame=255 - frame())
    moved = np.roll(frame(), (3, 9), axis=(0, 1))
    told(hard(frame()), "not clear what is stroke", frame=moved)
    told(plain(0), "holds no stroke")
    told(frame(), "holds no stroke", frame=frame())
    faint = layer()
    faint.putalpha(faint.getchannel("A").point(lambda a: a // 3))
    told(faint, "half opaque")
    alone = np.dstack([np.full((*SIZE, 3), 200, np.uint8), np.where(truth() > 0, 255, 0)])
    told(alone.astype(np.uint8), "all grey or white.*--background-color none")
    rng = np.random.default_rng(1)
    cut_out = np.dstack([rng.integers(0, 256, (*SIZE, 3)), np.where(truth() > 0, 255, 0)])
    told(cut_out.astype(np.uint8), "those of a photograph")
    product = plain(255)
    product[20:70, 20:90] = rng.integers(0, 256, (50, 70, 3))
    told(product, "photograph")
    thin = plain(0)
    cv2.line(thin, (10, 10), (150, 100), RED, 1)
    path = tmp_path / "s.jpg"
    told(thin, "too thin for JPEG")


def test_a_colour_keeps_its_number_from_file_to_file(tmp_path: Path) -> None:
    legend = Legend()
    for index, colours in enumerate([(RED, BLUE), (GREEN, RED), (BLUE, GREEN)]):
        picture = plain(0)
        picture[20:25, 20:80], picture[60:65, 20:80] = colours
        Image.fromarray(picture).save(tmp_path / f"{index}.png")
    seen = [read(tmp_path / f"{i}.png", legend=legend).labels[[22, 62], 50] for i in range(3)]
    assert np.array(seen).tolist() == [[1, 2], [3, 1], [2, 3]]


def test_pictures_of_several_frames_are_refused(tmp_path: Path) -> None:
    pages = [Image.fromarray(hard(plain(shade))) for shade in (0, 255)]
    pages[0].save(tmp_path / "s.gif", save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match="holds 2 frames"):
        read(tmp_path / "s.gif")


def test_python_reads_strokes_and_says_how(tmp_path: Path) -> None:
    labels = np.where(truth() == 255, 3, truth()).astype(np.uint8)
    Image.fromarray(labels).save(tmp_path / "disk.png")
    with pytest.warns(UserWarning, match="label 3, the largest, is read as an object.*objects=2"):
        np.testing.assert_array_equal(rhmnet.read_scribble(tmp_path / "disk.png"), labels)
    Image.fromarray(truth()).save(tmp_path / "memory.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        known = rhmnet.read_scribble(tmp_path / "disk.png", num_objects=2)
        np.testing.assert_array_equal(known, truth())
        np.testing.assert_array_equal(rhmnet.read_scribble(tmp_path / "memory.png"), truth())
    layer().save(tmp_path / "layer.png")
    with pytest.warns(UserWarning, match="red → object 1, blue → object 2; background: white"):
        np.testing.assert_array_equal(rhmnet.read_scribble(tmp_path / "layer.png"), truth())
    with pytest.raises(InputError, match=r"disk\.png: label 3 is out of range"):
        rhmnet.read_scribble(tmp_path / "disk.png", num_objects=1)
    for wrong in (1.5, "2", True, 0, 254):
        with pytest.raises(InputError, match=r"num_objects=.*: expected (a whole|1\.\.253)"):
            rhmnet.read_scribble(tmp_path / "disk.png", num_objects=wrong)
    known = rhmnet.read_scribble(tmp_path / "disk.png", num_objects=np.int64(2))
    np.testing.assert_array_equal(known, truth())
    for path in (None, 5):
        with pytest.raises(InputError, match=f"{path}: expected the path of a file"):
            rhmnet.read_scribble(path)
    with pytest.raises(InputError, match=r"disk\.png: frame: expected an array"):
        rhmnet.read_scribble(tmp_path / "disk.png", frame="frame.png")


def test_check_and_convert_say_how_painted_strokes_were_read(tmp_path: Path) -> None:
    images, folder = tmp_path / "images", tmp_path / "scribbles"
    for place in (images, folder):
        place.mkdir()
    Image.fromarray(frame()).save(images / "a.png")
    Image.fromarray(frame()).save(images / "b.png")
    layer().save(folder / "a.png")
    Image.fromarray(hard(frame(), GREEN)).save(folder / "b.png")
    report = check_own(images, folder, "green")
    told = [str(finding) for finding in report.findings if finding.severe]
    assert told and all("green is none of its colours" in line for line in told)
    Image.fromarray(hard(frame(), WHITE)).save(folder / "b.png")
    report = check_own(images, folder, "white")
    assert not report.broken() and len(report.findings) == 2
    assert "painted on the frame: red → object 1, blue → object 2" in str(report.findings[1])
    (row,) = report.rows
    assert (row.objects, row.background_pixels) == (4, 2 * np.count_nonzero(truth() == 255))
    sheet = report.sheet()
    assert (sheet == (255, 0, 0)).all(axis=2).any()  # object 1 in its colour

    options = ConvertOptions(background_color="white")
    (note,) = convert(folder / "a.png", tmp_path / "a.bmp", "bmp", options)
    assert "red → object 1" in note
    wanted = np.where(truth() == 255, 3, truth())
    np.testing.assert_array_equal(read(tmp_path / "a.bmp").labels, wanted)


def test_evaluation_reads_painted_strokes(tmp_path: Path) -> None:
    (tmp_path / "valid_scribbles0").mkdir()
    masks = np.zeros(SIZE, np.uint8)
    masks[:50], masks[50:90] = 1, 2
    Image.fromarray(masks).save(tmp_path / "00000.png")
    Image.fromarray(frame()).save(tmp_path / "frame.png")
    Image.fromarray(hard(frame())).save(tmp_path / "valid_scribbles0" / "dog.png")
    video = DavisVideo("dog", (tmp_path / "frame.png",), (tmp_path / "00000.png",))
    davis = Davis(tmp_path, 2017, "val")
    with pytest.warns(UserWarning, match=r"dog\.png: painted on the frame"):
        prompt = read_prompt(davis, video, 0, with_bg=True)
    np.testing.assert_array_equal(prompt.scribble, truth())
