#!/usr/bin/env python
"""How long the canvas takes: strokes, frames, masks, previews, reopening; how much memory.

    python scripts/benchmark_canvas.py                        # the demo clip, without a browser
    python scripts/benchmark_canvas.py --browser              # needs Chromium and playwright
    python scripts/benchmark_canvas.py --video 4k.mp4 --browser

A clip of many small frames, for the memory, it makes itself. Each line gives the median, the 95th
percentile where there are many, and the budget.
"""

from __future__ import annotations

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rhmnet.errors import InputError, say
from rhmnet.runtime import CommandParser, run_command, whole

ROOT = Path(__file__).resolve().parents[1]
_MOVES = 300  # of the mouse, in a stroke whose echo is timed


class Server:
    """A canvas in a process of its own."""

    def __init__(self, video: str, project: str, checkpoint: str | None) -> None:
        words = [video, "--project", project, "--no-browser", "--port", "0"]
        words += ["--checkpoint", checkpoint] if checkpoint else []
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rhmnet", "canvas", *words],
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        links = (re.search(r"http:\S+", line) for line in self.process.stdout)
        link = next(filter(None, links), None)
        if link is None:
            raise InputError(f"{video}: the canvas did not start; see rhmnet canvas {video}")
        self.link = link[0]
        self.base, _, self._token = self.link.partition("/#")
        self.project()
        self.seconds_to_open = time.perf_counter() - began

    def ask(self, path: str, **content: Any) -> Any:
        """An answer: JSON, or the bytes and headers of a picture."""
        data = json.dumps({"client": "benchmark", **content}).encode() if content else None
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.base + path, data, headers)
        with urllib.request.urlopen(request, timeout=600) as answer:
            body = answer.read()
            if answer.headers["Content-Type"] == "application/json":
                return json.loads(body)
            return answer.headers["X-State"]

    def project(self) -> dict[str, Any]:
        """What is known of the video, once it was read through."""
        while (found := self.ask("/api/project")["project"]) is None:
            time.sleep(0.02)
        return found

    def draw(self, frame: int, line: Sequence[Sequence[float]]) -> None:
        """A stroke on object 1."""
        revision = self.project()["revision"]
        operation = {"op": "stroke", "frame": frame, "object": 1, "width": 8, "points": line}
        self.ask("/api/edits", base=revision, id=f"b{revision}", operation=operation)

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.communicate()


def main() -> None:
    """Measure and print."""
    args = parse()
    with tempfile.TemporaryDirectory() as folder:
        project = str(Path(folder) / "project")
        with closing(Server(args.video, project, args.checkpoint)) as server:
            tell("the first start, until the video is there", [server.seconds_to_open], "")
            measure_frames(server)
            measure_masks(server)
            if args.browser:
                with browser_on(server) as page:
                    measure_page(page)
        with closing(Server(args.video, project, args.checkpoint)) as server:
            tell("reopening", [server.seconds_to_open], "2 s")
        clip = write_long_clip(Path(folder) / "long.mp4", args.frames)
        with closing(Server(str(clip), str(Path(folder) / "long"), args.checkpoint)) as server:
            measure_long(server)
            if args.browser:
                with browser_on(server) as page:
                    measure_memory(page)


def measure_frames(server: Server) -> None:
    """Frames by number, near and far."""
    frames = server.project()["frames"]
    numbers = np.random.default_rng(0).integers(frames, size=40)
    seeks = [timed(server.ask, f"/api/frames/{i}?soon=1") for i in numbers]
    tell("a frame anywhere from the server", seeks, "500 ms")
    tell(
        "a frame that is kept", [timed(server.ask, "/api/frames/0") for _ in range(41)][1:], "50 ms"
    )


