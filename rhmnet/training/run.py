"""A whole training run: build, go on or begin, then epoch after epoch."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from torch import nn
from torch.amp import GradScaler

from rhmnet.checkpoint import best_path, epoch_path, epochs_in
from rhmnet.data.loader import build_dataset, build_loader, iterations_per_epoch
from rhmnet.errors import InputError
from rhmnet.files.concurrency import alone_in
from rhmnet.files.writing import make_folder, remove_unfinished
from rhmnet.losses import Criterion
from rhmnet.model import RHMNet, build_model
from rhmnet.runtime.processes import (
    Processes,
    StopRequest,
    join_processes,
    parallel,
    seed_everything,
    untouched_random_state,
)
from rhmnet.structures import Clip
from rhmnet.training.engine import ClipLosses, Hooks, prepare, train_one_epoch
from rhmnet.training.initial import initial_weights, load_initial_weights
from rhmnet.training.logger import RunLogger
from rhmnet.training.optimizer import build_optimizer
from rhmnet.training.options import Options
from rhmnet.training.pictures import draw_clip
from rhmnet.training.state import (
    Run,
    find_newest,
    is_better,
    is_whole,
    rename_earlier,
    restore_state,
    save_state,
    set_aside,
    set_aside_newer,
    write,
)

Validate = Callable[[RHMNet, Processes], float | None]
"""Score of a model, higher is better; called on all processes, the main one's result counts."""


def train(stage: str, options: Options, validate: Validate | None = None) -> int:
    """Train a stage to its end, or until asked to stop; returns the exit code.

    stage: `pretrain` or `video`. validate: called every `train.eval_every` epochs.
    Raises InputError for what the user can mend.
    """
    with ExitStack() as stack:
        processes = stack.enter_context(join_processes(options.device))
        launched = "TORCHELASTIC_RUN_ID" in os.environ  # and not each process by hand
        stop = stack.enter_context(StopRequest(patient=processes.size > 1, launched=launched))
        if processes.is_main:
            stack.enter_context(
                alone_in(options.checkpoint_folder, "stop it, or use --checkpoints DIR")
            )
        return _Training(stage, options, processes, stop, validate).train()


