#!/usr/bin/env python
"""Segment your own video: strokes on one frame or several give masks of all frames.

The same as `rhmnet segment`; --help tells.
"""

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

from rhmnet.runtime import run_command
from rhmnet.tools.segment.segment_command import main

if __name__ == "__main__":
    run_command(lambda: main(prog="python scripts/segment.py"))
