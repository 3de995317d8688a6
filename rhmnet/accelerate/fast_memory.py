"""Memory that lies as it is read, and the attention that reads it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rhmnet.attention import MultiHeadAttention
from rhmnet.memory_bank import (
    MemoryBank,
    ReliabilityLevel,
    StepMemory,
    choose_rows,
    is_entry,
    join_tokens,
    take_rows,
)
from rhmnet.structures import MemoryEntry

ROWS = 256
"""Queries at a time: their scores stay near the processor."""


class CommonMemory(NamedTuple):
    """Tokens that are the same for all objects."""

    key: Tensor
    """[1, heads, M, C / heads]."""
    value: Tensor
    """[1, heads, M, C / heads]."""
    times: int = 1
    """How often the memory holds each of them."""


class SharedEntry(NamedTuple):
    """What a step reads, in parts that attention treats as one; for B = 1."""

    key: Tensor
    """[O, heads, M, C / heads], of the tokens of each object."""
    value: Tensor
    """[O, heads, M, C / heads]."""
    common: tuple[CommonMemory, ...]
    """Tokens of all objects."""


class BoundedStepMemory(StepMemory):
    """Entries in slots of one buffer that is made once: a frame reads a view of it.

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
        self._has_last = True
        self._write(0, entry)

    def replace_initial(self, entry: MemoryEntry, objects: Tensor) -> None:
        old = MemoryEntry(*(self._slot(buffer, self._initial) for buffer in self._buffers))
        self._write(self._initial, choose_rows(objects, entry, old))

    def add_initial(self, entry: MemoryEntry) -> None:
        room = MemoryEntry(*(torch.empty_like(x) for x in entry))
        self._buffers = join_tokens([self._buffers, room])
        slot = self._end
        self._corrections += 1
        self._write(slot, entry)

    def take_rows(self, rows: list[int]) -> None:
        self._buffers = take_rows(self._buffers, rows)

    @property
    def reads_current(self) -> bool:
        return ReliabilityLevel.ENTIRE in self._ages

    def read(self, current: MemoryEntry | None = None) -> MemoryEntry:
        first = self._initial
        if current is not None:
            first = self._initial - 1
            self._write(first, current)
        if self._has_last:
            first = 0
        rows = slice(first * self._tokens, self._end * self._tokens)
        return MemoryEntry(*(buffer[:, :, rows] for buffer in self._buffers))

    def fits(self, rows: int, tokens: int) -> bool:
        slots = [slot for stored in self._ages.values() for slot in stored]
        once = len({*slots}) == len(slots) and all(self._initial < s < self._end for s in slots)
        room = self._tokens == tokens and self._buffers.key.shape[2] >= self._end * tokens
        return once and room and is_entry(self._buffers, rows)

    @property
    def _end(self) -> int:
        """The first slot that was never used."""
        return self._initial + 1 + self._corrections + sum(map(len, self._ages.values()))

    def _write(self, slot: int, entry: MemoryEntry) -> None:
        for new, buffer in zip(entry, self._buffers, strict=True):
            self._slot(buffer, slot).copy_(new)

    def _slot(self, buffer: Tensor, slot: int) -> Tensor:
        return buffer[:, :, slot * self._tokens : (slot + 1) * self._tokens]