class _Training:
    """One run on one of its processes."""

    def __init__(
        self,
        stage: str,
        options: Options,
        processes: Processes,
        stop: StopRequest,
        validate: Validate | None,
    ) -> None:
        self.stage, self.options, self.processes, self.stop = stage, options, processes, stop
        self.validate = validate
        self.folder = options.checkpoint_folder
        config = self.config = options.config
        state, notes = self._choose_state()
        given = options.init is not None  # a file that is not there is an error in any case
        source = initial_weights(options) if given or not state else None
        if state and source:
            notes.append(
                f"--init {source} is not used: the run goes on from {state}; --resume none begins "
                "anew"
            )
            source = None
        self.dataset = build_dataset(config, stage)
        seed_everything(config.train.seed)
        model = self._build_model(from_file=bool(state or source)).to(processes.device)
        if source:
            notes += load_initial_weights(model, config, source)
        prepare(model, config.train)
        self.run = Run(
            config,
            model,
            build_optimizer(model, config.train),
            GradScaler(processes.device.type, enabled=config.train.precision == "float16"),
            iterations_per_epoch(
                config,
                stage,
                processes.size,
                config.train.accumulation,
                dataset=self.dataset,
            ),
        )
        run_backward = config.loss.consistency_weight > 0
        self.criterion = Criterion(config.loss)
        losses = ClipLosses(model, self.criterion, config.train, run_backward)
        self.losses = parallel(losses, processes)
        seed_everything(config.train.seed + processes.rank)
        if state:
            notes.append(f"goes on from {state}")
            notes += restore_state(state, self.run, processes)
        if processes.is_main:  # what the others read, they have read: `parallel` waits for all
            notes += [f"set aside: {path}" for path in self._set_aside(state)]
        self.logger = RunLogger(
            options.log_folder,
            processes.is_main,
            self.run.total_iteration,
            config.train.epochs * self.run.iterations_per_epoch,
            validated=self.run.iteration < self.run.iterations_per_epoch,
        )
        for line in (*notes, *self._summary()):
            self.logger.message(line)

    def train(self) -> int:
        """Epoch after epoch; see the function of this name."""
        run, config = self.run, self.config.train
        hooks = Hooks(self._save, self._draw, self._should_stop)
        try:
            while run.epoch < config.epochs:
                loader = build_loader(
                    self.config,
                    self.stage,
                    rank=self.processes.rank,
                    world_size=self.processes.size,
                    epoch=run.epoch,
                    start_iteration=run.iteration,
                    accumulation=config.accumulation,
                    dataset=self.dataset,
                )
                whole = train_one_epoch(
                    run,
                    self.losses,
                    self.criterion,
                    loader,
                    self.processes,
                    self.logger,
                    hooks,
                    self.options.log_folder,
                )
                if whole:
                    self._end_epoch()
                if run.epoch < config.epochs and (not whole or self._should_stop()):
                    self.logger.message(
                        f"asked to stop: iteration {run.total_iteration} is saved in "
                        f"{self.folder}; go on with --resume auto"
                    )
                    return self.stop.exit_code
            self.logger.message(f"finished: {epoch_path(self.folder, run.epoch)}")
        finally:
            self.logger.close()
        return 0

    def _end_epoch(self) -> None:
        """Write the epoch's weights, score them if that is due, and begin the next."""
        run, every = self.run, self.config.train.eval_every
        redraws = run.meter.redraws(self.processes)
        counts = ", ".join(f"{reason} {count}" for reason, count in redraws.items())
        self.logger.message(f"epoch {run.epoch + 1}: clips drawn again: {counts}")
        scores = self.validate is not None and every > 0 and (run.epoch + 1) % every == 0
        if scores:  # it may take long, and must not cost the epoch if the run is killed meanwhile
            self._save()
        run.epoch, run.iteration = run.epoch + 1, 0
        run.meter.begin_epoch()
        if self.processes.is_main:
            write(epoch_path(self.folder, run.epoch), run)
        if scores:
            self._score()
        self._save()

    def _score(self) -> None:
        run = self.run
        with untouched_random_state():
            score = self.processes.broadcast(self.validate(run.model, self.processes))
        best = is_better(score, run.best_score)
        text = f"epoch {run.epoch}: validation score {score:.4f}{', the best so far' * best}"
        self.logger.scalars("validation", run.total_iteration, run.epoch, {"score": score}, text)
        if best:
            run.best_score = score
            if self.processes.is_main:
                write(best_path(self.folder), run, score=score)

    def _should_stop(self) -> bool:
        return self.processes.any(self.stop.exit_code > 0)

    def _save(self) -> None:
        save_state(self.folder, self.run, self.processes)

    def _draw(self, clip: Clip) -> None:
        sheet = draw_clip(self.run.model, clip)
        self.logger.pictures(self.run.total_iteration, {"clip": sheet})

    def _choose_state(self) -> tuple[Path | None, list[str]]:
        """The state to go on from and notes on what was found: the same on all processes."""
        found: tuple[Path | None, list[str]] = None, []
        if self.processes.is_main:
            found = choose_state(self.options.resume, self.folder)
        return self.processes.broadcast(found)

    def _set_aside(self, state: Path | None) -> list[Path]:
        """Rename what lies in the way of this run's own files, and is of another run."""
        if state and self.options.resume != "auto":
            return set_aside_newer(self.folder, state, self.run.total_iteration)
        if state:
            return []
        metrics = self.options.log_folder / "metrics.jsonl"
        earlier = [rename_earlier(metrics)] if metrics.is_file() and metrics.stat().st_size else []
        return set_aside(self.folder) + earlier

    def _build_model(self, from_file: bool) -> nn.Module:
        """The main process first: it may download the backbone's weights for all."""
        config = self.config
        if from_file:
            model = dataclasses.replace(config.model, pretrained="none")
            return build_model(dataclasses.replace(config, model=model))
        if not self.processes.is_main:
            self.processes.wait()
            return build_model(config)
        model = build_model(config)
        self.processes.wait()
        return model

    def _summary(self) -> list[str]:
        config, processes = self.config.train, self.processes
        clips = config.batch_size * processes.size * config.accumulation
        lines = [
            f"{self.options.name}: {config.epochs} epochs of {self.run.iterations_per_epoch} "
            f"iterations on {processes.device}, {config.precision}",
            f"effective batch: {config.batch_size} clips x {processes.size} processes x "
            f"{config.accumulation} accumulated = {clips}",
        ]
        if clips != config.reference_batch:
            lines.append(
                f"warning: train.lr is made for an effective batch of {config.reference_batch}: "
                "set train.accumulation, or scale train.lr and train.reference_batch"
            )
        return lines


def choose_state(resume: str, folder: Path) -> tuple[Path | None, list[str]]:
    """The state that `--resume` asks for, None to begin anew, and notes on what was found.

    Raises InputError for a file that is not there, and where no state of the folder is whole.
    """
    make_folder(folder)
    remove_unfinished(folder)
    if resume == "none":
        return None, []
    if resume != "auto":
        if not Path(resume).is_file():
            raise InputError(f"--resume {resume}: no such file; auto finds the newest state")
        return Path(resume), []
    state, broken = find_newest(folder)
    if broken and state is None:
        raise InputError(
            f"no state is whole: {', '.join(map(str, broken))}; --resume none begins anew"
            f"{_with_weights(folder)}"
        )
    return state, [f"passed over, because it is not whole: {path}" for path in broken]


def _with_weights(folder: Path) -> str:
    """What to add to `--resume none` to lose only what came after the newest finished epoch."""
    newest = next((path for path in epochs_in(folder) if is_whole(path)), None)
    if newest is None:
        return ""
    return f", --resume none --init {newest} from the weights of the newest whole epoch"
