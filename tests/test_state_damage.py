"""Resume states that no run could go on from: refused by name, passed over for the one before."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small import small_config, small_model
from torch.amp import GradScaler

from rhmnet.errors import InputError
from rhmnet.runtime.processes import join_processes
from rhmnet.training import Run, build_optimizer
from rhmnet.training.state import choose_state, read_state, restore_state, save_state


def new_run(*overrides: str) -> Run:
    """A run with moments of one step."""
    config = small_config(*overrides)
    model = small_model(config)
    optimizer = build_optimizer(model, config.train)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.1)
    optimizer.step()
    return Run(config, model, optimizer, GradScaler("cpu", enabled=False), 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """States after iterations 1 and 2."""
    folder = tmp_path_factory.mktemp("states")
    run = new_run()
    with join_processes("cpu") as processes:
        for run.iteration in (1, 2):
            save_state(folder, run, processes)
    return folder


@pytest.fixture(scope="module")
def content(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "state_00000002.pth.tar", weights_only=True)


def first_moment(state: dict[str, Any]) -> dict[str, Any]:
    return state["optimizer"]["state"][0]


def put(*keys: object, value: object) -> Callable[[dict[str, Any]], None]:
    def change(state: Any) -> None:
        for key in keys[:-1]:
            state = state[key]
        state[keys[-1]] = value

    return change


def drop(*keys: object) -> Callable[[dict[str, Any]], None]:
    def change(state: Any) -> None:
        for key in keys[:-1]:
            state = state[key]
        del state[keys[-1]]

    return change


MOMENT = ("optimizer", "state", 0)
GROUP = ("optimizer", "param_groups", 0)
PROCESS = ("processes", 0)
DAMAGES = {
    "processes are a number": put("processes", value=5),
    "no processes": put("processes", value=[]),
    "a process is none": put(*PROCESS, value=None),
    "iteration below 0": put("iteration", value=-5),
    "iteration beyond the epoch": put("iteration", value=6),
    "iteration of another kind": put("iteration", value=1.5),
    "no iterations": put("iterations_per_epoch", value=0),
    "epoch of another kind": put("epoch", value="x"),
    "a score of another kind": put("best_score", value="good"),
    "no configuration": put("config", value=None),
    "a configuration of another kind": put("config", "model", value=7),
    "a key is missing": drop("scaler"),
    "no optimizer": put("optimizer", value=None),
    "no groups": put("optimizer", "param_groups", value=[]),
    "a group of fewer weights": put(*GROUP, "params", value=[0, 1]),
    "a rate of another kind": put(*GROUP, "lr", value="fast"),
    "a rate that is none": put(*GROUP, "lr", value=float("nan")),
    "a misshapen moment": put(*MOMENT, "exp_avg", value=torch.zeros(3)),
    "a moment of another kind": put(*MOMENT, "exp_avg_sq", value=[1.0]),
    "a moment that is NaN": lambda s: first_moment(s)["exp_avg"].view(-1)[:1].fill_(torch.nan),
    "a negative square": lambda s: first_moment(s)["exp_avg_sq"].view(-1)[:1].fill_(-1),
    "an integer moment": put(*MOMENT, "exp_avg", value=torch.zeros(64, 3, 7, 7, dtype=torch.int8)),
    "a missing moment": drop(*MOMENT, "exp_avg"),
    "a moment of no weight": put("optimizer", "state", 10**6, value={}),
    "a scaler of another kind": put("scaler", value=3),
    "a scaler's lack": put("scaler", value={"scale": 1.0}),
    "a generator of another kind": put(*PROCESS, "random", "torch", value=torch.zeros(3)),
    "another generator of another kind": put(*PROCESS, "random", "python", value=(3, (1, 2), None)),
    "a third generator": put(*PROCESS, "random", "numpy", value=None),
    "a meter of another kind": put(*PROCESS, "meter", value={}),
    "a meter's misshapen counts": put(*PROCESS, "meter", "redraws", value=torch.zeros(1)),
    "weights that are NaN": lambda s: s["state_dict"]["position_embedding.row_embed"].fill_(
        torch.nan
    ),
    "a weight is missing": drop("state_dict", "position_embedding.row_embed"),
    "a misshapen weight": put(
        "state_dict", "position_embedding.row_embed", value=torch.zeros(2, 2)
    ),
}


@pytest.fixture
def holding(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[Path, Any]], None]:
    """What files hold, without 40 MB on the disk for each."""

    def hold(contents: dict[Path, Any]) -> None:
        for path in contents:
            path.touch()
        monkeypatch.setattr("rhmnet.checkpoint.read_torch_file", contents.get)

    return hold


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_state_is_refused(
    content: dict[str, Any], tmp_path: Path, holding: Callable, name: str
) -> None:
    path = tmp_path / "state_00000002.pth.tar"
    damaged = copy.deepcopy(content)
    DAMAGES[name](damaged)
    holding({path: damaged})
    with pytest.raises(InputError, match=r"state_00000002\.pth\.tar: ") as error:
        read_state(path)
    assert "\n" not in str(error.value)


def test_damaged_states_are_passed_over(
    content: dict[str, Any], tmp_path: Path, holding: Callable
) -> None:
    paths = [tmp_path / f"state_0000000{n}.pth.tar" for n in range(4)]
    odd = {**content, "iteration": -1}, {**content, "optimizer": 3}
    holding(dict(zip(paths, (content, content, *odd), strict=True)))
    state, notes = choose_state("auto", tmp_path)
    assert state == paths[1]
    passed = (f"passed over, because it is not whole: {path}" for path in paths[:1:-1])
    assert notes == list(passed)


@pytest.mark.parametrize("place", ["the directory", "the end", "a page"])
def test_a_state_with_a_damaged_directory_is_passed_over(
    folder: Path, tmp_path: Path, place: str
) -> None:
    older, newer = (tmp_path / f"state_0000000{n}.pth.tar" for n in (1, 2))
    older.symlink_to(folder / older.name)
    whole = bytearray((folder / newer.name).read_bytes())
    if place == "the directory":
        whole[whole.rfind(b"PK\x01\x02") + 10] = 99
    elif place == "the end":
        whole[-22:] = bytes(22)
    newer.write_bytes(b"<html>" if place == "a page" else whole)
    assert choose_state("auto", tmp_path)[0] == older


def test_a_sound_state_is_put_back(folder: Path) -> None:
    run = new_run()
    for moments in run.optimizer.state.values():
        moments["exp_avg"].zero_()
    with join_processes("cpu") as processes:
        assert restore_state(folder / "state_00000002.pth.tar", run, processes) == []
    assert run.iteration == 2
    assert all(moments["exp_avg"].any() for moments in run.optimizer.state.values())


def test_a_state_of_another_network_is_refused(folder: Path) -> None:
    state = folder / "state_00000002.pth.tar"
    with join_processes("cpu") as processes:
        with pytest.raises(InputError, match="num_heads is 4 in the file, 8 here"):
            restore_state(state, new_run("model.num_heads=8"), processes)
        with pytest.raises(InputError, match="does not fit the model"):
            restore_state(state, new_run("model.hidden_dim=96"), processes)