def measure_masks(server: Server) -> None:
    """A preview against a step of the network; a mask on its way out."""
    project = server.project()
    height, width = project["size"]
    frame = project["frames"] // 2
    line = [[width * 0.4, height * 0.5], [width * 0.6, height * 0.55]]
    previews = []
    for index in range(5):
        began = time.perf_counter()
        server.draw(frame, [[x, y + 4 * index] for x, y in line])
        while server.ask(f"/api/masks/{frame}?rev={index}") != "provisional":
            time.sleep(0.005)
        previews.append(time.perf_counter() - began)
    tell("stroke to its mask from the server", previews[1:], "one step + 200 ms")
    tell("the first of them, the network's loading within", previews[:1], "10 s")
    before, began = server.project(), time.perf_counter()
    server.ask("/api/run", frame=frame)
    while (now := server.project())["running"] and before["left"] - now["left"] < 12:
        time.sleep(0.05)
    took = (time.perf_counter() - began) / max(1, before["left"] - now["left"])
    tell("a step of the network, as a run goes on", [took], "")
    masks = [timed(server.ask, f"/api/masks/{frame}?rev=x{i}") for i in range(20)]
    tell("a mask from the server, amid the run", masks, "")
    strokes = [timed(server.draw, frame, [[9, 9 + i], [90, 9 + i]]) for i in range(10)]
    tell("a stroke until it is on the disk, amid the run", strokes, "")
    server.ask("/api/pause", frame=frame)


