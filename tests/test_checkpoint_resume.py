"""A run that is stopped anywhere goes on as if nothing had happened."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from training_runs import (
    losses_of,
    run_processes,
    tiny_config,
    tiny_options,
    train_and_die,
    train_tiny,
    weights_of,
)

from rhmnet.checkpoint import load_checkpoint, read_config
from rhmnet.config import override
from rhmnet.errors import InputError
from rhmnet.model import build_model
from rhmnet.training import run as run_module
from rhmnet.training import state as state_module
from rhmnet.training.run import Options, initial_weights
from rhmnet.training.state import choose_state, find_newest, is_whole

ITERATIONS = 6


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Options, float]:
    """A run that nothing interrupted, and its seconds."""
    options = tiny_options(tmp_path_factory.mktemp("whole"), tiny_config())
    start = time.perf_counter()
    assert train_tiny(options) == 0
    return options, time.perf_counter() - start


def assert_same(options: Options, whole: Options, epoch: int = 2) -> None:
    assert losses_of(options) == losses_of(whole)
    ours, theirs = weights_of(options, epoch), weights_of(whole, epoch)
    assert ours.keys() == theirs.keys()
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


def kill_until_done(options: Options, times: int, seconds: float, processes: int = 1) -> None:
    rng = random.Random(0)
    killed = 0
    while killed < times:
        codes = run_processes(
            processes, train_and_die, options, signal.SIGKILL, rng.uniform(0, seconds)
        )
        killed += -signal.SIGKILL in codes
        if set(codes) == {0}:  # it was faster: begin again
            seconds /= 2
            for path in options.checkpoint_folder.glob("*"):
                path.unlink()
    assert run_processes(processes, train_and_die, options, signal.SIGKILL, 600) == [0] * processes


def test_killed_run_equals_an_uninterrupted_one(
    whole: tuple[Options, float], tmp_path: Path
) -> None:
    options = tiny_options(tmp_path, tiny_config())
    kill_until_done(options, 2, whole[1])
    assert_same(options, whole[0])


@pytest.mark.slow
def test_run_killed_ten_times(whole: tuple[Options, float], tmp_path: Path) -> None:
    options = tiny_options(tmp_path, tiny_config())
    kill_until_done(options, 10, whole[1])
    assert_same(options, whole[0])


@pytest.mark.slow
def test_two_processes_killed_ten_times(tmp_path: Path) -> None:
    config = tiny_config(batch_size=1)
    options, undisturbed = (tiny_options(tmp_path / name, config) for name in ("killed", "whole"))
    start = time.perf_counter()
    assert run_processes(2, train_and_die, undisturbed, signal.SIGKILL, 600) == [0, 0]
    kill_until_done(options, 10, time.perf_counter() - start, processes=2)
    assert_same(options, undisturbed)


@pytest.mark.parametrize("every", [1, 4])
def test_stop_request_finishes_the_step_and_saves(
    whole: tuple[Options, float], tmp_path: Path, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = tiny_options(tmp_path, tiny_config(save_every=every))
    save, saved = run_module.save_state, []

    def save_then_signal(*args: object) -> None:
        save(*args)
        saved.append(args)
        if len(saved) == 1:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(run_module, "save_state", save_then_signal)
    assert train_tiny(options) == 143
    state, broken = find_newest(options.checkpoint_folder)
    assert broken == []
    content = torch.load(state, weights_only=True)
    done = content["epoch"] * content["iterations_per_epoch"] + content["iteration"]
    assert done == {1: 2, 4: 3}[every]  # one step after the first save, none after an epoch's
    monkeypatch.undo()
    assert train_tiny(options) == 0
    assert_same(options, whole[0])


def test_window_of_logged_means_is_resumed(tmp_path: Path) -> None:
    config = tiny_config(log_every=3, save_every=2, keep_states=9, epochs=1)
    options, undisturbed = (tiny_options(tmp_path / name, config) for name in ("cut", "whole"))
    assert train_tiny(undisturbed) == 0
    state = undisturbed.checkpoint_folder / "state_00000002.pth.tar"
    assert train_tiny(options._replace(resume=str(state))) == 0
    assert [iteration for iteration, _ in losses_of(options)] == [3]
    assert_same(options, undisturbed, epoch=1)


def test_state_is_a_checkpoint_too(whole: tuple[Options, float]) -> None:
    state, _ = find_newest(whole[0].checkpoint_folder)
    model = build_model(read_config(state))
    assert load_checkpoint(model, state) == 2
    torch.testing.assert_close(model.state_dict(), weights_of(whole[0]), rtol=0, atol=0)


def test_old_states_go_and_every_epoch_stays(whole: tuple[Options, float]) -> None:
    names = sorted(path.name for path in whole[0].checkpoint_folder.glob("[!.]*"))
    epochs = [f"pretrain_checkpoint_{n}.pth.tar" for n in (1, 2)]
    assert names == [*epochs, "state_00000005.pth.tar", "state_00000006.pth.tar"]


def test_finished_run_stays_finished(whole: tuple[Options, float]) -> None:
    before = weights_of(whole[0])
    assert train_tiny(whole[0]) == 0
    torch.testing.assert_close(weights_of(whole[0]), before, rtol=0, atol=0)


@pytest.mark.parametrize("damage", ["cut off", "empty", "one bit"])
def test_damaged_state_is_passed_over(
    whole: tuple[Options, float], tmp_path: Path, damage: str
) -> None:
    for source in whole[0].checkpoint_folder.glob("state_*"):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    older, newer = sorted(tmp_path.iterdir())
    content = bytearray(newer.read_bytes())
    if damage == "one bit":
        content[len(content) // 2] ^= 1
    newer.write_bytes(content[: {"cut off": len(content) - 7, "empty": 0}.get(damage)])
    assert not is_whole(newer)
    state, notes = choose_state("auto", tmp_path)
    assert state == older
    assert str(newer) in notes[0]


def test_full_disk_costs_no_earlier_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = tiny_options(tmp_path, tiny_config())
    real, writes = torch.save, []

    def save_to_full_disk(content: object, file: object) -> None:
        writes.append(content)
        if len(writes) == 3:  # as the disk tells it, through whatever stands between
            file.raw.failed = OSError(28, "No space left on device")
            raise RuntimeError("unexpected pos")
        real(content, file)

    monkeypatch.setattr(torch, "save", save_to_full_disk)
    with pytest.raises(InputError, match=r"No space left on device.*--resume auto"):
        train_tiny(options)
    paths = sorted(options.checkpoint_folder.glob("*.pth.tar"))
    assert [path.name for path in paths] == ["state_00000001.pth.tar", "state_00000002.pth.tar"]
    assert all(is_whole(path) for path in paths)


def test_new_run_sets_the_earlier_states_aside(tmp_path: Path) -> None:
    options = tiny_options(tmp_path, tiny_config(epochs=1))
    assert train_tiny(options) == 0
    assert train_tiny(options._replace(resume="none")) == 0
    names = {path.name for path in options.checkpoint_folder.iterdir()}
    assert {"earlier_state_00000003.pth.tar", "state_00000003.pth.tar"} < names
    assert [iteration for iteration, _ in losses_of(options)] == [1, 2, 3]


def test_resume_refuses_weights_and_other_data(
    whole: tuple[Options, float], tmp_path: Path
) -> None:
    weights = whole[0].checkpoint_folder / "pretrain_checkpoint_1.pth.tar"
    with pytest.raises(InputError, match=r"holds weights, not the state of a run.*--init"):
        train_tiny(tiny_options(tmp_path, tiny_config(), resume=str(weights)))
    state, _ = find_newest(whole[0].checkpoint_folder)
    with pytest.raises(InputError, match="3 iterations an epoch, this one 6"):
        train_tiny(tiny_options(tmp_path, tiny_config(batch_size=1), resume=str(state)))
    with pytest.raises(InputError, match="no such file"):
        train_tiny(tiny_options(tmp_path, tiny_config(), resume="nowhere.pth.tar"))


def test_changed_configuration_is_warned_of(
    whole: tuple[Options, float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, _ = find_newest(whole[0].checkpoint_folder)
    train_tiny(tiny_options(tmp_path, tiny_config(lr=0.5, log_every=9), resume=str(state)))
    printed = capsys.readouterr().out
    assert "train.lr was 0.001 when the run began and is 0.5 now" in printed
    assert "log_every" not in printed


def test_video_training_starts_from_pre_training(tmp_path: Path) -> None:
    options = tiny_options(tmp_path, tiny_config(init_config="pre_training", init_epoch=14))
    path = tmp_path / "checkpoints/pretrain_weights_pre_training/pretrain_checkpoint_14.pth.tar"
    with pytest.raises(InputError, match=r"train_pretrain\.py --config pre_training"):
        initial_weights(options)
    path.parent.mkdir(parents=True)
    path.touch()
    assert initial_weights(options) == path
    assert initial_weights(options._replace(init="none")) is None
    with pytest.raises(InputError, match=r"weights other.pth.tar: no such file"):
        initial_weights(options._replace(init="other.pth.tar"))


def test_initial_weights_are_used(whole: tuple[Options, float], tmp_path: Path) -> None:
    options = tiny_options(tmp_path, tiny_config(lr=0, weight_decay=0, epochs=1))
    source = whole[0].checkpoint_folder / "pretrain_checkpoint_2.pth.tar"
    assert train_tiny(options._replace(init=str(source))) == 0
    torch.testing.assert_close(weights_of(options, epoch=1), weights_of(whole[0]), rtol=0, atol=0)


def test_position_embedding_grows_with_the_crop(
    whole: tuple[Options, float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Crops of 32 x 32 have two vectors a side, those of 48 x 32 three rows: one between them."""
    source = whole[0].checkpoint_folder / "pretrain_checkpoint_2.pth.tar"
    config = tiny_config(lr=0, weight_decay=0, epochs=1)
    config = override(config, ["data.crop_size=[48,32]", "data.short_side=48"])
    options = tiny_options(tmp_path, config)
    assert train_tiny(options._replace(init=str(source))) == 0
    printed = capsys.readouterr().out
    assert "position embedding is resized: from crops of 32x32 to 48x32" in printed
    assert "data.crop_size is" not in printed
    old, new = weights_of(whole[0]), weights_of(options, epoch=1)
    rows, grown = (state.pop("position_embedding.row_embed") for state in (old, new))
    torch.testing.assert_close(grown[::2], rows)
    torch.testing.assert_close(grown[1::2], (rows[:-1] + rows[1:]) / 2)
    torch.testing.assert_close(new, old, rtol=0, atol=0)


