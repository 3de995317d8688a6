#!/usr/bin/env python
"""docs/canvas.png: the canvas with the demo clip, its strokes brought in and all masks computed.

python scripts/canvas_picture.py                  # needs Chromium and pip install playwright
python scripts/canvas_picture.py --dark --out dark.png
"""

from __future__ import annotations

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from rhmnet.errors import InputError, say
from rhmnet.files.writing import write_picture
from rhmnet.runtime import CommandParser, run_command, whole

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "docs" / "demo"
STROKED, SHOWN = 62, 72
NAMES = {1: "right bottle", 2: "second bottle", 3: "arm"}
COLOURS = 256
"""Of the picture: so many keep it small and look alike."""


def main() -> None:
    """Make the picture."""
    args = parse()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        raise InputError("no Chromium: apt-get install chromium, or name one: CHROMIUM=/path/to/it")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "rhmnet", "canvas", "--demo", "--no-browser", "--port"]
        command += ["0", "--project", str(args.project or folder)]
        server = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE)
        try:
            link = next(
                found[0] for line in server.stdout if (found := re.search(r"http:\S+", line))
            )
            data = photograph(chromium, link, args)
        finally:
            server.terminate()
            server.communicate()
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    write_picture(args.out, picture.quantize(COLOURS), "PNG", optimize=True)
    say(f"wrote {args.out}: {args.out.stat().st_size // 1000} kB")


def photograph(chromium: str, link: str, args: argparse.Namespace) -> bytes:
    """Bring the clip's strokes in, run, and look at a later frame."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": args.width, "height": args.height},
            color_scheme="dark" if args.dark else "light",
        )
        page.set_default_timeout(1000 * 1200)
        page.goto(link)
        go_to(page, STROKED)
        if page.locator("#undo").is_disabled():  # a new project
            draw(page)
            page.locator("#run").click()
        page.get_by_text("120 of 120 frames done").wait_for()
        page.locator("#stage").focus()
        go_to(page, args.frame)
        page.locator("#stage").focus()
        page.keyboard.press("2")
        page.locator("#stage[data-mask=done]").wait_for()
        page.mouse.move(620, 220)
        page.wait_for_timeout(1000)
        data = page.screenshot()
        browser.close()
    return data


def draw(page) -> None:
    """Bring strokes in, and name their objects."""
    page.locator("#import-panel summary").click()
    page.locator("#import").set_input_files(DEMO / "strokes" / f"{STROKED}.png")
    page.locator("#notice-close").click()
    page.locator("#import-panel summary").click()
    for number, name in NAMES.items():
        page.get_by_label(f"Name of object {number}").fill(name)
        page.get_by_label(f"Name of object {number}").press("Enter")
        page.locator("#saved.safe").wait_for()


def go_to(page, frame: int) -> None:
    """Show a frame."""
    page.locator("#number").fill(str(frame))
    page.locator("#number").press("Enter")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = CommandParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, default=ROOT / "docs" / "canvas.png", help="default docs/canvas.png")
    add("--width", type=whole(320, 7680), default=1280, help="of the window, pixels (default 1280)")
    add("--height", type=whole(320, 4320), default=800, help="likewise (default 800)")
    add("--frame", type=whole(0, 119), default=SHOWN, help=f"to look at (default {SHOWN})")
    add("--project", type=Path, metavar="DIR", help="to keep what is computed for a next picture")
    add("--dark", action="store_true", help="as with the system's dark colours")
    return parser.parse_args()


if __name__ == "__main__":
    run_command(main)