def measure_long(server: Server) -> None:
    """What the server's memory does while all frames of a long clip pass."""
    while server.project()["settings"] is None:
        time.sleep(0.1)  # the network takes its share first
    frames, marks = server.project()["frames"], [resident(server.process.pid)]
    for index in range(frames):
        server.ask(f"/api/frames/{index}")
        if index in (frames // 10, frames // 2, frames - 1):
            marks.append(resident(server.process.pid))
    told = ", ".join(f"{mark:.0f}" for mark in marks)
    say(f"server's memory: {told} MB after none, 1/10, 1/2, all of {frames} frames; budget: flat")


@contextmanager
def browser_on(server: Server) -> Iterator[Any]:
    """A page of a browser on the video; `page.blank` is the memory of a page without content."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        raise InputError("no Chromium: apt-get install chromium, or name one: CHROMIUM=/path/to/it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto("about:blank")
        page.blank = renderers(browser)
        page.add_init_script(_HEAR)
        began = time.perf_counter()
        page.goto(server.link)
        page.locator("#work:not([hidden])").wait_for()
        page.evaluate(_WATCH)
        page.evaluate("seek(0)")
        tell("the page, until its first frame is painted", [time.perf_counter() - began], "")
        page.wait_for_timeout(500)
        if page.locator("#take").is_visible():  # the requests above were another tab's
            page.locator("#take").click()
            page.locator("#viewer").wait_for(state="hidden")
        page.locator("#stage").focus()
        yield page
        browser.close()


def measure_page(page: Any) -> None:
    """What a person waits for, in the page."""
    frames, seek = page.evaluate("known.project.frames"), "frame => seek(frame)"
    numbers = np.random.default_rng(1).integers(frames, size=40)
    times = [page.evaluate(seek, int(index)) for index in numbers]
    tell("a frame anywhere until it is painted", times, "500 ms", 1000)
    for index in (frames // 2 - 1, frames // 2):
        page.evaluate(seek, index)
        page.wait_for_timeout(3000)  # for what comes after a draft
    times = [page.evaluate(seek, frames // 2 - index % 2) for index in range(41)]
    tell("a frame that the page has until it is painted", times, "50 ms", 1000)
    for index in range(8):
        draw(page, index, 12)
        wait(page, f"previews.length > {index}")
        page.wait_for_timeout(300)  # as a hand needs to the next one
    times = page.evaluate("previews")
    tell("a stroke's end until its mask is painted", times, "one step + 200 ms", 1000)
    page.keyboard.press("Enter")  # run
    page.evaluate("following = true")
    wait(page, "masks.length >= 20 || !known.project.running")
    times = page.evaluate("following = false, masks")
    tell("a mask from the server's word until it is painted, amid the run", times, "100 ms", 1000)
    draw(page, 20, _MOVES)
    times = page.evaluate("moves")[-_MOVES:]
    tell("a pointer's move until it is drawn, amid the run", times, "16 ms", 1000)


def wait(page: Any, true: str) -> None:
    """Until something is true in the page, looked at from here: its own policy forbids `eval`."""
    while not page.evaluate(true):
        page.wait_for_timeout(50)


def draw(page: Any, row: int, moves: int) -> None:
    """A stroke by the mouse."""
    box = page.locator("#stage").bounding_box()
    x, y = box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.4 + 5 * row
    page.mouse.move(x, y)
    page.mouse.down()
    for index in range(moves):
        page.mouse.move(x + index % 150, y + index // 3)
    page.mouse.up()


def measure_memory(page: Any) -> None:
    """What a browser holds after many frames, each with its strokes and masks."""
    frames = min(1500, page.evaluate("known.project.frames"))
    page.evaluate(
        "async (frames) => { for (let i = 1; i < frames; i += 1) await seek(i); }", frames
    )
    more = renderers(page.context.browser) - page.blank
    heap = page.evaluate("performance.memory.usedJSHeapSize") / 2**20
    say(
        f"browser's memory after {frames} frames: {more:.0f} MB more than an empty page's "
        f"{page.blank:.0f}, {heap:.0f} of them JavaScript's; budget 400 MB"
    )


def renderers(browser: Any) -> float:
    """Memory of the largest process of a browser's pages, MB."""
    found = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    return max(resident(one["id"]) for one in found if one["type"] == "renderer")


def write_long_clip(path: Path, frames: int) -> Path:
    """A clip of many small frames."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (160, 120))
    ground = np.random.default_rng(0).integers(0, 256, (120, 320, 3), np.uint8)
    for index in range(frames):
        writer.write(np.ascontiguousarray(ground[:, index % 160 :][:, :160]))
    writer.release()
    return path


_HEAR = """ // before the page's own scripts: hear what the server says when the page does
window.told = () => {};
window.WebSocket = class extends WebSocket {
  constructor(...all) {
    super(...all);
    this.addEventListener('message', (event) => told(JSON.parse(event.data), performance.now()));
  }
};
"""
_WATCH = """async () => {
  const [{ state, goTo, on }, { shownFrame }] = await Promise.all(
    [import('/state.js'), import('/stage.js')]);
  const stage = document.getElementById('stage');
  Object.assign(window, { known: state, moves: [], previews: [], masks: [], following: false });
  const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  let [up, word, last, arrived] = [0, null, 0, () => {}];
  on('shown', () => arrived());
  window.seek = async (frame) => {
    const began = performance.now();
    goTo(frame);
    while (shownFrame() !== frame) await new Promise((done) => (arrived = done));
    await painted();
    return performance.now() - began;
  };
  stage.addEventListener('pointermove', (event) => {
    if (event.buttons) moves.push(performance.now() - event.timeStamp);
  });
  stage.addEventListener('pointerup', () => (up = performance.now()));
  window.told = ({ type, frame }, now) => {
    if (type !== 'frame' && type !== 'preview') return;
    word = frame === shownFrame() && frame === state.frame ? { type, now } : null;
    const way = Math.sign(frame - last);
    if (following && (state.frame - frame) * way < 0) goTo(frame + 2 * way);
    if (type === 'frame') last = frame;
  };
  new MutationObserver(async () => {
    if (word === null) return;
    const { type, now } = word;
    word = null;
    await painted();
    if (type === 'preview') previews.push(performance.now() - up);
    else masks.push(performance.now() - now);
  }).observe(stage, { attributes: true, attributeFilter: ['data-mask'] });
}"""


def timed(call: Callable[..., object], *args: Any) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    call(*args)
    return time.perf_counter() - began


def tell(what: str, times: Sequence[float], budget: str, unit: float = 1) -> None:
    """A line: median, and 95th percentile of many. unit: of the times, in a second."""
    seconds = np.divide(times, unit)
    if not len(seconds):
        say(f"{what}: never seen; budget {budget}")
        return
    text = f"{what}: {1000 * np.median(seconds):.1f} ms"
    if len(seconds) > 4:
        text += f", 95 % within {1000 * np.percentile(seconds, 95):.1f} ms"
    say(text + (f"; budget {budget}" if budget else ""))


def resident(process: int) -> float:
    """Memory of a process, MB."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())[1]) / 1024


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = CommandParser(description=__doc__)
    add = parser.add_argument
    add("--video", default=f"{ROOT}/docs/demo/bottle.mp4", help="default: the demo clip")
    add("--checkpoint", metavar="FILE", help="weights (default: `small`)")
    add("--frames", type=whole(10, 10**6), default=10_000, help="of the long clip (default 10000)")
    add("--browser", action="store_true", help="measure the page, too")
    return parser.parse_args()


if __name__ == "__main__":
    run_command(main)
