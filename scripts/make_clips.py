#!/usr/bin/env python
"""Make training clips of stills with masks: for those who have no videos to scribble on.

--help tells.
"""

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

from rhmnet.runtime import run_command
from rhmnet.tools.clips import main

if __name__ == "__main__":
    run_command(lambda: main(prog="python scripts/make_clips.py"))
