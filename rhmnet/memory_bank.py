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


class ReadMemory(NamedTuple):
    """What a step reads, in two parts that attention treats as one."""

    own: MemoryEntry
    """Tokens of each object."""
    common: MemoryEntry | None = None
    """Tokens that are the same for all objects, [1, heads, M, C / heads]; None: not told apart."""


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

    def read(self, current: MemoryEntry | None = None) -> ReadMemory:
        """All entries as one. current: of this frame's previous step, where `reads_current`."""
        entries = self._entries if current is None else [*self._entries, current]
        return ReadMemory(entries[0] if len(entries) == 1 else _join(entries))


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

    def read(self, current: MemoryEntry | None = None) -> ReadMemory:
        """All entries as one. current: of this frame's previous step, where `reads_current`."""
        first = self._initial
        if current is not None:
            first = self._initial - 1
            self._write(first, current)
        if self._has_last:
            first = 0
        rows = slice(first * self._tokens, self._end * self._tokens)
        return ReadMemory(MemoryEntry(*(buffer[:, :, rows] for buffer in self._buffers)))

    @property
    def _end(self) -> int:
        """The first slot that was never used."""
        return self._initial + 1 + self._corrections + sum(map(len, self._ages.values()))

    def _write(self, slot: int, entry: MemoryEntry) -> None:
        for new, buffer in zip(entry, self._buffers, strict=True):
            self._slot(buffer, slot).copy_(new)

    def _slot(self, buffer: Tensor, slot: int) -> Tensor:
        return buffer[:, :, slot * self._tokens : (slot + 1) * self._tokens]


class SharedStepMemory:
    """As `BoundedStepMemory`, for a step whose objects all ask the same: the first, in tracking.

    Where no object is marked, a token is the same for all of them, and most of the first step's
    tokens are such. They are kept once, and attention reads them once, whatever the number of
    objects.
    """

    reads_current = False

    def __init__(self, initial: MemoryEntry, max_length: int) -> None:
        self._max_length = max_length
        self._initial = [_tell_apart(initial)]  # then corrections
        self._stored: list[ReadMemory] = []  # the oldest first
        self._last: list[ReadMemory] = []

    def store(self, level: ReliabilityLevel, entry: MemoryEntry) -> None:
        """Keep an entry; beyond the limit the second-oldest goes, the first frame's stays."""
        self._stored.append(_tell_apart(entry))
        if len(self._stored) > self._max_length:
            self._stored.pop(1)

    def replace_last(self, entry: MemoryEntry) -> None:
        """Put a frame in place of the last frame's entry."""
        self._last = [_tell_apart(entry)]

    def replace_initial(self, entry: MemoryEntry, objects: Tensor) -> None:
        """Put another initial memory in place for some objects alone. objects: bool [O]."""
        old, choose = _together(self._initial[0]), objects[:, None, None, None]
        mixed = (torch.where(choose, new, x) for new, x in zip(entry, old, strict=True))
        self._initial[0] = _tell_apart(MemoryEntry(*mixed))

    def add_initial(self, entry: MemoryEntry) -> None:
        """Let a correction join the initial scribble, for good."""
        self._initial.append(_tell_apart(entry))

    def read(self) -> ReadMemory:
        """All entries as one."""
        entries = [*self._initial, *self._stored, *self._last]
        return ReadMemory(_join([e.own for e in entries]), _join([e.common for e in entries]))


def _join(entries: list[MemoryEntry]) -> MemoryEntry:
    return MemoryEntry(*(torch.cat(parts, dim=2) for parts in zip(*entries, strict=True)))


def _tell_apart(entry: MemoryEntry) -> ReadMemory:
    """Split an entry's tokens into those that differ between objects and those that do not."""
    differ = torch.stack([(x[1:] != x[:1]).flatten(0, 1).any(-1).any(0) for x in entry]).any(0)
    own, common = differ.nonzero()[:, 0], (~differ).nonzero()[:, 0]
    return ReadMemory(
        MemoryEntry(*(x.index_select(2, own) for x in entry)),
        MemoryEntry(*(x[:1].index_select(2, common) for x in entry)),
    )


def _together(memory: ReadMemory) -> MemoryEntry:
    """All tokens for each object, in another order than they came: attention does not care."""
    objects = len(memory.own.key)
    common = MemoryEntry(*(x.expand(objects, -1, -1, -1) for x in memory.common))
    return _join([memory.own, common])


class MemoryBank:
    """One memory per expanding step: 0 the reliable region, 1.. the entire target.

    max_length: None for training, which keeps every frame with its gradients.
    mask_levels: levels that the entire-target steps store.
    share: keep once what the first step's objects have in common; for B = 1 in tracking.
    """

    def __init__(
        self,
        initial: list[MemoryEntry],
        max_length: int | None = None,
        mask_levels: int = 1,
        share: bool = False,
    ) -> None:
        if max_length is None:
            self.steps = [StepMemory(entry) for entry in initial]
        else:
            self.steps = [
                BoundedStepMemory(entry, max_length, mask_levels if step else 1, step > 0)
                for step, entry in enumerate(initial)
            ]
            if share:
                self.steps[0] = SharedStepMemory(initial[0], max_length)

    def __getitem__(self, step: int) -> StepMemory | BoundedStepMemory | SharedStepMemory:
        return self.steps[step]


STATE_CLASSES = [
    *(MemoryBank, BoundedStepMemory, SharedStepMemory, MemoryEntry, ReadMemory, ReliabilityLevel)
]
"""What a tracker's snapshot is made of besides tensors: for `torch.load` to take it safely."""
