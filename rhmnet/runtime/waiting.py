"""Threads that wait asleep. Commands import this before anything else; nothing else does.

PyTorch's threads by default spin for some milliseconds whenever they wait for each other. On a
machine that does something else too, they spin while those that they wait for cannot run. OpenMP
reads how to wait when it is loaded, which `import torch` does: so this must come before.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

_CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Of the environment, any of which says how to wait: OpenMP's own, GNU's and LLVM's."""


def wait_asleep(environment: MutableMapping[str, str]) -> None:
    """Let OpenMP's threads sleep where they wait, unless the user chose something."""
    if not any(name in environment for name in _CHOICES):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"


wait_asleep(os.environ)