class SharedStepMemory(StepMemory):
    """Of a step whose objects all ask the same: the first, in tracking.

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
        if self._first is not None:
            twice = _same(entry, self._first) & _same(entry, _first_of(entry))
            self._twice = _split(_pick(entry, twice))
            self._initial[0] = _split(_pick(self._first, ~twice))
            entry, self._first = _pick(entry, ~twice), None
        self._stored.append(_split(entry))
        if len(self._stored) > self._max_length:
            self._stored.pop(1)
        self._keep()

    def replace_last(self, entry: MemoryEntry) -> None:
        self._last = _split(entry)

    def replace_initial(self, entry: MemoryEntry, objects: Tensor) -> None:
        old = _whole(_join_splits([self._initial[0], self._twice]))
        self._initial[0] = _split(choose_rows(objects, entry, old))
        if self._stored:
            self._stored[0] = _join_splits([self._stored[0], self._twice])
        self._first, self._twice = None, self._nothing
        self._keep()

    def add_initial(self, entry: MemoryEntry) -> None:
        self._initial.append(_split(entry))
        self._keep()

    def take_rows(self, rows: list[int]) -> None:
        if self._first is not None:
            self._first = take_rows(self._first, rows)
        self._nothing, self._twice, self._last = (
            _take_of_split(split, rows) for split in (self._nothing, self._twice, self._last)
        )
        self._initial = [_take_of_split(split, rows) for split in self._initial]
        self._stored = [_take_of_split(split, rows) for split in self._stored]
        self._keep()

    def read(self) -> SharedEntry:
        own = join_tokens([self._kept.own, self._last.own])
        once = (CommonMemory(*part.common) for part in (self._kept, self._last))
        return SharedEntry(*own, (*once, CommonMemory(*self._twice.common, times=2)))

    def fits(self, rows: int, tokens: int) -> bool:
        splits = [self._nothing, self._twice, self._last, self._kept, *self._initial]
        parts = [part for split in (*splits, *self._stored) for part in split]
        own = all(is_entry(part, rows) for part in (*parts[::2], self._first or parts[0]))
        return own and all(is_entry(part, 1) for part in parts[1::2])

    def _keep(self) -> None:
        self._kept = _join_splits([*self._initial, *self._stored])


class _Split(NamedTuple):
    own: MemoryEntry
    """Tokens that differ between objects, [O, heads, M, C / heads]."""
    common: MemoryEntry
    """Tokens that are the same for all, [1, heads, M, C / heads]."""


def _split(entry: MemoryEntry) -> _Split:
    first = _first_of(entry)
    common = _same(entry, first)
    return _Split(_pick(entry, ~common), _pick(first, common))


def _whole(split: _Split) -> MemoryEntry:
    """All tokens for each object, in another order than they came: attention does not care."""
    objects = len(split.own.key)
    common = MemoryEntry(*(x.expand(objects, -1, -1, -1) for x in split.common))
    return join_tokens([split.own, common])


def _same(entry: MemoryEntry, other: MemoryEntry) -> Tensor:
    """bool [M]: the tokens that two entries share, bit for bit, in all objects."""
    equal = [(x == y).all(3).all(1).all(0) for x, y in zip(entry, other, strict=True)]
    return equal[0] & equal[1]


def _first_of(entry: MemoryEntry) -> MemoryEntry:
    """Of the first object."""
    return MemoryEntry(*(x[:1] for x in entry))


def _pick(entry: MemoryEntry, tokens: Tensor | slice) -> MemoryEntry:
    return MemoryEntry(*(x[:, :, tokens] for x in entry))


def _take_of_split(split: _Split, rows: list[int]) -> _Split:
    return split._replace(own=take_rows(split.own, rows))


def _join_splits(splits: list[_Split]) -> _Split:
    return _Split(*(join_tokens(list(entries)) for entries in zip(*splits, strict=True)))


class TrackingBank(MemoryBank):
    """As `MemoryBank`, of `BoundedStepMemory`.

    mask_levels: levels that the entire-target steps store.
    share: keep once what the first step's objects have in common, where `attends_in_parts`.
    """

    def __init__(
        self,
        initial: list[MemoryEntry],
        max_length: int,
        mask_levels: int = 1,
        share: bool = False,
    ) -> None:
        self.steps = [
            BoundedStepMemory(entry, max_length, mask_levels if step else 1, step > 0)
            for step, entry in enumerate(initial)
        ]
        if share:
            self.steps[0] = SharedStepMemory(initial[0], max_length)


STATE_CLASSES = [TrackingBank, BoundedStepMemory, SharedStepMemory, _Split]


class TrackingAttention(MultiHeadAttention):
    """Attention without gradients and dropout."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """As `MultiHeadAttention.attend`."""
        if _attends_by_rows(query):
            return self.join_heads(_attend_by_rows(query, key, value))
        return super().attend(query, key, value)

    def attend_in_parts(
        self, query: Tensor, parts: Sequence[tuple[Tensor, Tensor, int]], batch: int
    ) -> Tensor:
        """As `attend` to all tokens of several parts, [batch, N, C]; where `attends_in_parts`.

        query [1, heads, N, d]. parts: key and value, [1 or batch, heads, M, d], and how often each
        of their tokens is there; a part may be empty, not all of them.
        """
        attend = getattr(torch.ops.aten, _FLASH_ON_CPU)  # and the log of each softmax's denominator
        out = log_sum = None
        for key, value, times in parts:
            if key.shape[2] == 0:  # no softmax over nothing
                continue
            read, read_sum = attend(query.expand(len(key), -1, -1, -1), key, value)
            read, read_sum = read.float(), read_sum + math.log(times)
            if out is None:
                out, log_sum = read, read_sum
                continue
            out = read + torch.sigmoid(log_sum - read_sum).unsqueeze(-1) * (out - read)
            log_sum = torch.logaddexp(log_sum, read_sum)
        return self.join_heads(out.to(query.dtype).expand(batch, -1, -1, -1))


def attends_in_parts(device: torch.device) -> bool:
    """Whether this build of PyTorch hands out what attention to parts is put together by."""
    return device.type == "cpu" and hasattr(torch.ops.aten, _FLASH_ON_CPU)


_FLASH_ON_CPU = "_scaled_dot_product_flash_attention_for_cpu"


def _attends_by_rows(query: Tensor) -> bool:
    """Whether this processor multiplies bfloat16 fast in large products alone.

    torch's CPU attention makes small ones, which are fast with AMX.
    """
    if query.device.type != "cpu" or query.dtype != torch.bfloat16:
        return False
    return cpu_has("avx512_bf16") and not cpu_has("amx_tile")


def _attend_by_rows(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Scaled dot-product attention, some queries of a head at a time, without gradients."""
    query = query * query.shape[-1] ** -0.5
    batch, heads, count, depth = query.shape
    out = query.new_empty(batch, count, heads, depth).transpose(1, 2)
    scores = query.new_empty(min(ROWS, count), key.shape[2])
    for b, h in itertools.product(range(batch), range(heads)):
        transposed, read = key[b, h].t(), value[b, h]
        for some, result in zip(query[b, h].split(ROWS), out[b, h].split(ROWS), strict=True):
            weights = torch.mm(some, transposed, out=scores[: len(some)])
            torch.mm(torch.softmax(weights, -1, out=weights), read, out=result)
    return out


def cpu_has(feature: str) -> bool:
    """Whether torch says that the processor has a feature, as `amx_tile` or `avx512_bf16`."""
    ask = getattr(torch.cpu, f"_is_{feature}_supported", None)
    return ask is not None and ask()
