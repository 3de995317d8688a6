"""Which samples a step sees: the same however the work is divided, and from wherever it starts."""

from __future__ import annotations

import pytest

from rhmnet.data import SampleKey, sample_rng
from rhmnet.data.loader import ClipSampler


def steps(world_size: int, batch_size: int, accumulation: int, **options) -> list[set[SampleKey]]:
    """The set of keys that all processes together use at each step."""
    samplers = [
        ClipSampler(
            iterations=6,
            batch_size=batch_size,
            accumulation=accumulation,
            world_size=world_size,
            rank=rank,
            **options,
        )
        for rank in range(world_size)
    ]
    merged: list[set[SampleKey]] = []
    for batches in zip(*samplers, strict=True):
        step = [key for batch in batches for key in batch]
        assert len(set(step)) == len(step) == batch_size * world_size
        merged.append(set(step))
    return [
        set().union(*merged[start : start + accumulation])
        for start in range(0, len(merged), accumulation)
    ]


@pytest.mark.parametrize(
    ("world_size", "batch_size", "accumulation"), [(2, 4, 1), (4, 2, 1), (1, 2, 4), (2, 2, 2)]
)
def test_every_division_of_the_work_sees_the_same_samples(
    world_size: int, batch_size: int, accumulation: int
) -> None:
    options = {"epoch": 3, "max_skip": 9, "skip_every": 4}
    whole = steps(1, 8, 1, **options)
    assert steps(world_size, batch_size, accumulation, **options) == whole
    assert {key.index for step in whole for key in step} == set(range(48))


def test_ranks_share_nothing() -> None:
    first, second = (
        {
            key.index
            for b in ClipSampler(iterations=5, batch_size=3, world_size=2, rank=r)
            for key in b
        }
        for r in (0, 1)
    )
    assert first.isdisjoint(second)
    assert first | second == set(range(30))


@pytest.mark.parametrize("start", [0, 1, 5, 6])
def test_restart_goes_on_where_it_stopped(start: int) -> None:
    options = {
        "iterations": 6,
        "batch_size": 2,
        "accumulation": 3,
        "epoch": 1,
        "max_skip": 4,
        "skip_every": 2,
    }
    whole = list(ClipSampler(**options))
    rest = ClipSampler(**options, start_iteration=start)
    assert list(rest) == whole[start * 3 :]
    assert len(rest) == (6 - start) * 3


def test_skip_grows_at_its_iteration_over_all_epochs_up_to_its_bound() -> None:
    skips = []
    for epoch in range(3):
        for batch in ClipSampler(iterations=4, batch_size=2, epoch=epoch, max_skip=2, skip_every=3):
            skips.append({key.skip for key in batch})
    assert skips == [{0}] * 3 + [{1}] * 3 + [{2}] * 6


def test_accumulated_batches_count_as_one_iteration() -> None:
    sampler = ClipSampler(iterations=4, batch_size=1, accumulation=2, max_skip=9, skip_every=2)
    assert [batch[0].skip for batch in sampler] == [0, 0, 0, 0, 1, 1, 1, 1]


def test_start_and_rank_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="start_iteration=7"):
        ClipSampler(iterations=6, batch_size=1, start_iteration=7)
    with pytest.raises(ValueError, match="rank=2"):
        ClipSampler(iterations=6, batch_size=1, rank=2, world_size=2)


def test_streams_differ_by_seed_epoch_and_index_but_not_by_skip() -> None:
    def first(seed: int, epoch: int, index: int, skip: int = 0) -> float:
        return sample_rng(seed, SampleKey(epoch, index, skip)).random()

    draws = {first(s, e, i) for s in range(3) for e in range(3) for i in range(20)}
    assert len(draws) == 180
    assert first(1, 2, 3) == first(1, 2, 3, skip=5)
