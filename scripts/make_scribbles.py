#!/usr/bin/env python
"""Make scribbles from masks: COCO instances, DAVIS or YouTube-VOS annotations, any label maps.

The same as `rhmnet scribbles make`; --help tells.
"""

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

from rhmnet.runtime import run_command
from rhmnet.tools.scribbles.make import main

if __name__ == "__main__":
    run_command(lambda: main(prog="python scripts/make_scribbles.py"))
