#!/usr/bin/env python
"""Score folders of masks on DAVIS like the official package: J, F, recall, decay.

The same as `rhmnet score`; --help tells.
"""

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

from rhmnet.evaluation.report import main
from rhmnet.runtime import run_command

if __name__ == "__main__":
    run_command(lambda: main(prog="python scripts/score.py"))
