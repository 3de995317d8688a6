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


class CommonMemory(NamedTuple):
    """Tokens that are the same for all objects."""

    key: Tensor
    """[1, heads, M, C / heads]."""
    value: Tensor
    """[1, heads, M, C / heads]."""
    times: int = 1
    """How often the memory holds each of them."""


class ReadMemory(NamedTuple):
    """What a step reads, in parts that attention treats as one."""

    own: MemoryEntry
    """Tokens of each object."""
    common: tuple[CommonMemory, ...] = ()
    """Tokens of all objects; none where they are not told apart."""


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
    """What one expanding step may read in tracking (docs/method.md, section 3).

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

    def take_rows(self, rows: list[int]) -> None:
        """Let the memory of these objects, which may be named more than once, be all of it."""
        self._buffers = _take(self._buffers, rows)

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

    def fits(self, rows: int, tokens: int) -> bool:
        """Whether it is of so many objects, and tokens a frame, and its parts fit each other."""
        slots = [slot for stored in self._ages.values() for slot in stored]
        once = len({*slots}) == len(slots) and all(self._initial < s < self._end for s in slots)
        room = self._tokens == tokens and self._buffers.key.shape[2] >= self._end * tokens
        return once and room and _is_entry(self._buffers, rows)

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
    objects. The first frame is there twice, with its strokes and with its reliable region: tokens
    that neither marks are read once for both.
    """

    reads_current = False

    def __init__(self, initial: MemoryEntry, max_length: int) -> None:
        self._max_length = max_length
        self._first: MemoryEntry | None = initial  # in order, until its frame is stored too
        self._initial = [_split(initial)]  # then corrections
        self._nothing = _split(_pick(initial, slice(0)))
        self._twice = self._nothing
        self._stored: list[_Split] = []  # the oldest first
        self._last = self._nothing
        self._kept = self._initial[0]  # all but the last and what is there twice

    def store(self, level: ReliabilityLevel, entry: MemoryEntry) -> None:
        """Keep an entry; beyond the limit the second-oldest goes, the first frame's stays."""
        if self._first is not None:
            twice = _same(entry, self._first) & _same(entry, MemoryEntry(*(x[:1] for x in entry)))
            self._twice = _split(_pick(entry, twice))
            self._initial[0] = _split(_pick(self._first, ~twice))
            entry, self._first = _pick(entry, ~twice), None
        self._stored.append(_split(entry))
        if len(self._stored) > self._max_length:
            self._stored.pop(1)
        self._keep()

    def replace_last(self, entry: MemoryEntry) -> None:
        """Put a frame in place of the last frame's entry."""
        self._last = _split(entry)

    def replace_initial(self, entry: MemoryEntry, objects: Tensor) -> None:
        """Put another initial memory in place for some objects alone. objects: bool [O]."""
        old = _whole(_join_splits([self._initial[0], self._twice]))
        choose = objects[:, None, None, None]
        mixed = (torch.where(choose, new, x) for new, x in zip(entry, old, strict=True))
        self._initial[0] = _split(MemoryEntry(*mixed))
        if self._stored:
            self._stored[0] = _join_splits([self._stored[0], self._twice])
        self._first, self._twice = None, self._nothing
        self._keep()

    def add_initial(self, entry: MemoryEntry) -> None:
        """Let a correction join the initial scribble, for good."""
        self._initial.append(_split(entry))
        self._keep()

    def take_rows(self, rows: list[int]) -> None:
        """Let the memory of these objects, which may be named more than once, be all of it."""
        if self._first is not None:
            self._first = _take(self._first, rows)
        self._nothing, self._twice, self._last = (
            _take_of_split(split, rows) for split in (self._nothing, self._twice, self._last)
        )
        self._initial = [_take_of_split(split, rows) for split in self._initial]
        self._stored = [_take_of_split(split, rows) for split in self._stored]
        self._keep()

    def read(self) -> ReadMemory:
        """All entries, once each."""
        own = _join([self._kept.own, self._last.own])
        once = (CommonMemory(*part.common) for part in (self._kept, self._last))
        return ReadMemory(own, (*once, CommonMemory(*self._twice.common, times=2)))

    def fits(self, rows: int, tokens: int) -> bool:
        """As `BoundedStepMemory.fits`."""
        splits = [self._nothing, self._twice, self._last, self._kept, *self._initial]
        parts = [part for split in (*splits, *self._stored) for part in split]
        own = all(_is_entry(part, rows) for part in (*parts[::2], self._first or parts[0]))
        return own and all(_is_entry(part, 1) for part in parts[1::2])

    def _keep(self) -> None:
        self._kept = _join_splits([*self._initial, *self._stored])


class _Split(NamedTuple):
    own: MemoryEntry
    """Tokens that differ between objects, [O, heads, M, C / heads]."""
    common: MemoryEntry
    """Tokens that are the same for all, [1, heads, M, C / heads]."""


def _is_entry(entry: MemoryEntry, rows: int) -> bool:
    key, value = ((x.shape, x.dtype, x.device, x.layout) for x in entry)
    return key == value and key[0][0] == rows


def _split(entry: MemoryEntry) -> _Split:
    first = MemoryEntry(*(x[:1] for x in entry))
    common = _same(entry, first)
    return _Split(_pick(entry, ~common), _pick(first, common))


def _whole(split: _Split) -> MemoryEntry:
    """All tokens for each object, in another order than they came: attention does not care."""
    objects = len(split.own.key)
    return _join([split.own, MemoryEntry(*(x.expand(objects, -1, -1, -1) for x in split.common))])


def _same(entry: MemoryEntry, other: MemoryEntry) -> Tensor:
    """bool [M]: the tokens that two entries share, bit for bit, in all objects."""
    equal = [(x == y).all(3).all(1).all(0) for x, y in zip(entry, other, strict=True)]
    return equal[0] & equal[1]


def _pick(entry: MemoryEntry, tokens: Tensor | slice) -> MemoryEntry:
    return MemoryEntry(*(x[:, :, tokens] for x in entry))


def _take(entry: MemoryEntry, rows: list[int]) -> MemoryEntry:
    return MemoryEntry(*(x[rows] for x in entry))


def _take_of_split(split: _Split, rows: list[int]) -> _Split:
    return split._replace(own=_take(split.own, rows))


def _join(entries: list[MemoryEntry]) -> MemoryEntry:
    return MemoryEntry(*(torch.cat(parts, dim=2) for parts in zip(*entries, strict=True)))


def _join_splits(splits: list[_Split]) -> _Split:
    return _Split(*(_join(list(entries)) for entries in zip(*splits, strict=True)))


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

    def take_rows(self, rows: list[int]) -> None:
        """Let every step remember these objects, of those before, in this order; for tracking."""
        for step in self.steps:
            step.take_rows(rows)

    def __getitem__(self, step: int) -> StepMemory | BoundedStepMemory | SharedStepMemory:
        return self.steps[step]


STATE_CLASSES = [
    *(MemoryBank, BoundedStepMemory, SharedStepMemory, MemoryEntry, _Split, ReliabilityLevel)
]
"""What a tracker's snapshot is made of besides tensors: for `torch.load` to take it safely."""
