"""The reliability-hierarchical memory bank (docs/method.md, section 3): what may be read, and when.

    highest   the initial scribble, and corrections
              the reliable regions predicted in earlier frames
    lowest    the entire targets predicted in earlier frames

Plain classes without weights. What they hold is already projected, written once and never changed.
"""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

from rhmnet.structures import MemoryEntry


class ReliabilityLevel(IntEnum):
    """Reliability of a memory, high to low; further entire-target steps follow at 3, 4, ..."""

    INITIAL = 0
    RELIABLE = 1
    ENTIRE = 2


class StepMemory:
    """What one expanding step may read, level by level, each with its oldest entry first.

    max_length: stored frames a level; None keeps every frame, as training does.
    """

    def __init__(self, initial: MemoryEntry, max_length: int | None = None) -> None:
        self.max_length = max_length
        self.levels: dict[ReliabilityLevel, list[MemoryEntry]] = {
            ReliabilityLevel.INITIAL: [initial],
            ReliabilityLevel.RELIABLE: [],
            ReliabilityLevel.ENTIRE: [],
        }
        self.last: MemoryEntry | None = None
        """The last frame's entry, where that is read although it is not stored."""

    @property
    def reads_current(self) -> bool:
        """Whether this frame's previous step is read too: once an entire target is stored."""
        return bool(self.levels[ReliabilityLevel.ENTIRE])

    def read(self, current: MemoryEntry | None = None) -> MemoryEntry:
        """All entries as one. current: of this frame's previous step, where `reads_current`."""
        entries = [entry for level in ReliabilityLevel for entry in self.levels[level]]
        entries += [entry for entry in (current, self.last) if entry is not None]
        return entries[0] if len(entries) == 1 else join_tokens(entries)

    def store(self, level: ReliabilityLevel, entry: MemoryEntry) -> None:
        """Keep an entry; beyond the limit the second-oldest goes, the first frame's stays."""
        stored = self.levels[level]
        stored.append(entry)
        if self.max_length is not None and len(stored) > self.max_length:
            del stored[1]

    def replace_last(self, entry: MemoryEntry) -> None:
        """Put a frame in place of the last frame's entry."""
        self.last = entry

    def replace_initial(self, entry: MemoryEntry, objects: Tensor) -> None:
        """Put another initial memory in place for some objects alone. objects: bool [B * O]."""
        initial = self.levels[ReliabilityLevel.INITIAL]
        initial[0] = choose_rows(objects, entry, initial[0])

    def add_initial(self, entry: MemoryEntry) -> None:
        """Let a correction join the initial scribble, for good."""
        self.levels[ReliabilityLevel.INITIAL].append(entry)

    def take_rows(self, rows: list[int]) -> None:
        """Let the memory of these objects, which may be named more than once, be all of it."""
        for entries in self.levels.values():
            entries[:] = [take_rows(entry, rows) for entry in entries]
        if self.last is not None:
            self.last = take_rows(self.last, rows)

    def fits(self, rows: int, tokens: int) -> bool:
        """Whether all of it is of so many objects, and tokens a frame."""
        entries = [entry for level in ReliabilityLevel for entry in self.levels[level]]
        entries += [] if self.last is None else [self.last]
        return all(entry.key.shape[2] == tokens and is_entry(entry, rows) for entry in entries)


class MemoryBank:
    """The memory of a clip or video, one `StepMemory` per expanding step.

    Step 0, the reliable region, stores reliable regions alone; steps 1.., the entire target, store
    entire targets (and with `model.scribble_memory_for_mask` reliable regions too).
    initial: the initial scribble's entry for each step. max_length: as `StepMemory` takes it.
    """

    def __init__(self, initial: list[MemoryEntry], max_length: int | None = None) -> None:
        self.steps = [StepMemory(entry, max_length) for entry in initial]

    def __getitem__(self, step: int) -> StepMemory:
        return self.steps[step]


def join_tokens(entries: list[MemoryEntry]) -> MemoryEntry:
    """The tokens of all entries, one after another."""
    return MemoryEntry(*(torch.cat(parts, dim=2) for parts in zip(*entries, strict=True)))


def choose_rows(objects: Tensor, new: MemoryEntry, old: MemoryEntry) -> MemoryEntry:
    """The new entry for some objects, the old one for the others. objects: bool [B * O]."""
    chosen = objects[:, None, None, None]
    return MemoryEntry(*(torch.where(chosen, *both) for both in zip(new, old, strict=True)))


def take_rows(entry: MemoryEntry, rows: list[int]) -> MemoryEntry:
    """The entry of these objects, in this order."""
    return MemoryEntry(*(x[rows] for x in entry))


def is_entry(entry: MemoryEntry, rows: int) -> bool:
    """Whether key and value are of one shape and kind, of so many objects."""
    key, value = ((x.shape, x.dtype, x.device, x.layout) for x in entry)
    return key == value and key[0][0] == rows
