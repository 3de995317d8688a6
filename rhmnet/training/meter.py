"""Running means of the losses, kept on the device and read only where the run logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rhmnet.runtime.processes import Processes
from rhmnet.structures import REDRAW_REASONS


class Meter:
    """Means of the loss terms since the last reading; redraws by reason since the epoch began.

    A part of the resume state, so that a run that was killed logs the same lines.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._sums: Tensor | None = None
        self._count = 0
        self._redraws = torch.zeros(len(REDRAW_REASONS), dtype=torch.int64)

    def add(self, terms: Mapping[str, Tensor], redraws: Tensor) -> None:
        """Take in one forward pass. terms: scalars; redraws: int64 [B, R], on the CPU."""
        values = torch.stack([term.detach() for term in terms.values()])
        self._sums = values if self._sums is None else self._sums.to(values.device) + values
        self._names = list(terms)
        self._count += 1
        self._redraws += redraws.sum(dim=0)

    def read(self, processes: Processes) -> dict[str, float]:
        """Mean of each term over all processes (call it on all), then begin anew."""
        sums = processes.sum((self._sums / self._count).cpu()) / processes.size
        self._sums, self._count = None, 0
        return dict(zip(self._names, sums.tolist(), strict=True))

    def redraws(self, processes: Processes) -> dict[str, int]:
        """Redraws of this epoch by reason, over all processes (call it on all)."""
        counts = processes.sum(self._redraws.clone())
        return dict(zip(REDRAW_REASONS, counts.tolist(), strict=True))

    def begin_epoch(self) -> None:
        """Count redraws from zero."""
        self._redraws.zero_()

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        sums = None if self._sums is None else self._sums.cpu()
        return {
            "names": self._names,
            "sums": sums,
            "count": self._count,
            "redraws": self._redraws.clone(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._names, self._sums = list(state["names"]), state["sums"]
        self._count, self._redraws = state["count"], state["redraws"].clone()
