"""A real browser before a real server in another process, which may be killed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
NO_BROWSER = (
    "no Chromium found; on Debian: apt-get install chromium, or name one: CHROMIUM=/path/to/it"
)
REQUIRED = os.environ.get("RHMNET_BROWSER") == "required"
"""Set by .ci/run: a machine without a browser fails the tests in place of skipping them."""
SIZE = HEIGHT, WIDTH = 96, 128
FRAMES = 10
_SECONDS = 60.0


class Served:
    """`rhmnet canvas` in a process of its own."""

    def __init__(self, videos: Sequence[Path], project: Path, *words: str) -> None:
        command = [sys.executable, "-m", "rhmnet", "canvas", *map(str, videos), "--no-browser"]
        command += ["--project", str(project), "--port", "0", "--device", "cpu", *words]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.link = ""
        for line in self.process.stdout:
            if found := re.search(r"http://\S+", line):
                self.link = found[0]
                break
        assert self.link, self.process.stderr.read()
        self.base, _, self.token = self.link.partition("/#")

    def ask(self, path: str, **content: Any) -> Any:
        """What the server answers, as JSON; a POST with content."""
        data = json.dumps(content).encode() if content else None
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.base + path, data, headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            body = answer.read()
        return json.loads(body) if answer.headers["Content-Type"] == "application/json" else body

    @property
    def project(self) -> Any:
        """The open video; waits until it was read through."""
        for _ in range(200):
            if (found := self.ask("/api/project")["project"]) is not None:
                break
            time.sleep(0.1)
        return found

    def kill(self) -> None:
        """As the system does when memory is short: no last word."""
        self.process.kill()
        self.process.communicate()

    def stop(self) -> tuple[int, str]:
        """Ctrl-C; the exit code, and what it said after the link."""
        self.process.send_signal(signal.SIGINT)
        said, _ = self.process.communicate(timeout=30)
        return self.process.returncode, said


@contextlib.contextmanager
def serving(videos: Sequence[Path], project: Path, *words: str) -> Iterator[Served]:
    """A server that is gone in the end."""
    served = Served(videos, project, *words)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.kill()


class Hand:
    """A person before the page: works by mouse and keys, in pixels of the video."""

    def __init__(self, page: Any, link: str) -> None:
        self.page = page
        page.goto(link)

    def begin(self) -> Hand:
        """Wait until a video stands there."""
        self.page.locator("#work:not([hidden])").wait_for()
        self.until(lambda: self.view()["shown"] == self.frame())
        return self

    def open(self, name: str) -> Hand:
        """Choose a video on the start page."""
        self.page.locator("#start:not([hidden]), #work:not([hidden])").first.wait_for()
        if self.page.locator("#start").is_hidden():
            self.page.locator("#all-videos").click()
        self.page.get_by_role("button", name=name, exact=True).click()
        return self.begin()

    def view(self) -> dict[str, Any]:
        """Scale and place of the frame in the stage, and the frame that is shown."""
        return self.page.evaluate(
            "async () => { const m = await import('/stage.js');"
            " return {...m.view, shown: m.shownFrame()}; }"
        )

    def frame(self) -> int:
        """The frame that is wanted."""
        return int(self.page.locator("#timeline").get_attribute("aria-valuenow") or -1)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the video lies on the page."""
        view, box = self.view(), self.page.locator("#stage").bounding_box()
        return (
            box["x"] + view["x"] + (x + 0.5) * view["scale"],
            box["y"] + view["y"] + (y + 0.5) * view["scale"],
        )

    def draw(self, *points: tuple[float, float], saved: bool = True) -> None:
        """A line with the mouse's left button."""
        places = [self.place(*point) for point in points]
        mouse = self.page.mouse
        mouse.move(*places[0])
        mouse.down()
        for place in places[1:]:
            mouse.move(*place)
        mouse.up()
        if saved:
            self.saved()

    def saved(self) -> None:
        """Wait until all is acknowledged."""
        self.page.locator("#saved.safe").wait_for()

    def press(self, *keys: str) -> None:
        """Keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def go_to(self, frame: int) -> None:
        """Another frame, and wait for its picture."""
        self.page.locator("#number").fill(str(frame))
        self.page.locator("#number").press("Enter")
        self.page.locator("#stage").focus()
        self.until(lambda: self.view()["shown"] == frame)

    def done(self, seconds: float = _SECONDS) -> None:
        """Wait until all masks are there."""
        frames = self.page.locator("#number").get_attribute("max")
        all_of_them = f"{int(frames) + 1} of {int(frames) + 1} frames done"
        self.page.get_by_text(all_of_them).wait_for(timeout=1000 * seconds)

    def runs(self) -> bool:
        """Whether the page offers to pause."""
        return "Pause" in self.page.locator("#run").inner_text()

    def until(self, true: Callable[[], Any], seconds: float = _SECONDS) -> Any:
        """Wait for anything."""
        end = time.monotonic() + seconds
        while not (value := true()):
            assert time.monotonic() < end, "it never came"
            self.page.wait_for_timeout(20)
        return value


class Watched:
    """A browser's tab that notes what it asks for and what goes wrong in it."""

    def __init__(self, browser: Any, **options: Any) -> None:
        options.setdefault("viewport", {"width": 1280, "height": 800})
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(1000 * _SECONDS)
        self.page = self.context.new_page()
        self.hosts: set[str | None] = set()
        self.wrong: list[str] = []
        self.context.on("request", lambda asked: self.hosts.add(urlsplit(asked.url).hostname))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("websocket", lambda line: self.hosts.add(urlsplit(line.url).hostname))

    def close(self) -> None:
        """Leave; raises AssertionError where anything left the machine, or failed."""
        self.context.close()
        assert self.hosts - {None} <= {"127.0.0.1"}, f"asked {self.hosts}"
        assert not self.wrong, self.wrong


def write_scene(folder: Path, times: int = 1) -> Path:
    """Two discs that drift over a patterned ground, as PNGs 0.png and so on; times: enlarged."""
    folder.mkdir(parents=True)
    for index in range(FRAMES):
        image = cv2.resize(scene(index)[0], None, fx=times, fy=times)
        cv2.imwrite(str(folder / f"{index}.png"), image)
    return folder


def scene(index: int) -> tuple[np.ndarray, np.ndarray]:
    """A frame, uint8 [H, W, 3] BGR, and its true labels."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    ground = 90 + 25 * np.sin(columns / 7) + 20 * np.cos(rows / 5)
    image = np.repeat(ground[..., None], 3, axis=2)
    labels = np.zeros(SIZE, np.uint8)
    for number, (x, y, colour) in enumerate(discs(index), start=1):
        inside = (columns - x) ** 2 + (rows - y) ** 2 <= 18**2
        shade = 0.85 + 0.15 * np.cos((columns + rows) / 4)
        image[inside] = (np.array(colour) * shade[..., None])[inside]
        labels[inside] = number
    return image.clip(0, 255).astype(np.uint8), labels


def discs(index: int) -> tuple[tuple[int, int, tuple[int, int, int]], ...]:
    """Centres and colours of both."""
    return (32 + index, 34, (40, 40, 220)), (92 - index, 62, (60, 200, 230))
