"""The reliability-hierarchical memory bank: keys and values that expanding steps may read.

Plain classes without weights. What they hold is already projected, written once and never changed.
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
    """What one expanding step may read in training: everything, with its gradients."""

    def __init__(self, initial: MemoryEntry) -> None:
        self._entries = [initial]
        self._stores_entire = False

    def store(self, level: ReliabilityLevel, entry: MemoryEntry) -> None:
        """Keep a frame's entry."""
        self._entries.append(entry)
        self._stores_entire |= level is ReliabilityLevel.ENTIRE

    @property
    def reads_current(self) -> bool:
        """Whether this frame's previous step is read too: once an entire target is stored."""
        return self._stores_entire

    def read(self, current: MemoryEntry | None = None) -> MemoryEntry:
        """All entries as one. current: of this frame's previous step, where `reads_current`."""
        entries = self._entries if current is None else [*self._entries, current]
        if len(entries) == 1:
            return entries[0]
        return MemoryEntry(*(torch.cat(parts, dim=2) for parts in zip(*entries, strict=True)))


class BoundedStepMemory:
    """What one expanding step may read in tracking (specification, section 3).

    Entries lie in slots of one buffer that is made once, so that a frame reads a view of it:

        last frame | current frame (not in step 0) | initial | stored, as they came

    Attention does not care for the order, and the slots in use are always neighbours: an entry of
    the last frame is kept only once another frame is stored, and from then on the current frame's
    is read too.

    max_length: stored entries kept per level. levels: how many levels are stored here.
    has_current: whether the step reads the current frame's previous step.
    """

    def __init__(
        self, initial: MemoryEntry, max_length: int, levels: int, has_current: bool
    ) -> None:
        self._tokens = initial.key.shape[2]
        self._max_length = max_length
        self._initial = 2 if has_current else 1
        slots = self._initial + 1 + max_length * levels
        objects, heads, _, depth = initial.key.shape
        self._buffers = MemoryEntry(
            *(x.new_empty(objects, heads, slots * self._tokens, depth) for x in initial)
        )
        self._ages: dict[ReliabilityLevel, list[int]] = {}  # stored slots, the oldest first
        self._corrections = 0
        self._has_last = False
        self._write(self._initial, initial)

    def store(self, level: ReliabilityLevel, entry: MemoryEntry) -> None:
        """Keep an entry; beyond the limit the second-oldest goes, the first frame's stays."""
        ages = self._ages.setdefault(level, [])
        if len(ages) < self._max_length:
            slot = self._end
        elif self._max_length == 1:  # the second-oldest is the new one itself
            return
        else:
            slot = ages.pop(1)
        ages.append(slot)
        self._write(slot, entry)

    def replace_last(self, entry: MemoryEntry) -> None:
        """Put a frame in place of the last frame's entry."""
        self._has_last = True
        self._write(0, entry)

    def replace_initial(self, entry: MemoryEntry, objects: Tensor) -> None:
        """Put another initial memory in place for some objects alone. objects: bool [B * O]."""
        choose = objects[:, None, None, None]
        for new, buffer in zip(entry, self._buffers, strict=True):
            old = self._slot(buffer, self._initial)
            old.copy_(torch.where(choose, new, old))

    def add_initial(self, entry: MemoryEntry) -> None:
        """Let a correction join the initial scribble, for good."""
        self._buffers = MemoryEntry(
            *(
                torch.cat([old, torch.empty_like(new)], 2)
                for old, new in zip(self._buffers, entry, strict=True)
            )
        )
        slot = self._end
        self._corrections += 1
        self._write(slot, entry)

    @property
    def reads_current(self) -> bool:
        """Whether this frame's previous step is read too: once an entire target is stored."""
        return ReliabilityLevel.ENTIRE in self._ages

    def read(self, current: MemoryEntry | None = None) -> MemoryEntry:
        """All entries as one. current: of this frame's previous step, where `reads_current`."""
        first = self._initial
        if current is not None:
            first = self._initial - 1
            self._write(first, current)
        if self._has_last:
            first = 0
        rows = slice(first * self._tokens, self._end * self._tokens)
        return MemoryEntry(*(buffer[:, :, rows] for buffer in self._buffers))

    @property
    def _end(self) -> int:
        """The first slot that was never used."""
        return self._initial + 1 + self._corrections + sum(map(len, self._ages.values()))

    def _write(self, slot: int, entry: MemoryEntry) -> None:
        for new, buffer in zip(entry, self._buffers, strict=True):
            self._slot(buffer, slot).copy_(new)

    def _slot(self, buffer: Tensor, slot: int) -> Tensor:
        return buffer[:, :, slot * self._tokens : (slot + 1) * self._tokens]


class MemoryBank:
    """One memory per expanding step: 0 the reliable region, 1.. the entire target.

    max_length: None for training, which keeps every frame with its gradients.
    mask_levels: levels that the entire-target steps store.
    """

    def __init__(
        self, initial: list[MemoryEntry], max_length: int | None = None, mask_levels: int = 1
    ) -> None:
        if max_length is None:
            self.steps = [StepMemory(entry) for entry in initial]
        else:
            self.steps = [
                BoundedStepMemory(entry, max_length, mask_levels if step else 1, step > 0)
                for step, entry in enumerate(initial)
            ]

    def __getitem__(self, step: int) -> StepMemory | BoundedStepMemory:
        return self.steps[step]
