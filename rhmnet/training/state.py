"""The resume state of a run: all that it needs to go on as if nothing had happened.

A state is a checkpoint like any other (weights, configuration, epoch) with optimizer, scaler,
counters and every process's random generators added. Checksums tell bytes that changed; what is as
it was written, and no state that a run could go on from, is refused by what it holds.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from rhmnet.checkpoint import (
    best_path,
    carried_config,
    differences,
    epochs_in,
    fill,
    read_checkpoint,
    save_checkpoint,
    state_path,
    states_in,
)
from rhmnet.config import Config, to_dict
from rhmnet.errors import FINITE, InputError, is_whole_number
from rhmnet.files.writing import make_folder, move, remove, remove_unfinished
from rhmnet.model import RHMNet
from rhmnet.runtime.processes import (
    Processes,
    get_random_state,
    is_random_state,
    set_random_state,
)
from rhmnet.state_dict import fitting_weights, not_finite, optimizer_misfit
from rhmnet.training import Run, build_optimizer
from rhmnet.training.logger import Meter

_TRAIN_FIELDS_FREE_TO_CHANGE = {
    *("batch_size", "accumulation", "compile", "channels_last", "checkpoint_activations"),
    *("log_every", "picture_every", "save_every", "keep_states", "eval_every"),
}
_DATA_FIELDS_FREE_TO_CHANGE = {"root", "num_workers", "prefetch"}
_STATE_KEYS = {
    *("epoch", "iteration", "iterations_per_epoch", "best_score", "config"),
    *("optimizer", "scaler", "processes"),
}
_SCALER = {"scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker"}


def save_state(folder: Path, run: Run, processes: Processes) -> None:
    """Write the run's state and drop all but the newest `train.keep_states`. Call on all processes.

    The older states go only after the new one is in place.
    """
    own = {"random": get_random_state(), "meter": run.meter.state_dict()}
    everyone = processes.gather(own)
    if not processes.is_main:
        return
    written = state_path(folder, run.total_iteration)
    write(
        written,
        run,
        iteration=run.iteration,
        iterations_per_epoch=run.iterations_per_epoch,
        best_score=run.best_score,
        optimizer=run.optimizer.state_dict(),
        scaler=run.scaler.state_dict(),
        processes=everyone,
    )
    others = [path for path in states_in(folder) if path != written]
    for path in others[max(run.config.train.keep_states - 1, 0) :]:
        remove(path)


def write(path: Path, run: Run, **extra: Any) -> None:
    """Write the run's weights and `extra`.

    Raises InputError where the disk does not take them or they are not finite: what was written
    before stands then.
    """
    if not all(p.isfinite().all() for p in run.model.parameters()):
        raise InputError(
            f"iteration {run.total_iteration}: weights are not finite, and {path.name} was not "
            "written: try a lower train.lr or train.precision=float32, then --resume auto"
        )
    try:
        save_checkpoint(path, run.model, run.config, run.epoch, **extra)
    except InputError as error:
        raise InputError(
            f"{error} ({_free_space(path.parent)}); the states before it are whole: go on with "
            "--resume auto"
        ) from None


def read_state(path: Path) -> dict[str, Any]:
    """A state, looked at as a whole.

    Raises InputError where the file is damaged, holds weights alone, or lacks what a run needs.
    """
    state = read_checkpoint(path)
    if "optimizer" not in state:
        raise InputError(
            f"{path}: holds weights, not the state of a run; start from it with --init, or name a "
            "state_*.pth.tar"
        )
    if missing := sorted(_missing_keys(state)):
        raise InputError(
            f"{path}: a state without {', '.join(missing)}, perhaps of another version; name "
            "another state_*.pth.tar, or start from its weights with --resume none --init"
        )
    if problem := _damage(state, path):
        raise InputError(
            f"{path}: not the state of a run: {problem}; name another state_*.pth.tar, or start "
            "from its weights with --resume none --init"
        )
    return state


def _damage(state: Mapping[str, Any], path: Path) -> str | None:
    """What keeps a `read_checkpoint` that has all keys of a state from being one; None if nothing.

    It is looked at by itself, not against a run: its moments against the network of its own
    configuration.
    """
    iterations = state["iterations_per_epoch"]
    if not is_whole_number(iterations, 1) or not is_whole_number(state["iteration"], 0, iterations):
        return "iteration or iterations_per_epoch is no number of iterations"
    if state["best_score"] is not None and type(state["best_score"]) not in (int, float):
        return "best_score is no number"
    if problem := _processes(state["processes"]) or _scaler(state["scaler"]):
        return problem
    try:
        config = carried_config(state, path)
        with torch.device("meta"):
            model = RHMNet(config)
        weights = fitting_weights(model.state_dict(), state, config.model, path)
    except InputError as error:
        return str(error).removeprefix(f"{path}: ")
    for key, value in weights.items():
        if not value.is_meta and (kind := not_finite(value)):
            return f"{key} holds {kind}"
    return optimizer_misfit(state["optimizer"], build_optimizer(model, config.train))


def _processes(everyone: Any) -> str | None:
    """Of each process: the state of its random generators, and its meter's."""
    for number, process in enumerate(everyone):
        if not is_random_state(process["random"]):
            return f"processes[{number}].random is no state of random generators"
        if not Meter.is_state(process["meter"]):
            return f"processes[{number}].meter is no state of a meter"
    return None


