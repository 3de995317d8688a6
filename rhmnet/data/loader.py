"""Batches of clips for one process, made ahead by workers; the same whatever their number.

Sample `index` of an epoch is a pure function of (seed, epoch, index). Iteration i of an epoch
takes the indices from i * samples_per_iteration on; process r of W takes every W-th of them,
starting with its own rank. So one process with batch W * b, W processes with batch b, and one
process with batch b that accumulates W batches all see the same samples at each step.

The curriculum is part of the key: the skip of a sample follows from the iteration that it will be
used in, so a change takes effect exactly there, in every worker, however far ahead that one works.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from rhmnet.config import Config
from rhmnet.data import ImageSource, SampleKey, VideoSource
from rhmnet.data.clips import ClipDataset
from rhmnet.data.coco import open_coco
from rhmnet.data.davis import open_davis_training
from rhmnet.data.youtube import open_youtube_training
from rhmnet.errors import InputError
from rhmnet.structures import Clip

STAGES = ("pretrain", "video")
_PROBE = SampleKey(epoch=0, index=0, skip=0)


def build_dataset(config: Config, stage: str) -> ClipDataset:
    """The clips of a stage: `pretrain` (COCO) or `video` (YouTube-VOS and DAVIS).

    Makes one clip of each data set first: one that never gives any would hide in the mixture.
    Raises InputError where `data.root` lacks what the stage needs, or no clip can be made of it.
    """
    data, root = config.data, Path(config.data.root)
    if stage == "pretrain":
        dataset = ClipDataset(ImageSource(open_coco(root), data, config.train.seed), config)
        dataset[_PROBE]
        return dataset
    if stage != "video":
        raise ValueError(f"stage={stage!r}: expected one of {', '.join(STAGES)}")
    weighted = [
        (open_youtube_training, data.youtube_weight),
        (open_davis_training, data.davis_weight),
    ]
    weighted = [(opened, weight) for opened, weight in weighted if weight > 0]
    trees = [opened(root, data.clip_length) for opened, _ in weighted]
    for tree in trees:
        ClipDataset(VideoSource([tree], [1.0], data), config)[_PROBE]
    return ClipDataset(VideoSource(trees, [weight for _, weight in weighted], data), config)


def iterations_per_epoch(
    config: Config,
    stage: str,
    world_size: int = 1,
    accumulation: int = 1,
    *,
    dataset: ClipDataset | None = None,
) -> int:
    """Optimizer steps of an epoch; the last one is filled up, not dropped.

    dataset: one already built for the stage, to spare listing its files again.
    """
    dataset = build_dataset(config, stage) if dataset is None else dataset
    return -(-len(dataset) // (config.train.batch_size * world_size * accumulation))


def build_loader(
    config: Config,
    stage: str,
    *,
    rank: int = 0,
    world_size: int = 1,
    epoch: int = 0,
    start_iteration: int = 0,
    accumulation: int = 1,
    dataset: ClipDataset | None = None,
) -> ClipLoader:
    """The batches that process `rank` of `world_size` uses in an epoch, as `Clip`s.

    stage: `pretrain` or `video`. start_iteration: the optimizer step of this epoch to start with.
    accumulation: batches a step. dataset: one already built for the stage.
    """
    dataset = build_dataset(config, stage) if dataset is None else dataset
    sampler = ClipSampler(
        iterations=iterations_per_epoch(config, stage, world_size, accumulation, dataset=dataset),
        batch_size=config.train.batch_size,
        accumulation=accumulation,
        rank=rank,
        world_size=world_size,
        epoch=epoch,
        start_iteration=start_iteration,
        max_skip=config.data.max_skip,
        skip_every=config.data.skip_every,
    )
    return ClipLoader(dataset, sampler, config.data.num_workers, config.data.prefetch)


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


class ClipLoader:
    """Iterable of `Clip`, batch_size clips each; `len` is the number of batches left.

    An InputError in a worker is raised here as it is, one line without the worker's traceback. A
    worker that was killed is an InputError too, once its next batch is missing.
    """

    def __init__(
        self, dataset: ClipDataset, sampler: ClipSampler, num_workers: int, prefetch: int
    ) -> None:
        self.sampler = sampler
        self._loader = DataLoader(
            _Caught(dataset),
            batch_sampler=sampler,
            collate_fn=_collate,
            num_workers=num_workers,
            prefetch_factor=prefetch if num_workers else None,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_start_worker,
            # Its own, since starting workers draws a number: the process's state is left alone.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Clip]:
        batches = self._start()
        while True:
            try:
                batch = next(batches, None)
            except RuntimeError as error:
                if "DataLoader worker" not in str(error):
                    raise
                raise InputError(
                    f"{' '.join(str(error).split())}; was it killed for memory? Lower "
                    "data.num_workers or data.prefetch, and run again"
                ) from None
            if batch is None:
                return
            if isinstance(batch, InputError):
                raise batch
            yield batch

    def _start(self) -> Iterator[Clip | InputError]:
        """Start the workers, without the handler with which PyTorch watches them.

        It raises wherever the main process happens to be, in the middle of a step, say. A dead
        worker is found out just as well by waiting for its batch.
        """
        if threading.current_thread() is not threading.main_thread():
            return iter(self._loader)
        watch = getattr(signal, "SIGCHLD", None)  # not on Windows
        before = watch and signal.getsignal(watch)
        batches = iter(self._loader)
        if watch and before is not None:  # None: not set from Python, so it cannot be put back
            signal.signal(watch, before)
        return batches


class _Caught(Dataset):
    """Hands an InputError on as a value: raised in a worker, it would arrive with a traceback."""

    def __init__(self, dataset: ClipDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, key: SampleKey) -> Clip | InputError:
        try:
            return self._dataset[key]
        except InputError as error:
            return error


def _collate(samples: list[Clip | InputError]) -> Clip | InputError:
    for sample in samples:
        if isinstance(sample, InputError):
            return sample
    return Clip(*(torch.cat(parts) for parts in zip(*samples, strict=True)))


def _start_worker(_: int) -> None:
    """One thread a worker; signals to the whole process group are the main process's to answer.

    Ctrl-C, `timeout` and schedulers signal every process at once. A worker that died of it would
    take the main one along before that has saved. So only the parent's own SIGTERM ends a worker.
    """
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_leave_when_told, args=(os.getppid(),), daemon=True).start()


def _leave_when_told(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
