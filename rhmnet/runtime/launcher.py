"""What a launcher says in the environment, and how its processes meet."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from rhmnet.bounds import Range, short
from rhmnet.errors import InputError

SECONDS_TO_MEET = 300.0
"""How long a process waits for the others to start."""
MOST_PROCESSES = 65536
_TORCHRUN = "start it with torchrun, or unset WORLD_SIZE to run alone"


class Launcher(NamedTuple):
    """This process among those that were started together."""

    rank: int
    size: int
    local_rank: int
    """Number among the processes of this machine."""


def read_launcher(environment: Mapping[str, str] | None = None) -> Launcher:
    """What the variables say; without them, or with WORLD_SIZE=1, this process alone.

    Empty means not set. Raises InputError that names what is missing or wrong.
    """
    given = {k: v for k, v in (environment or os.environ).items() if v.strip()}
    size = _number(given, "WORLD_SIZE", 1, MOST_PROCESSES) if "WORLD_SIZE" in given else 1
    if size == 1:
        most = 0 if "WORLD_SIZE" in given else MOST_PROCESSES  # what a shell was left with
        for name in ("RANK", "LOCAL_RANK"):
            if name in given:
                _number(given, name, 0, most)
        return Launcher(0, 1, 0)
    wanted = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in wanted if name not in given]
    if missing:
        raise InputError(f"WORLD_SIZE={size} without {', '.join(missing)}; {_TORCHRUN}")
    rank = _number(given, "RANK", 0, size - 1)
    local_rank = _number(given, "LOCAL_RANK", 0, size - 1)
    port = _number(given, "MASTER_PORT", 1, 65535)
    try:
        socket.getaddrinfo(given["MASTER_ADDR"], port)
    except (OSError, UnicodeError):
        raise InputError(
            f"MASTER_ADDR={short(given['MASTER_ADDR'])}: no such machine is known; expected the "
            "name or address of the first one"
        ) from None
    return Launcher(rank, size, local_rank)


def meet(launcher: Launcher, backend: str, patience: timedelta) -> None:
    """Join the group of all processes; those that follow wait up to `patience` for each other.

    Raises InputError where they do not come together within SECONDS_TO_MEET.
    """
    place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    try:
        store, _, _ = next(rendezvous("env://", timeout=timedelta(seconds=SECONDS_TO_MEET)))
    except (dist.DistNetworkError, dist.DistStoreError) as error:
        if "EADDRINUSE" in str(error) or "in use" in str(error):
            raise InputError(
                f"port {place} is taken, by another run perhaps; use torchrun --standalone, or "
                "another --master_port"
            ) from None
        raise InputError(
            f"process {launcher.rank} of {launcher.size} waited {SECONDS_TO_MEET:.0f} s at "
            f"{place}, and not all came; start as many as WORLD_SIZE says, with the same "
            "MASTER_ADDR and MASTER_PORT"
        ) from None
    store.set_timeout(patience)
    dist.init_process_group(
        backend,
        store=dist.PrefixStore("default_pg", store),
        rank=launcher.rank,
        world_size=launcher.size,
        timeout=patience,
    )


def _number(given: Mapping[str, str], name: str, least: int, most: int) -> int:
    bounds = Range(least, most)
    text = given[name].strip()
    if not (text.isascii() and text.isdigit() and len(text) < 10 and bounds.holds(int(text))):
        raise InputError(f"{name}={short(given[name])}: expected {bounds}; {_TORCHRUN}")
    return int(text)
