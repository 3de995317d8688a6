"""The reliability-hierarchical memory bank: keys and values that expanding steps may read.

A plain class without weights. What it holds is already projected, written once and never changed.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor


class ReliabilityLevel(IntEnum):
    """Reliability of a memory, high to low; further entire-target steps follow at 3, 4, ..."""

    INITIAL = 0
    RELIABLE = 1
    ENTIRE = 2


class MemoryEntry(NamedTuple):
    """One frame's memory, projected for the step that reads it."""

    key: Tensor
    """[B * O, heads, N, C / heads]."""
    value: Tensor
    """[B * O, heads, N, C / heads]."""


class StepMemory:
    """What one expanding step may read (specification, section 3).

    max_length: stored entries kept per level; None keeps all, as training does.
    """

    def __init__(self, initial: MemoryEntry, max_length: int | None) -> None:
        self.initial = initial
        self.stored: dict[int, list[MemoryEntry]] = {}
        self.last: MemoryEntry | None = None
        self._max_length = max_length

    def store(self, level: ReliabilityLevel, entry: MemoryEntry) -> None:
        """Keep an entry; beyond the limit the second-oldest goes, the first frame's stays."""
        entries = self.stored.setdefault(level, [])
        entries.append(entry)
        if self._max_length is not None and len(entries) > self._max_length:
            entries.pop(1)

    def replace_initial(self, entry: MemoryEntry, objects: Tensor) -> None:
        """Put another initial memory in place for some objects alone. objects: bool [B * O]."""
        choose = objects[:, None, None, None]
        self.initial = MemoryEntry(
            *(torch.where(choose, new, old) for new, old in zip(entry, self.initial, strict=True))
        )

    @property
    def reads_current(self) -> bool:
        """Whether this frame's previous step is read too: once an entire target is stored."""
        return ReliabilityLevel.ENTIRE in self.stored

    def read(self, current: MemoryEntry | None = None) -> MemoryEntry:
        """All entries as one, from the most to the least reliable.

        current: the entry of this frame's previous step, where `reads_current`.
        """
        entries = [self.initial]
        for level in sorted(self.stored):
            entries += self.stored[level]
        if current is not None:
            entries.append(current)
        if self.last is not None:
            entries.append(self.last)
        if len(entries) == 1:
            return self.initial
        return MemoryEntry(*(torch.cat(parts, dim=2) for parts in zip(*entries, strict=True)))


class MemoryBank:
    """One `StepMemory` per expanding step: 0 the reliable region, 1.. the entire target."""

    def __init__(self, initial: list[MemoryEntry], max_length: int | None = None) -> None:
        self.steps = [StepMemory(entry, max_length) for entry in initial]

    def __getitem__(self, step: int) -> StepMemory:
        return self.steps[step]
