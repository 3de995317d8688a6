"""The canvas as a person uses it: a real browser, a real server, a real hand."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from canvas_browser import (
    CHROMIUM,
    FRAMES,
    NO_BROWSER,
    REQUIRED,
    ROOT,
    Hand,
    Served,
    Watched,
    discs,
    scene,
    serving,
    write_scene,
)
from canvas_server import labels_of, write_network
from PIL import Image

from rhmnet.files.writing import write_picture
from rhmnet.tools.canvas.request_guard import shown_in_browser
from rhmnet.tools.segment.segment_command import main as segment

if not REQUIRED:
    if CHROMIUM is None:
        pytest.skip(NO_BROWSER, allow_module_level=True)
    for library in ("playwright", "starlette", "uvicorn", "websockets"):
        pytest.importorskip(library)

PICTURE = ROOT / "docs" / "canvas.png"
VIDEOS = ("equal", "zoom", "erase", "correct", "tabs", "touch", "look", "objects", "led", "wide")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    assert CHROMIUM, NO_BROWSER
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield one
        one.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server with a video for each test, and the small network that comes with the project."""
    folder = tmp_path_factory.mktemp("canvas")
    times = {"equal": 2, "wide": 20}
    videos = [write_scene(folder / "videos" / name, times.get(name, 1)) for name in VIDEOS]
    videos.append(folder / "videos" / "long.mp4")
    long = cv2.VideoWriter(str(videos[-1]), cv2.VideoWriter_fourcc(*"mp4v"), 30, (48, 32))
    for index in range(10_000):
        long.write(np.full((32, 48, 3), index // 40, np.uint8))
    long.release()
    with serving(videos, folder / "projects") as one:
        yield one


@pytest.fixture
def tab(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens tabs; in the end nothing may have gone wrong in them, or left the machine."""
    watched: list[Watched] = []

    def new(**options: Any) -> Any:
        watched.append(Watched(browser, **options))
        return watched[-1].page

    yield new
    for one in watched:
        one.close()


def strokes(served: Served, frame: int) -> np.ndarray:
    return labels_of(served.ask(f"/api/strokes/{frame}"))


def test_strokes_become_the_masks_of_the_command_line(
    served: Served, tab: Callable[..., Any], tmp_path: Path
) -> None:
    hand = Hand(tab(), served.link).open("equal")
    hand.go_to(4)
    (x, y), (a, b) = (np.multiply(disc[:2], 2) for disc in discs(4))
    hand.draw((x - 16, y - 12), (x, y), (x + 18, y + 8))
    hand.page.locator("#stage[data-mask=provisional]").wait_for()  # at once, before any run
    hand.page.locator("#add-object").click()
    hand.until(lambda: len(served.project["objects"]) == 3)
    hand.draw((a - 16, b), (a + 18, b + 6))
    hand.press("0")
    hand.draw((5, 5), (250, 6))
    hand.draw((6, 180), (250, 178))
    assert set(np.unique(strokes(served, 4))) == {0, 1, 2, 255}
    hand.press("Enter")
    hand.done()

    hand.page.locator("#export-panel summary").click()
    hand.page.locator("#kind-strokes").check()
    hand.page.locator("#export").click()
    with hand.page.expect_download() as loaded:
        hand.page.get_by_role("button", name="Download").click()
    assert loaded.value.suggested_filename == "equal-1.zip"
    folder = Path(served.ask("/api/exports")["exports"][0]["folder"])

    video = str(Path(served.project["folder"]).parents[1] / "videos" / "equal")
    words = [video, "--scribble", str(folder / "strokes"), "--out", str(tmp_path / "out")]
    assert segment(words) == 0
    for index in range(FRAMES):
        name = f"masks/{index}.png"
        assert (folder / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    for index in range(FRAMES):
        wanted = cv2.resize(scene(index)[1], None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
        found = labels_of((folder / "masks" / f"{index}.png").read_bytes())
        for number in (1, 2):
            one, other = found == number, wanted == number
            assert (one & other).sum() / (one | other).sum() > 0.6, (index, number)


def test_the_same_stroke_is_the_same_map_at_any_zoom(
    served: Served, tab: Callable[..., Any]
) -> None:
    line, maps = [(52, 34), (60, 41), (68, 44)], []
    for frame, (ratio, zoom) in enumerate([(1, 1), (1, 4), (2, 4), (0.5, 2)]):
        hand = Hand(tab(device_scale_factor=ratio), served.link)
        hand.open("zoom") if frame == 0 else hand.begin()
        if frame:
            hand.page.locator("#take").click()
        hand.go_to(frame)
        before = hand.view()["scale"]
        while hand.view()["scale"] < zoom * before:
            hand.page.mouse.move(*hand.place(60, 40))
            hand.page.mouse.wheel(0, -100)
        hand.draw(*line)
        scale = hand.view()["scale"]
        hand.press("ArrowRight", "ArrowLeft", "Control+z", "Control+Shift+z")
        hand.saved()
        assert hand.view()["scale"] == scale  # zoom survives frames and undo
        maps.append(strokes(served, frame))
    assert maps[0].any() and all(np.array_equal(maps[0], other) for other in maps)


def test_a_large_frame_is_asked_for_as_wide_as_it_is_shown_and_stays_there(
    served: Served, tab: Callable[..., Any]
) -> None:
    page, asked = tab(), []
    page.on("request", lambda one: asked.append(one.url))
    hand = Hand(page, served.link).open("wide")
    assert any("frames/0?w=960" in one for one in asked)
    while hand.view()["scale"] < 1:
        hand.press("+")
    hand.until(lambda: any("frames/0?" in one and "w=" not in one for one in asked))
    # more frames than the page keeps: the one that is shown is not among those that go
    all_of_them = "Promise.all([1, 2, 3, 4, 5, 6, 7, 8, 9].map(m.frame))"
    page.evaluate(f"async () => {{ const m = await import('/pictures.js'); await {all_of_them}; }}")
    hand.press("f")
    hand.until(lambda: hand.view()["scale"] < 1)
    page.wait_for_timeout(100)  # a picture that is gone would fail here, see Watched


def test_the_browser_is_led_to_the_page_and_need_not_keep_anything(
    served: Served, tab: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    with shown_in_browser(served.link, tmp_path):
        hand = Hand(tab(), opened[0])  # a file, as another site to the server
        hand.page.wait_for_url(served.link)
        hand.open("led")
    full = "function () { if (this === localStorage) throw new Error('full'); }"
    hand.page.evaluate(f"() => {{ Storage.prototype.setItem = {full}; }}")
    hand.page.keyboard.press("e")
    told = {"key": "и", "code": "KeyB", "bubbles": True}  # B's key on a keyboard of another script
    hand.page.locator("#stage").dispatch_event("keydown", told)
    hand.draw((20, 40), (60, 40))
    assert strokes(served, 0)[40, 40] == 1


def test_the_eraser_takes_strokes_away(served: Served, tab: Callable[..., Any]) -> None:
    hand = Hand(tab(), served.link).open("erase")
    hand.draw((20, 40), (110, 40))
    hand.press("e", "]", "]", "]")
    hand.draw((64, 20), (64, 70))
    left = strokes(served, 0)
    assert left[40, 30] == left[40, 100] == 1 and not left[:, 62:67].any()
    hand.press("Control+z")
    hand.until(lambda: strokes(served, 0)[40, 64] == 1)
    assert hand.page.locator("#redo").is_enabled()


def test_a_correction_runs_only_what_it_changes(served: Served, tab: Callable[..., Any]) -> None:
    hand = Hand(tab(), served.link).open("correct")
    for frame in (0, 6):
        hand.go_to(frame)
        x, y, _ = discs(frame)[0]
        hand.draw((x - 6, y), (x + 6, y))
    hand.press("Enter")
    hand.done()
    assert served.project["left"] == 0
    hand.go_to(8)
    x, y, _ = discs(8)[0]
    hand.draw((x - 6, y + 3), (x + 6, y + 3))
    project = served.project
    # forward 8 and 9; backward 8 down to 6, whose own strokes lie on top, and what it merges with
    full = 2 * FRAMES - 1
    assert 0 < project["left"] < full
    hand.press("Enter")
    # the page's own word: Enter means what it shows, which may be an instant behind the server
    hand.until(lambda: hand.runs() or served.project["left"] == 0)
    if hand.runs():
        hand.press("Enter")  # pause
        hand.until(lambda: not hand.runs())
    if served.project["left"]:
        hand.press("Enter")
    hand.done()
    advice = hand.until(lambda: served.project["next"])  # told once the run is over
    assert advice["reason"]
    hand.press("n")


def test_a_second_tab_looks_on_and_takes_over(served: Served, tab: Callable[..., Any]) -> None:
    first = Hand(tab(), served.link).open("tabs")
    second = Hand(tab(), served.link).begin()
    second.page.locator("#viewer").wait_for()
    second.draw((10, 10), (50, 10), saved=False)
    assert not strokes(served, 0).any() and second.page.locator("#run").is_disabled()
    first.draw((10, 20), (50, 20))
    second.page.locator("#stage[data-strokes='1']").wait_for()
    second.page.locator("#take").click()
    first.page.locator("#viewer").wait_for()
    second.page.locator("#viewer").wait_for(state="hidden")  # told after the first, or before
    second.draw((10, 30), (50, 30))
    first.draw((10, 40), (50, 40), saved=False)
    left = strokes(served, 0)
    assert left[20, 30] == left[30, 30] == 1 and not left[40].any()


def test_pen_and_fingers_draw_and_two_fingers_move(served: Served, tab: Callable[..., Any]) -> None:
    page = tab(has_touch=True, viewport={"width": 1024, "height": 768})
    hand = Hand(page, served.link).open("touch")
    tool = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        places = [hand.place(*point) for point in points]
        dots = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(places)]
        tool.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": dots})

    touch("touchStart", (20, 20))
    touch("touchMove", (60, 20))
    touch("touchMove", (100, 20))
    touch("touchEnd")
    hand.saved()
    hand.until(lambda: strokes(served, 0)[20, 60] == 1)
    scale = hand.view()["scale"]
    touch("touchStart", (50, 50))
    touch("touchStart", (50, 50), (70, 50))
    touch("touchMove", (40, 50), (80, 50))
    touch("touchEnd")
    assert hand.view()["scale"] > scale
    assert served.project["revision"] == 1  # no stroke of it

    hand.press("f")
    touch("touchStart", (90, 90))  # the palm, before the pen and beneath it
    for kind, button, (x, y) in (
        ("mouseMoved", "none", (20, 70)),
        ("mousePressed", "left", (20, 70)),
        ("mouseMoved", "left", (60, 70)),
        ("mouseReleased", "left", (60, 70)),
    ):
        a, b = hand.place(x, y)
        event = {"type": kind, "x": a, "y": b, "button": button, "pointerType": "pen"}
        event |= {"buttons": int(button == "left"), "clickCount": 1, "force": 0.5}
        tool.send("Input.dispatchMouseEvent", event)
    hand.until(lambda: strokes(served, 0)[70, 40] == 1)
    touch("touchMove", (100, 90))
    touch("touchEnd")
    hand.saved()
    assert served.project["revision"] == 2 and not strokes(served, 0)[90, 90:100].any()


def test_objects_are_named_locked_hidden_and_deleted(
    served: Served, tab: Callable[..., Any]
) -> None:
    hand = Hand(tab(), served.link).open("objects")
    hand.draw((10, 10), (60, 10))
    hand.press("a")
    hand.until(lambda: hand.page.locator("#objects li").count() == 3)
    hand.draw((10, 30), (60, 30))
    hand.page.get_by_label("Name of object 2").fill("the ball")
    hand.page.get_by_label("Name of object 2").press("Enter")
    hand.until(lambda: served.project["objects"][1]["name"] == "the ball")
    hand.page.get_by_role("button", name="Lock the ball").click()
    hand.until(lambda: served.project["objects"][1]["locked"])
    hand.page.locator("#stage").focus()
    hand.press("1")
    hand.draw((30, 5), (30, 60))
    assert strokes(served, 0)[30, 30] == 2  # it is locked
    hand.page.get_by_role("button", name="Delete object 1").click()
    hand.page.get_by_role("button", name="Delete", exact=True).click()
    hand.until(lambda: not (strokes(served, 0) == 1).any())
    hand.page.locator("#stage").focus()
    hand.press("Control+z")
    hand.until(lambda: (strokes(served, 0) == 1).any())


@pytest.mark.parametrize(
    ("scheme", "sizes"),
    [("light", ((1280, 800), (820, 1180))), ("dark", ((1920, 1080), (1024, 768)))],
)
def test_all_is_labelled_reachable_and_readable(
    served: Served, tab: Callable[..., Any], scheme: str, sizes: tuple[tuple[int, int], ...]
) -> None:
    for width, height in sizes:
        page = tab(color_scheme=scheme, viewport={"width": width, "height": height})
        hand = Hand(page, served.link)
        hand.open("look") if served.project["name"] != "look" else hand.begin()
        page.locator("#export-panel").evaluate("e => e.open = true")
        found = page.evaluate(_AUDIT)
        assert found == {"unnamed": [], "unreachable": [], "small": [], "pale": [], "overflow": 0}
        box = page.locator("#stage").bounding_box()
        assert box["width"] > 0.4 * width and box["height"] > 0.3 * height
        page.keyboard.press("?")
        assert page.locator("#help kbd").count() >= 18
        page.keyboard.press("Escape")


_AUDIT = """() => {
  const seen = (e) => e.getClientRects().length > 0;
  const told = (e) => e.getAttribute('aria-label') || e.innerText || e.labels?.[0]?.innerText;
  const wanted = 'button, input, summary, [role=slider]';
  const controls = [...document.querySelectorAll(wanted)].filter(seen);
  const show = (list) => list.map((e) => e.outerHTML.slice(0, 90));
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const line = (v) => (v <= 10 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * line(r) + 0.7152 * line(g) + 0.0722 * line(b);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const colour = rgb(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] > 0.7) return colour;
    }
    return [255, 255, 255];
  };
  const ratio = (e) => {
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const holds = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  const texts = [...document.querySelectorAll('body *')].filter(
    (e) => seen(e) && !e.closest(':disabled') && holds(e));
  const low = (e) => e.type !== 'checkbox' && e.getBoundingClientRect().height < 22;
  return {
    unnamed: show(controls.filter((e) => !(told(e) || '').trim())),
    unreachable: show(controls.filter((e) => e.tabIndex < 0)),
    small: show(controls.filter(low)),
    pale: show(texts.filter((e) => ratio(e) < 4.5)),
    overflow: document.documentElement.scrollWidth - innerWidth,
  };
}"""


def test_ten_thousand_frames(served: Served, tab: Callable[..., Any]) -> None:
    hand = Hand(tab(), served.link).open("long.mp4")
    hand.press("End")
    hand.until(lambda: hand.view()["shown"] == 9999)
    hand.press("Shift+ArrowLeft")
    hand.until(lambda: hand.view()["shown"] == 9989)
    hand.draw((5, 5), (40, 20))
    assert served.project["stroked"] == {"9989": [1]}


@pytest.mark.slow
def test_the_picture_in_the_docs_shows_the_page(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With RHMNET_PICTURES=new in the environment it is made anew."""
    demo, tab = ROOT / "docs" / "demo", Watched(browser, color_scheme="light")
    monkeypatch.chdir(tmp_path)  # the page tells where the project is kept
    with serving([demo / "bottle.mp4"], Path("bottle.rhmnet")) as served:
        hand = Hand(tab.page, served.link).begin()
        hand.go_to(62)
        hand.page.locator("#import-panel summary").click()
        hand.page.locator("#import").set_input_files(demo / "strokes" / "62.png")
        hand.page.locator("#notice-close").click()
        hand.page.locator("#import-panel summary").click()
        for number, name in enumerate(("right bottle", "second bottle", "arm"), start=1):
            hand.page.get_by_label(f"Name of object {number}").fill(name)
            hand.page.get_by_label(f"Name of object {number}").press("Enter")
            hand.saved()
        hand.page.locator("#run").click()
        hand.done(seconds=1200)
        hand.go_to(72)
        hand.press("2")
        hand.page.locator("#stage[data-mask=done]").wait_for()
        hand.page.mouse.move(620, 220)
        hand.page.wait_for_timeout(1000)
        picture = Image.open(io.BytesIO(hand.page.screenshot())).convert("RGB").quantize(256)
    tab.close()
    if os.environ.get("RHMNET_PICTURES") == "new":
        write_picture(PICTURE, picture, "PNG", optimize=True)
    found, there = (np.asarray(one.convert("RGB"), int) for one in (picture, Image.open(PICTURE)))
    assert found.shape == there.shape and np.abs(found - there).mean() < 10  # of 255


# a server that dies


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("tiny") / "tiny.pth.tar")


def test_nothing_acknowledged_is_lost_at_any_kill(
    tab: Callable[..., Any], tiny: Path, tmp_path: Path
) -> None:
    video, project = write_scene(tmp_path / "clip"), tmp_path / "project"
    words = ("--checkpoint", str(tiny))
    lines = [[(10, 10 + 8 * n), (100, 12 + 8 * n)] for n in range(5)]
    with serving([video], project, *words) as served:
        hand = Hand(tab(), served.link).begin()
        hand.draw(*lines[0])
        hand.press("0")
        hand.draw(*lines[1])
        before = strokes(served, 0)
        served.kill()
        hand.page.locator("#saved.away").wait_for()
        hand.press("1")
        hand.draw(*lines[2], saved=False)  # of this one nobody has said that it is saved
        assert "1 not saved" in hand.page.locator("#saved").inner_text()
    with serving([video], project, *words) as served:
        assert served.project["revision"] == 2
        assert np.array_equal(strokes(served, 0), before)
        hand = Hand(tab(), served.link).begin()
        hand.press("Control+z")
        hand.until(lambda: not (strokes(served, 0) == 255).any())
        hand.press("Control+Shift+z")
        hand.until(lambda: np.array_equal(strokes(served, 0), before))
        hand.press("Enter")
        hand.until(lambda: served.project["done"] >= 2)
        served.kill()  # amid the run
    with serving([video], project, *words) as served:
        hand = Hand(tab(), served.link).begin()
        assert served.project["revision"] == 4
        if served.project["left"]:
            hand.press("Enter")
        hand.page.reload()  # the job goes on without its tab
        hand.begin()
        hand.done()
        code, said = served.stop()
        assert code == 130 and f"{FRAMES} of {FRAMES} frames" in said and str(project) in said
    scribble = tmp_path / "0.png"
    cv2.imwrite(str(scribble), before)
    out = tmp_path / "out"
    assert segment([str(video), "--scribble", str(scribble), "--out", str(out), *words]) == 0
    for index in range(FRAMES):
        name = f"{index}.png"
        assert (project / "masks" / name).read_bytes() == (out / "masks" / name).read_bytes()
