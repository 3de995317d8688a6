"""Stop at a loss that is not finite, without waiting for the device on every step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from rhmnet.errors import InputError
from rhmnet.files.writing import write_torch
from rhmnet.structures import Clip


class _Look(NamedTuple):
    clip: Clip
    terms: Mapping[str, Tensor]
    iteration: int
    finite: Tensor
    """bool scalar on the CPU, valid once `copied` has happened."""
    copied: torch.cuda.Event | None


class FiniteWatch:
    """Looks at each total loss, on CUDA one step late: by then the answer has long been copied.

    Whoever writes weights calls `settle` first, so that none are written from a bad step on.
    """

    def __init__(self, dump_folder: Path, rank: int) -> None:
        self._folder, self._rank = dump_folder, rank
        self._pending: _Look | None = None

    def look(self, clip: Clip, terms: Mapping[str, Tensor], iteration: int) -> None:
        """Take note of a step's losses, and judge those of the step before.

        Raises InputError with the names of the losses at fault, once their batch is saved.
        """
        finite, copied = terms["total"].detach().isfinite(), None
        if finite.is_cuda:
            on_cpu = torch.empty((), dtype=torch.bool, pin_memory=True)
            on_cpu.copy_(finite, non_blocking=True)
            finite, copied = on_cpu, torch.cuda.Event()
            copied.record()
        self.settle()
        terms = {name: term.detach() for name, term in terms.items()}
        self._pending = _Look(clip, terms, iteration, finite, copied)
        if copied is None:
            self.settle()

    def settle(self) -> None:
        """Judge what has not been judged yet."""
        look, self._pending = self._pending, None
        if look is None:
            return
        if look.copied is not None:
            look.copied.synchronize()
        if not look.finite:
            self._stop(look)

    def _stop(self, look: _Look) -> None:
        losses = {name: term.item() for name, term in look.terms.items()}
        path = self._folder / f"not_finite_{look.iteration}_process_{self._rank}.pth"
        clip = {name: value.cpu() for name, value in look.clip._asdict().items()}
        where = f"its batch lies in {path}"
        try:
            write_torch(path, {"clip": clip, "losses": losses, "iteration": look.iteration})
        except InputError as error:
            where = f"its batch could not be saved ({error})"
        values = ", ".join(f"{name} {value:g}" for name, value in losses.items())
        raise InputError(
            f"iteration {look.iteration}: the loss is not finite ({values}); {where}, "
            "no state was written since: try a lower train.lr or train.precision=float32, then go "
            "on with --resume auto"
        )