def test_validation_keeps_the_best_and_changes_nothing(
    whole: tuple[Options, float], tmp_path: Path
) -> None:
    scores = iter([0.5, 0.25])

    def validate(model: torch.nn.Module, processes: object) -> float:
        torch.rand(3)
        return next(scores)

    options = tiny_options(tmp_path, tiny_config(eval_every=1))
    assert train_tiny(options, validate) == 0
    torch.testing.assert_close(weights_of(options), weights_of(whole[0]), rtol=0, atol=0)
    best = torch.load(options.checkpoint_folder / "best.pth.tar", weights_only=True)
    assert (best["epoch"], best["score"]) == (1, 0.5)
    lines = [json.loads(x) for x in (options.log_folder / "metrics.jsonl").open()]
    found = [(x["iteration"], x["score"]) for x in lines if x["kind"] == "validation"]
    assert found == [(3, 0.5), (6, 0.25)]


def test_run_killed_while_it_validates_validates_again(tmp_path: Path) -> None:
    options = tiny_options(tmp_path, tiny_config(eval_every=1, epochs=1, save_every=100))

    def die(model: torch.nn.Module, processes: object) -> float:
        raise MemoryError

    with pytest.raises(MemoryError):
        train_tiny(options, die)
    assert train_tiny(options, lambda model, processes: 0.75) == 0
    kinds = [json.loads(x)["kind"] for x in (options.log_folder / "metrics.jsonl").open()]
    assert kinds == ["train", "train", "train", "validation"]


def test_states_hold_nothing_that_pickle_would_run(whole: tuple[Options, float]) -> None:
    state, _ = find_newest(whole[0].checkpoint_folder)
    content = state_module.read_checkpoint(state)
    assert {"optimizer", "scaler", "processes", "iteration", "config"} < content.keys()
