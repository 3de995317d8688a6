"""A training run around its steps: options, what it goes on from or begins with, epochs, scores.

What is trained, and on what, `train_pretrain.py` and `train_video.py` put together.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import nn

from rhmnet.checkpoint import (
    SMALL,
    best_path,
    epoch_path,
    fill,
    find_checkpoint,
    read_checkpoint,
    run_folder,
)
from rhmnet.config import Config, load_config
from rhmnet.errors import InputError
from rhmnet.files.concurrency import alone_in
from rhmnet.model import RHMNet
from rhmnet.runtime import CommandParser, StopRequest
from rhmnet.runtime.processes import (
    Processes,
    join_processes,
    seed_everything,
    untouched_random_state,
)
from rhmnet.state_dict import resize_positions
from rhmnet.structures import Clip
from rhmnet.training import Hooks, Run, train_one_epoch
from rhmnet.training.logger import RunLogger, draw_clip
from rhmnet.training.state import (
    choose_state,
    is_better,
    refuse_other_heads,
    rename_earlier,
    restore_state,
    save_state,
    set_aside,
    set_aside_newer,
    write,
)

Validate = Callable[[RHMNet, Processes], float | None]
"""Score of a model, higher is better; called on all processes, the main one's result counts."""


class Options(NamedTuple):
    """What a training run is told from outside."""

    config: Config
    name: str
    """Of the configuration; checkpoints and logs lie in folders named after it."""
    resume: str
    """auto, none or a file."""
    init: str | None
    """none or a file; None for what the configuration says."""
    checkpoints: Path
    runs: Path
    device: str

    @property
    def checkpoint_folder(self) -> Path:
        """Where states and weights of this run lie, named as the release does."""
        return run_folder(self.checkpoints, self.name)

    @property
    def log_folder(self) -> Path:
        """Where log.txt, metrics.jsonl and TensorBoard's events lie."""
        return self.runs / self.name


def parse_options(description: str, default_config: str) -> Options:
    """Read the command line. description: the script's docstring, shown by --help."""
    parser = CommandParser(settings=True, description=description)
    add = parser.add_argument
    add(
        "--config",
        default=default_config,
        help="a name under configs/ or a YAML file (default: %(default)s)",
    )
    add(
        "--resume",
        default="auto",
        metavar="auto|none|FILE",
        help="go on from the newest whole state (auto, the default), begin anew (none), or go on "
        "from a state_*.pth.tar",
    )
    add(
        "--init",
        metavar="none|small|FILE",
        help="weights that a new run starts from; `small`: those of the network that comes with "
        "the project (default: as the configuration says)",
    )
    states = "states and weights go to DIR/pretrain_weights_CONFIG (default: %(default)s)"
    add("--checkpoints", type=Path, default=Path("checkpoints"), metavar="DIR", help=states)
    logs = "logs and TensorBoard events go to DIR/CONFIG (default: %(default)s)"
    add("--runs", type=Path, default=Path("runs"), metavar="DIR", help=logs)
    add("--device", default="auto", help="auto (the default), cpu, cuda, cuda:N or mps")
    # python -m torch.distributed.launch passes it; the environment says the same
    add("--local-rank", "--local_rank", help=argparse.SUPPRESS)
    given = parser.parse_args()
    config, name = load_config(given.config, given.overrides), Path(given.config).stem
    folders = given.checkpoints, given.runs
    return Options(config, name, given.resume, given.init, *folders, given.device)


@contextmanager
def joined(options: Options) -> Iterator[tuple[Processes, StopRequest]]:
    """The processes of a run, the only one in its folder, and what asks them to stop."""
    with ExitStack() as stack:
        processes = stack.enter_context(join_processes(options.device))
        launched = "TORCHELASTIC_RUN_ID" in os.environ  # and not each process by hand
        stop = stack.enter_context(StopRequest(patient=processes.size > 1, launched=launched))
        if processes.is_main:
            stack.enter_context(
                alone_in(options.checkpoint_folder, "stop it, or use --checkpoints DIR")
            )
        yield processes, stop


@dataclass
class Origin:
    """What a run goes on from, a state; or begins with, a file of weights or neither."""

    config: Config
    """The run's, without a source of backbone weights where a file holds all weights."""
    state: Path | None
    weights: Path | None
    notes: list[str]

    def fill(self, model: RHMNet) -> None:
        """Begin with the file's weights, where there is one.

        Of weights that were trained on crops of another size, the position embedding is resized.
        Raises InputError where they do not fit, or are of another number of heads.
        """
        if self.weights is None:
            return
        content = read_checkpoint(self.weights)
        changed = refuse_other_heads(self.weights, content, self.config)
        content["state_dict"], note = resize_positions(content["state_dict"], model.state_dict())
        fill(model, content, self.weights)
        told = [line for line in changed if not (note and line.startswith("data.crop_size"))]
        self.notes += [f"starts from {self.weights}", *([note] if note else [])]
        self.notes += [f"of the weights it starts from, {line}" for line in told]


def find_origin(options: Options, processes: Processes) -> Origin:
    """The state that `--resume` asks for, or the weights that a new run begins with: the same on
    all processes.

    Raises InputError where a file is missing, and what `choose_state` raises.
    """
    found: tuple[Path | None, list[str]] = None, []
    if processes.is_main:
        found = choose_state(options.resume, options.checkpoint_folder)
    state, notes = processes.broadcast(found)
    given = options.init is not None  # a file that is not there is an error in any case
    weights = initial_weights(options) if given or not state else None
    if state and weights:
        notes.append(
            f"--init {weights} is not used: the run goes on from {state}; --resume none begins anew"
        )
        weights = None
    config = options.config
    if state or weights:
        model = dataclasses.replace(config.model, pretrained="none")
        config = dataclasses.replace(config, model=model)
    return Origin(config, state, weights, notes)


