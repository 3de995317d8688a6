"""The training loop: clips to losses to steps, and nothing that makes the device wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint
from torchvision.models.resnet import BasicBlock, Bottleneck

from rhmnet.config import TrainConfig
from rhmnet.losses import Criterion
from rhmnet.model import RHMNet
from rhmnet.runtime.processes import Processes, untouched_random_state
from rhmnet.structures import Clip, ClipPrediction
from rhmnet.training.finite import FiniteWatch
from rhmnet.training.logger import RunLogger
from rhmnet.training.optimizer import learning_rate, set_learning_rate
from rhmnet.training.state import Run

T = TypeVar("T")
_DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


class ClipLosses(nn.Module):
    """The network and its losses as one module, so that a step is one forward pass.

    run_backward: also run each clip from its last frame, as the consistency loss needs it.
    """

    def __init__(
        self, model: nn.Module, criterion: Criterion, config: TrainConfig, run_backward: bool
    ) -> None:
        super().__init__()
        self.model = model
        self.criterion = criterion
        self.run_backward = run_backward
        self.dtype = _DTYPES[config.precision]

    def forward(self, clip: Clip, normalizers: Tensor | None = None) -> dict[str, Tensor]:
        """The losses by name and their weighted `total`, scalars in float32.

        normalizers: see `Criterion`; None where this clip is the whole batch.
        """
        return self.criterion(clip, self.predict(clip), normalizers)

    def predict(self, clip: Clip) -> ClipPrediction:
        """The network's part of the step, in float32 from here on."""
        last_scribble = clip.last_scribble if self.run_backward else None
        with torch.autocast(clip.frames.device.type, self.dtype, enabled=self.dtype is not None):
            prediction = self.model(
                clip.frames, clip.first_scribble, clip.num_objects, last_scribble
            )
        return ClipPrediction(*(_in_float32(x) for x in prediction))


class Hooks(NamedTuple):
    """What the loop calls between two steps, on all processes."""

    save: Callable[[], None]
    draw: Callable[[Clip], None]
    """On the main process alone."""
    should_stop: Callable[[], bool]


def prepare(model: RHMNet, config: TrainConfig) -> None:
    """Memory format, recomputed activations and compilation, as the configuration asks for."""
    if config.channels_last:
        model.to(memory_format=torch.channels_last)
    if config.checkpoint_activations:
        backbone = model.feature_extractor.backbone.modules()
        blocks = [m for m in backbone if isinstance(m, (BasicBlock, Bottleneck))]
        for module in (*blocks, *model.readers, model.reliable_head, *model.entire_heads):
            module.forward = partial(checkpoint, module.forward, use_reentrant=False)
    if config.compile:
        model.feature_extractor.compile()


def train_one_epoch(
    run: Run,
    losses: nn.Module,
    criterion: Criterion,
    loader: Iterable[Clip],
    processes: Processes,
    logger: RunLogger,
    hooks: Hooks,
    dump_folder: Path,
) -> bool:
    """Train from `run.iteration` to the end of the epoch; False if asked to stop before.

    losses: a ClipLosses of the criterion, maybe wrapped for many processes.
    loader: the batches from that iteration on, `train.accumulation` of them per iteration; it must
    leave the global generators alone.
    Raises InputError for a loss that is not finite; its batch lies in dump_folder then.
    """
    config = run.config.train
    losses.train()
    run.optimizer.zero_grad(set_to_none=True)
    clips = _Timed(iter(loader))
    watch = FiniteWatch(dump_folder, processes.rank)
    window = _Window(run, processes)
    while run.iteration < run.iterations_per_epoch:
        lr = learning_rate(config, run.total_iteration, run.iterations_per_epoch)
        set_learning_rate(run.optimizer, lr)
        parts = [to_device(next(clips), processes.device) for _ in range(config.accumulation)]
        normalizers = shared_normalizers(criterion, parts, processes, config.loss_mean)
        for clip in parts:
            with nullcontext() if clip is parts[-1] else _without_averaging(losses):
                terms = losses(clip, normalizers)
                run.scaler.scale(terms["total"] / config.accumulation).backward()
            watch.look(clip, terms, run.total_iteration + 1)
            run.meter.add(terms, clip.redraws)
        run.iteration += 1
        at_end = run.iteration == run.iterations_per_epoch
        logs = run.total_iteration % config.log_every == 0 or at_end
        norm = _gradient_norm(run) if logs else None
        run.scaler.step(run.optimizer)
        run.scaler.update()
        run.optimizer.zero_grad(set_to_none=True)

        logger.advance()
        if logs:
            watch.settle()
            values = {**run.meter.read(processes), "lr": lr, "gradient_norm": norm.item()}
            window.log(logger, values, clips)
        if _due(run.total_iteration, config.picture_every) and processes.is_main:
            with untouched_random_state():
                hooks.draw(clip)
        stops = hooks.should_stop()
        if stops or (_due(run.total_iteration, config.save_every) and not at_end):
            watch.settle()
            hooks.save()
        if stops:
            return False
    watch.settle()
    return True


