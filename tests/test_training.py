"""Schedules, parameter groups, the watch over losses, logs, and many processes as one."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training_runs import (
    MadeUpClips,
    losses_of,
    run_processes,
    tiny_config,
    tiny_options,
    train_tiny,
    train_video,
    weights_of,
)

from rhmnet.config import TrainConfig, from_dict, load_config
from rhmnet.data import SampleKey
from rhmnet.errors import InputError
from rhmnet.losses import Criterion
from rhmnet.model import build_model
from rhmnet.runtime.processes import (
    join_processes,
    parallel,
    seed_everything,
    untouched_random_state,
)
from rhmnet.structures import Clip
from rhmnet.training import (
    ClipLosses,
    build_optimizer,
    learning_rate,
    prepare,
    set_learning_rate,
)
from rhmnet.training.logger import RunLogger
from rhmnet.training.run import parse_options


def clips(count: int) -> Clip:
    samples = [MadeUpClips()[SampleKey(0, index, 0)] for index in range(count)]
    return Clip(*(torch.cat(parts) for parts in zip(*samples, strict=True)))


def test_step_schedule_halves_every_six_epochs() -> None:
    config = load_config("pre_training").train
    rates = [learning_rate(config, epoch * 100 + 99, 100) for epoch in (0, 5, 6, 11, 12, 17)]
    assert rates == pytest.approx([5e-5, 5e-5, 2.5e-5, 2.5e-5, 1.25e-5, 1.25e-5])


def test_poly_schedule_is_updated_every_thousand_iterations() -> None:
    config = load_config("video_training").train
    rates = [learning_rate(config, i, 625) for i in (0, 999, 1000, 1999, 25000, 49999)]
    total = 80 * 625  # 10,000 samples an epoch, 16 a step
    by_hand = [1e-4 * (1 - i / total) ** 0.9 for i in (0, 0, 1000, 1000, 25000, 49000)]
    assert rates == pytest.approx(by_hand)
    assert rates[4] == pytest.approx(1e-4 * 0.5**0.9)
    config = dataclasses.replace(config, poly_power=2.0)
    assert learning_rate(config, 25000, 625) == pytest.approx(1e-4 * 0.5**2)


def test_warmup_rises_to_the_schedule() -> None:
    config = dataclasses.replace(load_config("pre_training").train, warmup=4)
    rates = [learning_rate(config, i, 100) for i in range(5)]
    assert rates == pytest.approx([1.25e-5, 2.5e-5, 3.75e-5, 5e-5, 5e-5])


def test_backbone_learns_at_half_the_rate() -> None:
    config = tiny_config()
    model = build_model(config)
    optimizer = build_optimizer(model, config.train)
    set_learning_rate(optimizer, 0.1)
    rates = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {group["weight_decay"] for group in optimizer.param_groups} == {1e-4}
    for name, parameter in model.named_parameters():
        slow = name.startswith("feature_extractor.backbone.")
        assert rates[parameter] == (0.05 if slow else 0.1), name
    assert len(rates) == len(list(model.parameters()))


def test_weight_decay_is_decoupled_from_the_gradient() -> None:
    """AdamW: a weight of 2 without a gradient shrinks by lr x decay x 2, whatever Adam makes."""
    module = torch.nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(2.0)
    module.weight.grad = torch.zeros(1, 1)
    optimizer = build_optimizer(module, TrainConfig(lr=0.1, weight_decay=0.5))
    set_learning_rate(optimizer, 0.1)
    optimizer.step()
    assert module.weight.item() == pytest.approx(2.0 - 0.1 * 0.5 * 2.0)


def test_a_run_takes_each_iterations_own_rate(tmp_path: Path) -> None:
    config = tiny_config(epochs=1, lr=1e-3, warmup=3, schedule="step", step_epochs=9)
    options = tiny_options(tmp_path, config)
    assert train_tiny(options) == 0
    rates = [values["lr"] for _, values in losses_of(options)]
    assert rates == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"refine_layers": 2, "separate_heads": True},
        {"refine_layers": 2},
        {"bg_prototype": False},
        {"level_embedding": False},
        {"use_similarity": False, "upsample_logits": False, "norm": "bn"},
        {"scribble_memory_for_mask": True, "local_similarity": True},
    ],
    ids=str,
)
def test_every_parameter_gets_a_gradient(options: dict) -> None:
    """So that many processes need no search for unused parameters."""
    config = tiny_config()
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, **options))
    model = build_model(config)
    losses = ClipLosses(model, Criterion(config.loss), config.train, run_backward=True)
    losses(clips(2))["total"].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_the_backward_clip_starts_from_the_last_frames_scribble() -> None:
    config, given = tiny_config(), []

    class Network(torch.nn.Module):
        def forward(self, *inputs: Tensor | None) -> list[None]:
            given.append(inputs)
            return [None] * 5

    clip = clips(1)._replace(last_scribble=torch.full((1, 32, 32), 9, dtype=torch.uint8))
    for run_backward in (True, False):
        ClipLosses(Network(), Criterion(config.loss), config.train, run_backward).predict(clip)
    (*forward, last), (*_, none) = given
    for found, wanted in zip(
        forward, (clip.frames, clip.first_scribble, clip.num_objects), strict=True
    ):
        assert torch.equal(found, wanted)
    assert torch.equal(last, clip.last_scribble) and none is None


def test_no_backward_clip_where_consistency_weighs_nothing(tmp_path: Path) -> None:
    config = tiny_config(epochs=1)
    config = dataclasses.replace(
        config, loss=dataclasses.replace(config.loss, consistency_weight=0.0)
    )
    options = tiny_options(tmp_path, config)
    assert train_tiny(options) == 0
    assert not any("consistency" in name for name in losses_of(options)[0][1])


def gradients(config: TrainConfig, seed: int = 0) -> tuple[float, dict[str, Tensor]]:
    whole = tiny_config()
    seed_everything(seed)
    model = build_model(whole)
    prepare(model, config)
    losses = ClipLosses(model, Criterion(whole.loss), config, run_backward=True)
    total = losses(clips(2))["total"]
    total.backward()
    assert total.dtype == torch.float32
    return total.item(), {name: p.grad for name, p in model.named_parameters()}


def test_recomputed_activations_change_nothing() -> None:
    plain, expected = gradients(TrainConfig(channels_last=False))
    total, found = gradients(TrainConfig(channels_last=False, checkpoint_activations=True))
    assert total == plain
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_stays_close(precision: str) -> None:
    plain, _ = gradients(TrainConfig())
    total, _ = gradients(TrainConfig(precision=precision))
    assert total == pytest.approx(plain, rel=0.02)
    assert total != plain


class NotFinite(Criterion):
    """The criterion, with a loss that breaks in the third pass."""

    passes = 0

    def __call__(self, *args: Any) -> dict[str, Tensor]:
        self.passes += 1
        losses = super().__call__(*args)
        if self.passes == 3:
            losses["total"] = losses["total"] * math.nan
        return losses


def test_loss_that_is_not_finite_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_video, "Criterion", NotFinite)
    options = tiny_options(tmp_path, tiny_config())
    with pytest.raises(InputError, match=r"iteration 3: the loss is not finite.*total nan"):
        train_tiny(options)
    dump = torch.load(options.log_folder / "not_finite_3_process_0.pth", weights_only=True)
    assert dump["iteration"] == 3
    assert dump["clip"]["frames"].shape == (2, 2, 3, 32, 32)
    states = sorted(path.name for path in options.checkpoint_folder.glob("[!.]*"))
    assert states == ["state_00000001.pth.tar", "state_00000002.pth.tar"]


def test_weights_that_are_not_finite_are_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finite loss can still have gradients that are not."""

    def infinite_rate(config: TrainConfig, iteration: int, per_epoch: int) -> float:
        return math.inf if iteration == 1 else 1e-4

    monkeypatch.setattr("rhmnet.training.learning_rate", infinite_rate)
    options = tiny_options(tmp_path, tiny_config())
    with pytest.raises(InputError, match="iteration 2: weights are not finite"):
        train_tiny(options)
    names = [path.name for path in options.checkpoint_folder.glob("[!.]*")]
    assert names == ["state_00000001.pth.tar"]


