"""One process or many: torchrun, the older launcher, gloo on CPU and NCCL on CUDA."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rhmnet.errors import InputError
from rhmnet.runtime.launcher import meet, read_launcher

_PATIENCE = timedelta(hours=12)
"""How long processes wait for the main one, which may be validating."""


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
