#!/usr/bin/env python
"""How long the canvas takes: strokes, frames, masks, previews, reopening; how much memory.

    python scripts/benchmark_canvas.py                        # the demo clip, without a browser
    python scripts/benchmark_canvas.py --browser              # needs Chromium and playwright
    python scripts/benchmark_canvas.py --video long.mp4 --frames 10000

Each line gives the median, the 95th percentile where there are many, and the budget.
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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

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
        """What is known of the video."""
        return self.ask("/api/project")["project"]

    def draw(self, frame: int, line: Sequence[Sequence[float]]) -> None:
        """A stroke on object 1."""
        revision = self.project()["revision"]
        operation = {"op": "stroke", "frame": frame, "object": 1, "width": 8, "points": line}
        self.ask("/api/edits", base=revision, id=f"b{revision}", operation=operation)

    def megabytes(self) -> float:
        """Memory that the process holds now."""
        return resident(self.process.pid)

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.communicate()


def main() -> None:
    """Measure and print."""
    args = parse()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(args.video, folder, args.checkpoint)
        try:
            measure_frames(server, args.frames)
            measure_masks(server)
            if args.browser:
                measure_page(server)
        finally:
            server.close()
        server = Server(args.video, folder, args.checkpoint)
        server.close()
        libraries = timed(subprocess.run, [sys.executable, "-c", "import rhmnet.tools.canvas"])
        tell("the libraries' import, PyTorch's above all", [libraries], "")
        tell("reopening, after that", [max(0.0, server.seconds_to_open - libraries)], "2 s")


def measure_frames(server: Server, count: int) -> None:
    """Frames by number, near and far, and what the server's memory does meanwhile."""
    frames = server.project()["frames"]
    near = server.megabytes()
    rng = np.random.default_rng(0)
    seeks = [timed(server.ask, f"/api/frames/{i}") for i in rng.integers(frames, size=40)]
    tell("a frame anywhere", seeks, "500 ms")
    server.ask("/api/frames/0")
    tell("a frame that is kept", [timed(server.ask, "/api/frames/0") for _ in range(40)], "50 ms")
    marks = []
    for index in range(min(count, frames)):
        server.ask(f"/api/frames/{index}")
        if index in (count // 2, min(count, frames) - 1):
            marks.append(server.megabytes())
    told = ", ".join(f"{mark:.0f}" for mark in marks)
    say(f"server's memory: {near:.0f} MB at the start, {told} MB amid and after {index + 1} frames")


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
    tell("stroke to its mask (preview)", previews[1:], "one step + 200 ms")
    tell("the first of them", previews[:1], "10 s")
    before, began = server.project(), time.perf_counter()
    server.ask("/api/run", frame=frame)
    while (now := server.project())["running"] and before["left"] - now["left"] < 12:
        time.sleep(0.05)
    steps = max(1, before["left"] - now["left"])
    tell("a step of the network, as a run goes on", [(time.perf_counter() - began) / steps], "")
    masks = [timed(server.ask, f"/api/masks/{frame}?rev=x{i}") for i in range(20)]
    tell("a mask from the server, amid the run", masks, "100 ms")
    strokes = [timed(server.draw, frame, [[9, 9 + i], [90, 9 + i]]) for i in range(10)]
    tell("a stroke until it is on the disk, amid the run", strokes, "")


def measure_page(server: Server) -> None:
    """What a browser adds, while the network is at work."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        raise InputError("no Chromium: apt-get install chromium, or name one: CHROMIUM=/path/to/it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(server.link)
        page.locator("#work:not([hidden])").wait_for()
        page.wait_for_timeout(1000)
        page.evaluate(_NOTE_MOVES)
        box = page.locator("#stage").bounding_box()
        page.mouse.move(box["x"] + 300, box["y"] + 200)
        page.mouse.down()
        for index in range(_MOVES):
            page.mouse.move(box["x"] + 300 + index % 150, box["y"] + 200 + index // 3)
        page.mouse.up()
        echo = page.evaluate("window.moves")
        tell("a pointer's move until it is drawn, amid the run", np.divide(echo, 1000), "16 ms")
        shown = page.evaluate(_TIME_MASKS)
        tell("a mask until it is in colours on the page", np.divide(shown, 1000), "100 ms")
        for _ in range(30):
            page.keyboard.press("Shift+ArrowRight")
            page.wait_for_timeout(50)
        tool = browser.new_browser_cdp_session()
        found = tool.send("SystemInfo.getProcessInfo")["processInfo"]
        pages = [resident(one["id"]) for one in found if one["type"] == "renderer"]
        say(f"browser's memory: {max(pages):.0f} MB of the page; budget 400 MB")
        browser.close()


_NOTE_MOVES = """() => {
  window.moves = [];
  document.getElementById('stage').addEventListener('pointermove', (event) => {
    if (event.buttons) window.moves.push(performance.now() - event.timeStamp);
  });
}"""
_TIME_MASKS = """async () => {
  const [pictures, { state }] = await Promise.all([import('/pictures.js'), import('/state.js')]);
  const times = [];
  for (let i = 0; i < 15; i += 1) {
    state.tags.set(state.frame, `timed${i}`);
    const began = performance.now();
    const found = await pictures.mask(state.frame);
    if (found.labels) pictures.coloured(found, { fill: 0.5, outline: true, shown: () => true });
    times.push(performance.now() - began);
  }
  return times;
}"""


def timed(call: Callable[..., object], *args: Any) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    call(*args)
    return time.perf_counter() - began


def tell(what: str, seconds: Sequence[float], budget: str) -> None:
    """A line: median, and 95th percentile of many."""
    text = f"{what}: {1000 * np.median(seconds):.1f} ms"
    if len(seconds) > 4:
        text += f", 95 % within {1000 * np.percentile(seconds, 95):.1f} ms"
    say(text + (f"; budget {budget}" if budget else ""))


def resident(process: int) -> float:
    """Memory of a process, MB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = CommandParser(description=__doc__)
    add = parser.add_argument
    demo = str(ROOT / "docs" / "demo" / "bottle.mp4")
    add("--video", default=demo, help="default: the demo clip")
    add("--checkpoint", metavar="FILE", help="weights (default: `small`)")
    add("--frames", type=whole(1, 10**6), default=120, help="to page through (default 120)")
    add("--browser", action="store_true", help="measure the page, too")
    return parser.parse_args()


if __name__ == "__main__":
    run_command(main)
