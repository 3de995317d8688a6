#!/usr/bin/env python
"""The canvas: draw strokes on a video in a browser, get masks of all frames, correct, export.

The same as `rhmnet canvas`; --help tells.
"""

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

from rhmnet.runtime import run_command
from rhmnet.tools.canvas import main

if __name__ == "__main__":
    run_command(lambda: main(prog="python scripts/canvas.py"))
