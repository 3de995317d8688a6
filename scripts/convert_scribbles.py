#!/usr/bin/env python
"""Convert scribbles, a file or a folder of them: label maps, DAVIS interactive JSON, labelme, SVG.

The same as `rhmnet scribbles convert`; --help tells.
"""

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

from rhmnet.runtime import run_command
from rhmnet.tools.scribbles.convert import main

if __name__ == "__main__":
    run_command(lambda: main(prog="python scripts/convert_scribbles.py"))
