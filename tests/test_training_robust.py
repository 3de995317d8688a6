"""A run that meets an earlier run's files, a full disk, or the death of its launcher."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from training_runs import (
    MadeUpClips,
    losses_of,
    run_processes,
    tiny_config,
    tiny_options,
    train_tiny,
    weights_of,
)

from rhmnet.data import SampleKey
from rhmnet.errors import InputError
from rhmnet.files import concurrency
from rhmnet.files.concurrency import alone_in
from rhmnet.runtime import StopRequest
from rhmnet.training import FiniteWatch
from rhmnet.training.run import Options
from rhmnet.training.state import find_newest


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Options:
    """A finished run with all of its states."""
    options = tiny_options(tmp_path_factory.mktemp("whole"), tiny_config(keep_states=9))
    assert train_tiny(options) == 0
    return options


def copy_of(whole: Options, folder: Path, **train: int) -> Options:
    """The same run's files in another folder."""
    options = tiny_options(folder, tiny_config(**train))
    shutil.copytree(whole.checkpoint_folder, options.checkpoint_folder)
    shutil.copytree(whole.log_folder, options.log_folder)
    return options


def states_in(options: Options, pattern: str = "state_*") -> list[int]:
    return sorted(int(p.name.split("_")[-1][:8]) for p in options.checkpoint_folder.glob(pattern))


