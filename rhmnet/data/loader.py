"""Batches of clips for one process, made ahead by workers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from rhmnet.config import Config
from rhmnet.data.dataset import ClipDataset, build_dataset
from rhmnet.data.sampler import ClipSampler, SampleKey
from rhmnet.errors import InputError
from rhmnet.structures import Clip


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