def initial_weights(options: Options) -> Path | None:
    """The file that a new run starts from; None for the backbone's weights alone.

    Raises InputError where it is missing, with the command that makes it.
    """
    train = options.config.train
    if options.init == "none" or (options.init is None and train.init_config is None):
        return None
    if options.init == SMALL:
        return find_checkpoint(SMALL)
    if options.init is not None:
        path, remedy = Path(options.init), "name a checkpoint, or --init none"
    else:
        folder = run_folder(options.checkpoints, train.init_config)
        path = epoch_path(folder, train.init_epoch)
        remedy = (
            f"`python train_pretrain.py --config {train.init_config}` makes it (train_video.py, "
            "where it is of videos); --init FILE starts from other weights, --init none from the "
            "backbone's alone"
        )
    if not path.is_file():
        raise InputError(f"initial weights {path}: no such file; {remedy}")
    return path


@dataclass
class Training:
    """A run that is put together, on one of its processes."""

    options: Options
    run: Run
    losses: nn.Module
    """A `ClipLosses`, maybe wrapped for many processes."""
    loader: Callable[..., Iterable[Clip]]
    """The batches of `epoch` from `start_iteration` on."""
    processes: Processes
    stop: StopRequest
    validate: Validate | None = None
    """Called every `train.eval_every` epochs."""

    def train(self, origin: Origin) -> int:
        """Train from the origin to the end, or until asked to stop; returns the exit code."""
        run, config = self.run, self.options.config.train
        notes = self._begin(origin)
        self.logger = RunLogger(
            self.options.log_folder,
            self.processes.is_main,
            run.total_iteration,
            config.epochs * run.iterations_per_epoch,
            validated=run.iteration < run.iterations_per_epoch,
        )
        try:
            for line in (*notes, *self._summary()):
                self.logger.message(line)
            while run.epoch < config.epochs:
                whole = self._train_one_epoch()
                if whole:
                    self._end_epoch()
                if run.epoch < config.epochs and (not whole or self._should_stop()):
                    self.logger.message(
                        f"asked to stop: iteration {run.total_iteration} is saved in "
                        f"{self.options.checkpoint_folder}; go on with --resume auto"
                    )
                    return self.stop.exit_code
            self.logger.message(
                f"finished: {epoch_path(self.options.checkpoint_folder, run.epoch)}"
            )
        finally:
            self.logger.close()
        return 0

    def _begin(self, origin: Origin) -> list[str]:
        """Put the origin's state back, and out of the way what is of another run; returns notes."""
        config, processes, notes = self.options.config, self.processes, origin.notes
        seed_everything(config.train.seed + processes.rank)
        if origin.state:
            notes.append(f"goes on from {origin.state}")
            notes += restore_state(origin.state, self.run, processes)
        if processes.is_main:  # what the others read, they have read: `parallel` waits for all
            notes += [f"set aside: {path}" for path in self._set_aside(origin.state)]
        return notes

    def _train_one_epoch(self) -> bool:
        run = self.run
        return train_one_epoch(
            run,
            self.losses,
            self.loader(epoch=run.epoch, start_iteration=run.iteration),
            self.processes,
            self.logger,
            Hooks(self._save, self._draw, self._should_stop),
            self.options.log_folder,
        )

    def _end_epoch(self) -> None:
        """Write the epoch's weights, score them if that is due, and begin the next."""
        run, every = self.run, self.options.config.train.eval_every
        redraws = run.meter.redraws(self.processes)
        counts = ", ".join(f"{reason} {count}" for reason, count in redraws.items())
        self.logger.message(f"epoch {run.epoch + 1}: clips drawn again: {counts}")
        scores = self.validate is not None and every > 0 and (run.epoch + 1) % every == 0
        if scores:  # it may take long, and must not cost the epoch if the run is killed meanwhile
            self._save()
        run.epoch, run.iteration = run.epoch + 1, 0
        run.meter.begin_epoch()
        if self.processes.is_main:
            write(epoch_path(self.options.checkpoint_folder, run.epoch), run)
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
                write(best_path(self.options.checkpoint_folder), run, score=score)

    def _should_stop(self) -> bool:
        return self.processes.any(self.stop.exit_code > 0)

    def _save(self) -> None:
        save_state(self.options.checkpoint_folder, self.run, self.processes)

    def _draw(self, clip: Clip) -> None:
        sheet = draw_clip(self.run.model, clip)
        self.logger.pictures(self.run.total_iteration, {"clip": sheet})

    def _set_aside(self, state: Path | None) -> list[Path]:
        """Rename what lies in the way of this run's own files, and is of another run."""
        if state and self.options.resume != "auto":
            return set_aside_newer(self.options.checkpoint_folder, state, self.run.total_iteration)
        if state:
            return []
        metrics = self.options.log_folder / "metrics.jsonl"
        earlier = [rename_earlier(metrics)] if metrics.is_file() and metrics.stat().st_size else []
        return set_aside(self.options.checkpoint_folder) + earlier

    def _summary(self) -> list[str]:
        config, processes = self.options.config.train, self.processes
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
