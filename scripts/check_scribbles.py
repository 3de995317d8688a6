#!/usr/bin/env python
"""Check scribbles, file by file: what is wrong, how to mend it, what there is.

The same as `rhmnet scribbles check`; --help tells.
"""

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

from rhmnet.runtime import run_command
from rhmnet.tools.scribbles.check import main

if __name__ == "__main__":
    run_command(lambda: main(prog="python scripts/check_scribbles.py"))