def test_run_from_an_older_state_keeps_what_it_saves(
    whole: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = copy_of(whole, tmp_path, keep_states=1)
    state = options.checkpoint_folder / "state_00000002.pth.tar"
    stopped = options._replace(resume=str(state), config=tiny_config(keep_states=1, epochs=1))
    assert train_tiny(stopped) == 0
    assert states_in(options) == [3]
    assert states_in(options, "earlier_state_*") == [3, 4, 5, 6]
    assert "set aside" in capsys.readouterr().out
    assert train_tiny(options) == 0  # goes on from its own state, not from the earlier run's
    assert losses_of(options) == losses_of(whole)
    torch.testing.assert_close(weights_of(options), weights_of(whole), rtol=0, atol=0)


def test_beginning_anew_twice_keeps_both_earlier_runs(whole: Options, tmp_path: Path) -> None:
    options = copy_of(whole, tmp_path, epochs=1)._replace(resume="none")
    (options.checkpoint_folder / "best.pth.tar").write_bytes(b"first")
    assert train_tiny(options) == 0
    (options.checkpoint_folder / "best.pth.tar").write_bytes(b"second")
    assert train_tiny(options) == 0
    folder = options.checkpoint_folder
    assert (folder / "earlier_best.pth.tar").read_bytes() == b"first"
    assert (folder / "earlier_2_best.pth.tar").read_bytes() == b"second"
    assert states_in(options, "earlier_state_*") == [1, 2, 3, 4, 5, 6]
    assert states_in(options, "earlier_2_state_*") == [2, 3]
    records = [options.log_folder / f"{name}metrics.jsonl" for name in ("earlier_", "earlier_2_")]
    assert [len(path.read_text().splitlines()) for path in records] == [6, 3]


def test_state_without_a_key_is_named(whole: Options, tmp_path: Path) -> None:
    state, _ = find_newest(whole.checkpoint_folder)
    content = torch.load(state, weights_only=True)
    del content["best_score"], content["processes"][0]["meter"]
    torch.save(content, tmp_path / "state.pth.tar")
    options = tiny_options(tmp_path, tiny_config(), resume=str(tmp_path / "state.pth.tar"))
    with pytest.raises(InputError, match=r"without best_score, processes\[0\]\.meter"):
        train_tiny(options)


def test_score_that_is_not_a_number_is_never_the_best(tmp_path: Path) -> None:
    scores = iter([math.nan, 0.5, math.nan])
    options = tiny_options(tmp_path, tiny_config(eval_every=1, epochs=3))
    assert train_tiny(options, lambda model, processes: next(scores)) == 0
    best = torch.load(options.checkpoint_folder / "best.pth.tar", weights_only=True)
    assert (best["epoch"], best["score"]) == (2, 0.5)


def test_other_number_of_processes_keeps_the_redraws(
    whole: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = whole.checkpoint_folder / "state_00000002.pth.tar"
    content = torch.load(state, weights_only=True)
    content["processes"] *= 2
    content["config"]["data"] |= {"root": "elsewhere", "num_workers": 7, "prefetch": 9}
    torch.save(content, tmp_path / "state.pth.tar")
    options = tiny_options(tmp_path, tiny_config(epochs=1), resume=str(tmp_path / "state.pth.tar"))
    assert train_tiny(options) == 0
    assert "data." not in capsys.readouterr().out
    line = json.loads((options.log_folder / "metrics.jsonl").read_text())
    assert line["redraws_few_object_pixels"] == 2 * 6 + 9  # indices up to 3 twice, and 4 + 5


def test_three_processes_resume_bit_for_bit(tmp_path: Path) -> None:
    """Accumulated too, so that what DDP averages is more than one backward pass."""
    config = tiny_config(batch_size=1, accumulation=2, epochs=4, keep_states=9)
    whole = tiny_options(tmp_path / "whole", config)
    assert run_processes(3, train_tiny, whole) == [0, 0, 0]
    state = whole.checkpoint_folder / "state_00000001.pth.tar"
    resumed = tiny_options(tmp_path / "resumed", config, resume=str(state))
    assert run_processes(3, train_tiny, resumed) == [0, 0, 0]
    assert losses_of(resumed) == losses_of(whole)[1:]
    ours, theirs = weights_of(resumed, 4), weights_of(whole, 4)
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


HOLD = """
import os, signal, sys, time
from pathlib import Path
from rhmnet.files.concurrency import alone_in
with alone_in(Path(sys.argv[1]), "wait"):
    worker = os.fork()  # as the loader's workers are
    if worker:
        print(worker, flush=True)
    time.sleep(60)
"""


def test_folder_is_one_run_s_until_that_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = tiny_options(tmp_path, tiny_config(epochs=1))
    command = [sys.executable, "-c", HOLD, str(options.checkpoint_folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        worker = int(other.stdout.readline())
        monkeypatch.setattr(concurrency, "SECONDS_TO_LEAVE", 0.3)
        with pytest.raises(InputError, match=r"another run writes to .*--checkpoints DIR"):
            train_tiny(options)
        other.kill()
        other.wait()
        assert train_tiny(options) == 0  # though its worker lives on
        os.kill(worker, signal.SIGKILL)


def test_run_waits_for_one_that_leaves(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD.replace("60", "1"), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        other.stdout.readline()
        start = time.monotonic()
        with alone_in(tmp_path, "wait"):
            assert time.monotonic() - start > 0.1


def test_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").touch()
    with pytest.raises(InputError, match=r"checkpoints/pretrain_weights_tiny: .*a file lies where"):
        train_tiny(tiny_options(tmp_path, tiny_config()))


def test_death_of_the_launcher_is_a_request_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    launched, alone = StopRequest(patient=True, launched=True), StopRequest(patient=False)
    assert (launched.exit_code, alone.exit_code) == (0, 0)
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert (launched.exit_code, alone.exit_code) == (143, 0)


def test_signal_while_validating_costs_no_further_step(whole: Options, tmp_path: Path) -> None:
    options = tiny_options(tmp_path, tiny_config(eval_every=1, keep_states=9))

    def validate(model: torch.nn.Module, processes: object) -> float:
        signal.raise_signal(signal.SIGTERM)
        return 0.5

    assert train_tiny(options, validate) == 143
    assert states_in(options)[-1] == 3
    assert train_tiny(options) == 0
    torch.testing.assert_close(weights_of(options), weights_of(whole), rtol=0, atol=0)


def test_full_disk_costs_the_logs_alone(
    whole: Options,
    tmp_path: Path,
    fill_disk: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = tiny_options(tmp_path, tiny_config())
    fill_disk(0, under=options.log_folder)
    assert train_tiny(options) == 0
    errors = capsys.readouterr().err
    assert errors.count("log.txt: cannot be written (No space") == 1
    assert errors.count("metrics.jsonl: cannot be written (No space") == 1
    torch.testing.assert_close(weights_of(options), weights_of(whole), rtol=0, atol=0)


def test_tensorboard_that_fails_costs_its_events_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_image", fail)
    options = tiny_options(tmp_path, tiny_config(epochs=1, picture_every=1))
    assert train_tiny(options) == 0
    assert capsys.readouterr().err.count("tfevents.*: cannot be written") == 1
    assert len(losses_of(options)) == 3


def test_folder_of_logs_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(InputError, match=r"--runs: .*runs/tiny: .*a file lies where a folder"):
        train_tiny(tiny_options(tmp_path, tiny_config()))


def test_batch_that_cannot_be_saved_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    watch = FiniteWatch(tmp_path / "file" / "runs", rank=0)
    clip = MadeUpClips()[SampleKey(0, 0, 0)]
    with pytest.raises(InputError, match=r"3: the loss is not finite.*nan.*could not be saved"):
        watch.look(clip, {"total": torch.tensor(math.nan)}, 3)


def test_run_without_a_whole_state_does_not_begin_anew_by_itself(
    whole: Options, tmp_path: Path
) -> None:
    options = copy_of(whole, tmp_path)
    states = sorted(options.checkpoint_folder.glob("state_*"))
    for path in states:
        path.write_bytes(path.read_bytes()[:-7])
    remedy = r"--resume none --init \S*pretrain_checkpoint_2.pth.tar"
    with pytest.raises(InputError, match=rf"state_00000006.*state_00000001.*{remedy}"):
        train_tiny(options)
    assert sorted(options.checkpoint_folder.glob("state_*")) == states


def test_initial_weights_that_are_not_used_are_told(
    whole: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = copy_of(whole, tmp_path)
    source = options.checkpoint_folder / "pretrain_checkpoint_1.pth.tar"
    assert train_tiny(options._replace(init=str(source))) == 0
    assert f"--init {source} is not used: the run goes on from" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"weights nowhere: no such file"):
        train_tiny(options._replace(init="nowhere"))


def test_state_that_cannot_be_written_tells_the_free_space(
    tmp_path: Path, fill_disk: Callable[..., None]
) -> None:
    options = tiny_options(tmp_path, tiny_config())
    fill_disk(10_000, under=options.checkpoint_folder)
    with pytest.raises(InputError, match=r"cannot be written \(No space.* GiB free\).* --resume"):
        train_tiny(options)
    assert [path.name for path in options.checkpoint_folder.iterdir()] == [".lock"]