def test_log_forgets_what_is_run_again(tmp_path: Path) -> None:
    logger = RunLogger(tmp_path, True, 0, 10)
    for iteration in (1, 2, 3):
        logger.scalars("train", iteration, 1, {"total": float(iteration)}, f"line {iteration}")
    logger.scalars("validation", 2, 1, {"score": 0.5}, "score")
    logger.close()
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"kind": "train", "iter')
    RunLogger(tmp_path, True, 2, 10).close()
    lines = [json.loads(line) for line in metrics.open()]
    kept = [("train", 1), ("train", 2), ("validation", 2)]
    assert [(x["kind"], x["iteration"]) for x in lines] == kept
    RunLogger(tmp_path, True, 2, 10, validated=False).close()
    assert len(metrics.read_text().splitlines()) == 2
    assert (tmp_path / "log.txt").read_text().splitlines()[0] == "line 1"


def test_log_lines_are_valid_json_whatever_the_number(tmp_path: Path) -> None:
    logger = RunLogger(tmp_path, True, 0, 1)
    logger.scalars("train", 1, 1, {"gradient_norm": math.inf}, "")
    logger.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["gradient_norm"] is None


def test_run_logs_to_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = tiny_options(tmp_path, tiny_config(epochs=1))
    assert train_tiny(options) == 0
    events = EventAccumulator(str(options.log_folder))
    events.Reload()
    names = set(events.Tags()["scalars"])
    wanted = ("total", "lr", "lr_backbone", "gradient_norm", "clips_per_second", "data_wait")
    assert {f"train/{name}" for name in (*wanted, "redraws_crop", "consistency_0")} <= names
    assert [e.step for e in events.Scalars("train/total")] == [1, 2, 3]
    redraws = [e.value for e in events.Scalars("train/redraws_few_object_pixels")]
    assert redraws == [1, 6, 15]  # indices 0 + 1, 2 + 3, 4 + 5, added up over the epoch
    assert [e.step for e in events.Images("clip")] == [2]