def _scaler(scaler: Any) -> str | None:
    if not isinstance(scaler, Mapping):
        return "scaler is no state of a loss scaler"
    if scaler and not (scaler.keys() >= _SCALER and all(FINITE.holds(scaler[k]) for k in _SCALER)):
        return f"scaler lacks one of {', '.join(sorted(_SCALER))}"
    return None


def restore_state(path: Path, run: Run, processes: Processes) -> list[str]:
    """Put a state back, on every process; returns what is worth a warning, line by line.

    Raises InputError where the file is no state, or of a run that this one cannot go on from.
    """
    state = read_state(path)
    if state["iterations_per_epoch"] != run.iterations_per_epoch:
        raise InputError(
            f"{path}: its run has {state['iterations_per_epoch']} iterations an epoch, this one "
            f"{run.iterations_per_epoch}; keep batch_size x processes x accumulation and the data "
            "as they were, or start from its weights with --init"
        )
    refuse_other_heads(path, state, run.config)
    fill(run.model, state, path)
    if problem := optimizer_misfit(state["optimizer"], run.optimizer):
        raise InputError(
            f"{path}: does not fit this run: {problem}; start from its weights with --resume none "
            "--init"
        )
    run.optimizer.load_state_dict(state["optimizer"])
    if state["scaler"]:
        run.scaler.load_state_dict(state["scaler"])
    run.epoch, run.iteration = state["epoch"], state["iteration"]
    run.best_score = state["best_score"]

    warnings = _changes(state["config"], to_dict(run.config))
    everyone = state["processes"]
    if len(everyone) != processes.size:
        warnings.append(
            f"{len(everyone)} processes became {processes.size}: clips stay the same, dropout "
            "and the first mean that is logged do not"
        )
        redraws = sum(process["meter"]["redraws"] for process in everyone)
        if processes.is_main:  # they are only ever read as a sum over all processes
            run.meter.load_state_dict({**Meter().state_dict(), "redraws": redraws})
        return warnings
    run.meter.load_state_dict(everyone[processes.rank]["meter"])
    set_random_state(everyone[processes.rank]["random"])
    return warnings


def refuse_other_heads(path: Path, content: dict[str, Any], config: Config) -> list[str]:
    """Fields of the network in which a file differs from the configuration, line by line.

    Training may go on with other options than before; but for the number of heads, which no shape
    tells and no training mends: InputError.
    """
    changed = differences(content, path, config.model, config.data.crop_size)
    if heads := [line for line in changed if line.startswith("model.num_heads")]:
        raise InputError(f"{path}: {heads[0]}: its weights mean nothing then; set the same number")
    return changed


def find_newest(folder: Path) -> tuple[Path | None, list[Path]]:
    """The newest sound state of a folder, None without one, and the broken ones passed over."""
    broken = []
    for path in states_in(folder):
        try:
            read_state(path)
        except InputError:
            broken.append(path)
        else:
            return path, broken
    return None, broken


def is_whole(path: Path) -> bool:
    """Whether a file's weights can be read, its checksums right."""
    try:
        read_checkpoint(path)
    except InputError:
        return False
    return True


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


def set_aside(folder: Path) -> list[Path]:
    """Rename an earlier run's states and best weights, so that a new one never takes them for its.

    Returns the new names, none of which was taken.
    """
    paths = [*states_in(folder), best_path(folder)]
    return [rename_earlier(path) for path in paths if path.is_file()]


def set_aside_newer(folder: Path, state: Path, iteration: int) -> list[Path]:
    """Rename the states that a run which goes on from `state` would take for its own later ones.

    state: of `iteration`, in this folder or elsewhere. Left where they are, the newer ones would
    outlive all that the run saves, and the next `--resume auto` would go on from them.
    """
    own = state.resolve()
    return [
        rename_earlier(path)
        for path, reached in states_in(folder).items()
        if reached >= iteration and path.resolve() != own
    ]


def rename_earlier(path: Path) -> Path:
    """Put `earlier_` before a name; where that is taken, `earlier_2_`, `earlier_3_` and so on."""
    target, number = path.with_name(f"earlier_{path.name}"), 2
    while target.exists():
        target, number = path.with_name(f"earlier_{number}_{path.name}"), number + 1
    move(path, target)
    return target


def is_better(score: float, best: float | None) -> bool:
    """Whether a validation score is the best so far; one that is not a number never is."""
    return not math.isnan(score) and (best is None or math.isnan(best) or score > best)


def _missing_keys(state: dict[str, Any]) -> set[str]:
    missing = _STATE_KEYS - state.keys()
    everyone = state.get("processes")
    if not isinstance(everyone, list) or not everyone:
        return {*missing, "processes"}
    for number, process in enumerate(everyone):
        if not isinstance(process, dict):
            return {*missing, f"processes[{number}]"}
        missing |= {f"processes[{number}].{k}" for k in ("meter", "random") if k not in process}
    return missing


def _free_space(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free / 2**30:.2f} GiB free"
    except OSError as error:
        return f"free space unknown: {error.strerror}"


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Configuration fields that change the result and differ from those that the run began with."""
    lines = []
    free = {"train": _TRAIN_FIELDS_FREE_TO_CHANGE, "data": _DATA_FIELDS_FREE_TO_CHANGE}
    for group in ("model", "data", "loss", "train"):
        for name, value in now[group].items():
            if name in free.get(group, ()):
                continue
            old = before.get(group, {}).get(name)
            if old != value:
                lines.append(f"{group}.{name} was {old} when the run began and is {value} now")
    return lines
