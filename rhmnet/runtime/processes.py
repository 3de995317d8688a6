"""One process or many: how they meet (torchrun, the older launcher; gloo on CPU, NCCL on CUDA),
their device, and their random generators.
"""

from __future__ import annotations

import os
import random
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from rhmnet.errors import InputError, Range, short

SECONDS_TO_MEET = 300.0
"""How long a process waits for the others to start."""
_PATIENCE = timedelta(hours=12)
"""How long processes wait for the main one, which may be validating."""
MOST_PROCESSES = 65536
_TORCHRUN = "start it with torchrun, or unset WORLD_SIZE to run alone"


class Processes(NamedTuple):
    """This process among all of a run."""

    rank: int
    size: int
    device: torch.device
    control: dist.ProcessGroup | None
    """gloo group for small messages between CPUs, which never make a GPU wait; None if alone."""

    @property
    def is_main(self) -> bool:
        """True in the one process that writes files and talks."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Sum of a CPU tensor over all processes, on all of them."""
        if self.control is not None:
            dist.all_reduce(values, group=self.control)
        return values

    def mean(self, values: Tensor) -> Tensor:
        """Mean of a tensor over all processes, on its device, which need not be waited for."""
        if self.size > 1:
            dist.all_reduce(values)
        return values / self.size

    def any(self, flag: bool) -> bool:
        """True if the flag is set in some process."""
        return self.sum(torch.tensor(int(flag))).item() > 0

    def gather(self, value: Any) -> list[Any]:
        """Every process's value in order of rank, on the main process; [] on the others."""
        if self.control is None:
            return [value]
        values = [None] * self.size if self.is_main else None
        dist.gather_object(value, values, dst=0, group=self.control)
        return values or []

    def broadcast(self, value: Any) -> Any:
        """The main process's value, on all of them."""
        values = [value]
        if self.control is not None:
            dist.broadcast_object_list(values, src=0, group=self.control)
        return values[0]

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """What is inside, the main process does before the others."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()

    def wait(self) -> None:
        """Return when all processes have come here."""
        self.any(False)


@contextmanager
def join_processes(device: str = "auto") -> Iterator[Processes]:
    """Join the processes that a launcher started; without one, run alone.

    device: auto, cpu, mps, cuda or cuda:N; under a launcher, cuda means this process's own GPU.
    Raises InputError for a device that is not there, and what `read_launcher` and `meet` raise.
    """
    launcher = read_launcher()
    chosen = choose_device(device, launcher.local_rank)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if launcher.size == 1:
        yield Processes(0, 1, chosen, None)
        return
    meet(launcher, "nccl" if chosen.type == "cuda" else "gloo", _PATIENCE)
    control = dist.new_group(backend="gloo", timeout=_PATIENCE)
    try:
        yield Processes(launcher.rank, launcher.size, chosen, control)
    except RuntimeError as error:
        if not _another_process_ended(error):
            raise
        # Leave the first word to the process that failed: the launcher ends this one meanwhile.
        print(f"process {dist.get_rank()}: stops, because another process ended", file=sys.stderr)
        time.sleep(5)
        os._exit(1)
    dist.destroy_process_group()


def choose_device(device: str, local_rank: int = 0) -> torch.device:
    """A device by name; `auto` takes CUDA, then MPS, then the CPU."""
    if device == "auto":
        cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
        device = "cuda" if cuda else "mps" if mps else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise InputError(f"--device {device}: expected auto, cpu, cuda, cuda:N or mps") from None
    if chosen.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"--device {device}: expected auto, cpu, cuda, cuda:N or mps")
    if chosen.type == "cuda":
        index = local_rank if chosen.index is None else chosen.index
        count = torch.cuda.device_count()
        if index >= count:
            raise InputError(f"--device {device}: GPU {index} is wanted and there are {count}")
        return torch.device("cuda", index)
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("--device mps: there is none; use --device cpu")
    return chosen


def parallel(module: nn.Module, processes: Processes) -> nn.Module:
    """Average the gradients of all processes during backward; the module itself if alone."""
    if processes.size == 1:
        return module
    averaging = DistributedDataParallel(module, gradient_as_bucket_view=True)
    if processes.device.type == "cpu":
        averaging.register_comm_hook(None, _mean_in_order_of_rank)
    return averaging


def _mean_in_order_of_rank(_, bucket):
    """Mean of a GradBucket over all processes, each element summed from rank 0 upwards: a Future.

    Without annotations, because DDP refuses those that are strings, as they are in this file.
    gloo's own sum begins at a rank that depends on where in the bucket an element lies, and DDP
    arranges its buckets anew after the first step. So a run that was resumed would round otherwise
    than one that was not, from 3 processes on.
    """
    own = bucket.buffer()
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]

    def mean(_: torch.futures.Future) -> Tensor:
        for part in parts[1:]:
            parts[0] += part
        return parts[0].div_(len(parts))

    return dist.all_gather(parts, own, async_op=True).get_future().then(mean)


def _another_process_ended(error: RuntimeError) -> bool:
    text = str(error)
    return any(word in text for word in ("Connection closed by peer", "Connection reset by peer"))


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


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def get_random_state() -> dict[str, Any]:
    """The state of every generator, as tensors and plain values (so that it loads safely)."""
    _, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put back what `get_random_state` read; a device that is not there now is passed over."""
    version, keys, gauss = state["python"]
    random.setstate((version, tuple(keys), gauss))
    keys, *rest = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    if state["mps"] is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])


def is_random_state(state: Any) -> bool:
    """Whether `set_random_state` takes it: tried on generators that nobody draws from."""
    try:
        version, keys, gauss = state["python"]
        random.Random().setstate((version, tuple(keys), gauss))
        keys, *rest = state["numpy"]
        np.random.RandomState().set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))
        torch.Generator().set_state(state["torch"])
        return all(state[d] is None or state[d].dtype == torch.uint8 for d in ("cuda", "mps"))
    except Exception:  # each generator has its own way to refuse a state
        return False


@contextmanager
def untouched_random_state() -> Iterator[None]:
    """Whatever draws random numbers inside leaves no trace outside."""
    state = get_random_state()
    try:
        yield
    finally:
        set_random_state(state)