def test_untouched_random_state() -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with untouched_random_state():
        torch.rand(5)
    assert torch.equal(torch.rand(2), expected)


def test_options_take_overrides_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = "x train.epochs=3 --device cpu --local_rank=1 train.lr=1e-3 --resume none"
    monkeypatch.setattr("sys.argv", arguments.split())
    options = parse_options("", default_config="pre_training")
    assert (options.config.train.epochs, options.config.train.lr) == (3, 1e-3)
    assert (options.name, options.resume, options.device) == ("pre_training", "none", "cpu")
    assert options.checkpoint_folder == Path("checkpoints/pretrain_weights_pre_training")


def test_both_stages_are_put_together_alike() -> None:
    """Written out in each script, for who reads it; but for docstring, stage and configuration."""
    written = []
    for name, stage, config in (
        ("train_pretrain.py", "pretrain", "pre_training"),
        ("train_video.py", "video", "video_training"),
    ):
        text = (Path(__file__).parents[1] / name).read_text()
        line = f'STAGE, CONFIG = "{stage}", "{config}"'
        assert text.count(line) == 1
        written.append(text.replace(line, "").split('"""', 2)[2])
    assert written[0] == written[1]


@pytest.mark.parametrize("key", ["epochs=0", "precision=half", "schedule=cosine", "lr=-1"])
def test_training_configuration_is_checked(key: str) -> None:
    name, value = key.split("=")
    with pytest.raises(InputError, match=f"train.{name}"):
        from_dict({"train": {name: float(value) if name == "lr" else _plain(value)}})


def _plain(value: str) -> int | str:
    return int(value) if value.isdigit() else value


def curve(folder: Path, processes: int, **train: Any) -> list[tuple[int, dict[str, float]]]:
    """The losses of a run without dropout, whose effective batch is 2."""
    config = tiny_config(epochs=1, lr=1e-4, **train)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, dropout=0.0))
    options = tiny_options(folder, config)
    if processes == 1:
        assert train_tiny(options) == 0
    else:
        assert run_processes(processes, train_tiny, options) == [0] * processes
    return losses_of(options)


@pytest.mark.parametrize(("processes", "accumulation"), [(1, 2), (2, 1)])
def test_shared_batch_gives_the_joint_batch_s_losses_and_gradients(
    tmp_path: Path, processes: int, accumulation: int
) -> None:
    """Clips of a batch differ in objects and strokes: a mean of means would not do."""
    joint = curve(tmp_path / "joint", 1, batch_size=2)
    train = {"batch_size": 1, "accumulation": accumulation, "loss_mean": "batch"}
    shared = curve(tmp_path / "shared", processes, **train)
    assert [iteration for iteration, _ in shared] == [1, 2, 3]
    for (_, expected), (_, found) in zip(joint, shared, strict=True):
        assert found.pop("kind") == expected.pop("kind")
        assert found == pytest.approx(expected, rel=1e-4)
    ours, theirs = (
        weights_of(tiny_options(tmp_path / n, tiny_config()), 1) for n in ("shared", "joint")
    )
    # Adam's first steps are lr x sign(gradient), whatever the size of a gradient near zero
    assert max((ours[k] - theirs[k]).abs().max().item() for k in ours) <= 1e-3


def shared_gradients(path: Path) -> None:
    """One process's part: its clip's gradients, averaged with the other's; the first writes."""
    with join_processes("cpu") as processes:
        losses, criterion = clip_losses()
        sample = MadeUpClips()[SampleKey(0, processes.rank, 0)]
        normalizers = processes.mean(criterion.normalizers(sample))
        step = parallel(losses, processes)
        step(sample, normalizers)["total"].backward()
        if processes.is_main:
            torch.save({n: p.grad for n, p in losses.model.named_parameters()}, path)


def clip_losses() -> tuple[ClipLosses, Criterion]:
    config = tiny_config()
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, dropout=0.0))
    seed_everything(0)
    criterion = Criterion(config.loss)
    return ClipLosses(build_model(config), criterion, config.train, True), criterion


def test_two_processes_average_to_the_joint_batch_s_gradients(tmp_path: Path) -> None:
    assert run_processes(2, shared_gradients, tmp_path / "shared.pt") == [0, 0]
    losses, _ = clip_losses()
    losses(clips(2))["total"].backward()
    joint = {name: p.grad for name, p in losses.model.named_parameters()}
    shared = torch.load(tmp_path / "shared.pt", weights_only=True)
    # a bias before a norm has no gradient but rounding: measured against all gradients' size
    size = torch.stack([g.norm() for g in joint.values()]).norm()
    assert max((shared[n] - g).norm() / size for n, g in joint.items()) <= 1e-5
    large = [n for n, g in joint.items() if g.norm() > 1e-4 * size]
    assert len(large) > 80
    assert max((shared[n] - joint[n]).norm() / joint[n].norm() for n in large) <= 1e-5
