"""Which samples every step sees, whatever the number of processes, workers and restarts.

Sample `index` of an epoch is a pure function of (seed, epoch, index). Iteration i of an epoch
takes the indices from i * samples_per_iteration on; process r of W takes every W-th of them,
starting with its own rank. So one process with batch W * b, W processes with batch b, and one
process with batch b that accumulates W batches all see the same samples at each step.

The curriculum is part of the key: the skip of a sample follows from the iteration that it will be
used in, so a change takes effect exactly there, in every worker, however far ahead that one works.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class SampleKey(NamedTuple):
    """What a sample depends on, apart from the seed."""

    epoch: int
    index: int
    """Of the sample in its epoch, over all processes."""
    skip: int
    """The next frame of a video is at most 1 + skip ahead, frames of the film."""


def sample_rng(seed: int, key: SampleKey) -> np.random.Generator:
    """The generator from which all that is random in one sample comes."""
    sequence = np.random.SeedSequence([seed, key.epoch, key.index])
    return np.random.Generator(np.random.PCG64(sequence))


class ClipSampler(Sampler[list[SampleKey]]):
    """Batches of keys for one process, from any iteration of an epoch on.

    iterations: optimizer steps of an epoch. start_iteration: the first one to make, in this epoch.
    accumulation: batches of one process and step. max_skip, skip_every: the curriculum,
    skip = min(max_skip, iteration // skip_every) with iterations counted over all epochs.
    """

    def __init__(
        self,
        *,
        iterations: int,
        batch_size: int,
        accumulation: int = 1,
        rank: int = 0,
        world_size: int = 1,
        epoch: int = 0,
        start_iteration: int = 0,
        max_skip: int = 0,
        skip_every: int = 1,
    ) -> None:
        if not 0 <= start_iteration <= iterations:
            raise ValueError(f"start_iteration={start_iteration}: expected 0..{iterations}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank={rank}: expected 0..{world_size - 1}")
        self.iterations, self.start_iteration = iterations, start_iteration
        self.batch_size, self.accumulation = batch_size, accumulation
        self.rank, self.world_size, self.epoch = rank, world_size, epoch
        self.max_skip, self.skip_every = max_skip, skip_every
        self.samples_per_iteration = batch_size * accumulation * world_size

    def __len__(self) -> int:
        return (self.iterations - self.start_iteration) * self.accumulation

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for iteration in range(self.start_iteration, self.iterations):
            skip = self.skip_at(self.epoch * self.iterations + iteration)
            first = iteration * self.samples_per_iteration
            block = range(first + self.rank, first + self.samples_per_iteration, self.world_size)
            for start in range(0, len(block), self.batch_size):
                batch = block[start : start + self.batch_size]
                yield [SampleKey(self.epoch, index, skip) for index in batch]

    def skip_at(self, iteration: int) -> int:
        """The skip of an iteration, counted over all epochs."""
        return min(self.max_skip, iteration // self.skip_every)