def to_device(clip: Clip, device: torch.device) -> Clip:
    """Move what is computed with; counts stay on the CPU, where they are read without waiting."""
    kept = {"num_objects": clip.num_objects, "redraws": clip.redraws}
    return Clip(*(x.to(device, non_blocking=True) for x in clip))._replace(**kept)


class _Timed(Iterator[T]):
    """An iterator that adds up the seconds that its reader waits for it."""

    def __init__(self, iterator: Iterator[T]) -> None:
        self._iterator = iterator
        self._waited = 0.0

    def __next__(self) -> T:
        start = time.perf_counter()
        try:
            return next(self._iterator)
        finally:
            self._waited += time.perf_counter() - start

    def take_waited(self) -> float:
        """Seconds waited since the last call."""
        waited, self._waited = self._waited, 0.0
        return waited


class _Window:
    """The iterations between two log lines, and the clock over them."""

    def __init__(self, run: Run, processes: Processes) -> None:
        self._run, self._processes = run, processes
        self._start, self._first = time.perf_counter(), run.total_iteration

    def log(self, logger: RunLogger, values: dict[str, float], clips: _Timed[Clip]) -> None:
        """Log the losses and rates of the window with its speed; then a new one begins."""
        run, config, now = self._run, self._run.config.train, time.perf_counter()
        iterations, seconds = run.total_iteration - self._first, now - self._start
        clips_made = iterations * config.batch_size * config.accumulation * self._processes.size
        speed, waiting = clips_made / seconds, clips.take_waited() / seconds
        redraws = run.meter.redraws(self._processes)
        left = config.epochs * run.iterations_per_epoch - run.total_iteration
        hours, minutes = divmod(int(left * seconds / iterations / 60), 60)
        text = "  ".join(
            [
                f"epoch {run.epoch + 1}/{config.epochs}",
                f"iteration {run.total_iteration}",
                *(f"{name} {value:.4g}" for name, value in values.items()),
                f"{speed:.2f} clips/s",
                f"data wait {waiting:.0%}",
                f"redraws {sum(redraws.values())}",
                f"left {hours}:{minutes:02d} h",
            ]
        )
        values["lr_backbone"] = values["lr"] * config.backbone_lr_factor
        values |= {"clips_per_second": speed, "data_wait": waiting}
        values |= {f"redraws_{reason}": count for reason, count in redraws.items()}
        logger.scalars("train", run.total_iteration, run.epoch + 1, values, text)
        self._start, self._first = time.perf_counter(), run.total_iteration


def _due(iteration: int, every: int) -> bool:
    return every > 0 and iteration % every == 0


def shared_normalizers(
    criterion: Criterion, parts: list[Clip], processes: Processes, loss_mean: str
) -> Tensor | None:
    """Normalizers of the whole step's batch; None where each part divides by its own.

    loss_mean `process`: each part's weighted means, averaged over parts and processes, as plain
    DDP and the release have it; `batch`: the weighted means of the batch as one.
    """
    if loss_mean == "process" or len(parts) * processes.size == 1:
        return None
    return processes.mean(torch.stack([criterion.normalizers(clip) for clip in parts]).mean(dim=0))


def _without_averaging(losses: nn.Module):
    """Gradients of all but the last part of a step stay in their process."""
    return losses.no_sync() if isinstance(losses, DistributedDataParallel) else nullcontext()


def _gradient_norm(run: Run) -> Tensor:
    """L2 norm over all gradients, which stay as they are."""
    run.scaler.unscale_(run.optimizer)
    parameters = [p for group in run.optimizer.param_groups for p in group["params"]]
    return nn.utils.clip_grad_norm_(parameters, max_norm=float("inf"))


def _in_float32(x: Tensor | None) -> Tensor | None:
    return x.float() if x is not None and x.is_floating_point() else x
