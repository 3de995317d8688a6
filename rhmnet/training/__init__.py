"""The training loop: clips to losses to steps, and nothing that makes the device wait.

AdamW with a slower backbone; learning rates are pure functions of the iteration, so that a run that
was stopped goes on exactly where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW
from torch.utils.checkpoint import checkpoint
from torchvision.models.resnet import BasicBlock, Bottleneck

from rhmnet.config import Config, TrainConfig
from rhmnet.errors import InputError
from rhmnet.files.writing import write_torch
from rhmnet.losses import Criterion
from rhmnet.model import RHMNet
from rhmnet.runtime.processes import Processes, untouched_random_state
from rhmnet.structures import Clip, ClipPrediction
from rhmnet.training.logger import LogWindow, Meter, RunLogger, Timed

BACKBONE = "feature_extractor.backbone."
"""Parameters whose name begins so learn at `backbone_lr_factor` x lr."""
_DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class Run:
    """What is being trained, and how far it has come."""

    config: Config
    model: RHMNet
    optimizer: torch.optim.Optimizer
    scaler: GradScaler
    iterations_per_epoch: int
    epoch: int = 0
    """Epochs finished."""
    iteration: int = 0
    """Iterations (optimizer steps) finished in the epoch that is under way."""
    best_score: float | None = None
    meter: Meter = field(default_factory=Meter)

    @property
    def total_iteration(self) -> int:
        """Iterations finished in the whole run."""
        return self.epoch * self.iterations_per_epoch + self.iteration


class ClipLosses(nn.Module):
    """The network and its losses as one module, so that a step is one forward pass.

    run_backward: also run each clip from its last frame, as the consistency loss needs it; None:
    where that loss weighs anything.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        config: TrainConfig,
        run_backward: bool | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.criterion = criterion
        if run_backward is None:
            run_backward = criterion.config.consistency_weight > 0
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


def build_optimizer(model: nn.Module, config: TrainConfig) -> AdamW:
    """AdamW over two named groups, `backbone` and `rest`; frozen parameters are left out.

    The update is fused into one kernel where the device has one.
    """
    backbone, rest = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (backbone if name.startswith(BACKBONE) else rest).append(parameter)
    groups = [
        {"name": "backbone", "params": backbone, "lr_factor": config.backbone_lr_factor},
        {"name": "rest", "params": rest, "lr_factor": 1.0},
    ]
    groups = [group for group in groups if group["params"]]
    fused = all(p.device.type in ("cpu", "cuda") for group in groups for p in group["params"])
    return AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=fused)


def learning_rate(config: TrainConfig, iteration: int, iterations_per_epoch: int) -> float:
    """The learning rate of an iteration, counted from 0 over the run; docs/method.md, section 7.

    Nothing but the iteration goes in, so that a resumed run goes on exactly where it was.
    """
    lr = config.lr * min(1.0, (iteration + 1) / max(1, config.warmup))
    if config.schedule == "step":
        cuts = iteration // iterations_per_epoch // config.step_epochs
        return lr * config.step_factor**cuts
    updated = iteration - iteration % config.poly_every
    return lr * (1 - updated / (config.epochs * iterations_per_epoch)) ** config.poly_power


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give each parameter group its share of lr."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]


class Hooks(NamedTuple):
    """What the loop calls between two steps, on all processes."""

    save: Callable[[], None]
    draw: Callable[[Clip], None]
    """On the main process alone."""
    should_stop: Callable[[], bool]


def train_one_epoch(
    run: Run,
    losses: nn.Module,
    loader: Iterable[Clip],
    processes: Processes,
    logger: RunLogger,
    hooks: Hooks,
    dump_folder: Path,
) -> bool:
    """Train from `run.iteration` to the end of the epoch; False if asked to stop before.

    losses: a ClipLosses, maybe wrapped for many processes.
    loader: the batches from that iteration on, `train.accumulation` of them per iteration; it must
    leave the global generators alone.
    Raises InputError for a loss that is not finite; its batch lies in dump_folder then.
    """
    config = run.config.train
    criterion = getattr(losses, "module", losses).criterion
    losses.train()
    run.optimizer.zero_grad(set_to_none=True)
    clips = Timed(iter(loader))
    watch = FiniteWatch(dump_folder, processes.rank)
    window = LogWindow(run, processes)
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


class _Look(NamedTuple):
    clip: Clip
    terms: Mapping[str, Tensor]
    iteration: int
    finite: Tensor
    """bool scalar on the CPU, valid once `copied` has happened."""
    copied: torch.cuda.Event | None


class FiniteWatch:
    """Looks at each total loss, on CUDA one step late: by then the answer has long been copied.

    Whoever writes weights calls `settle` first, so that none are written from a bad step on.
    """

    def __init__(self, dump_folder: Path, rank: int) -> None:
        self._folder, self._rank = dump_folder, rank
        self._pending: _Look | None = None

    def look(self, clip: Clip, terms: Mapping[str, Tensor], iteration: int) -> None:
        """Take note of a step's losses, and judge those of the step before.

        Raises InputError with the names of the losses at fault, once their batch is saved.
        """
        finite, copied = terms["total"].detach().isfinite(), None
        if finite.is_cuda:
            on_cpu = torch.empty((), dtype=torch.bool, pin_memory=True)
            on_cpu.copy_(finite, non_blocking=True)
            finite, copied = on_cpu, torch.cuda.Event()
            copied.record()
        self.settle()
        terms = {name: term.detach() for name, term in terms.items()}
        self._pending = _Look(clip, terms, iteration, finite, copied)
        if copied is None:
            self.settle()

    def settle(self) -> None:
        """Judge what has not been judged yet."""
        look, self._pending = self._pending, None
        if look is None:
            return
        if look.copied is not None:
            look.copied.synchronize()
        if not look.finite:
            self._stop(look)

    def _stop(self, look: _Look) -> None:
        losses = {name: term.item() for name, term in look.terms.items()}
        path = self._folder / f"not_finite_{look.iteration}_process_{self._rank}.pth"
        clip = {name: value.cpu() for name, value in look.clip._asdict().items()}
        where = f"its batch lies in {path}"
        try:
            write_torch(path, {"clip": clip, "losses": losses, "iteration": look.iteration})
        except InputError as error:
            where = f"its batch could not be saved ({error})"
        values = ", ".join(f"{name} {value:g}" for name, value in losses.items())
        raise InputError(
            f"iteration {look.iteration}: the loss is not finite ({values}); {where}, "
            "no state was written since: try a lower train.lr or train.precision=float32, then go "
            "on with --resume auto"
        )
