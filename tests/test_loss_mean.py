"""What weighted means are taken over where a batch comes in parts: `train.loss_mean`, by hand."""

from __future__ import annotations

import dataclasses
import math
import os
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
)

from rhmnet.config import LossConfig, from_dict, load_config
from rhmnet.data import SampleKey
from rhmnet.errors import InputError
from rhmnet.losses import Criterion
from rhmnet.model import build_model
from rhmnet.runtime.processes import Processes, seed_everything
from rhmnet.structures import Clip, ClipPrediction
from rhmnet.training import ClipLosses, shared_normalizers
from rhmnet.training.run import Options


def part(pixels: int, background: int, target_prob: float) -> tuple[Clip, ClipPrediction]:
    """One frame of 16 x 16 with strokes of so many pixels, predicted the same everywhere."""
    labels = torch.zeros(256, dtype=torch.uint8)
    labels[:pixels] = 1
    labels[pixels : pixels + background] = 255
    labels = labels.view(1, 1, 16, 16)
    clip = Clip(
        torch.zeros(1, 1, 3, 16, 16, dtype=torch.uint8),
        labels,
        labels[:, 0],
        labels[:, 0],
        torch.tensor([1]),
        torch.tensor([True]),
        torch.zeros(1, 3, dtype=torch.long),
    )
    prob = torch.tensor([target_prob, 1 - target_prob]).view(1, 1, 1, 2, 1, 1)
    prob = prob.expand(1, 1, 1, 2, 16, 16)
    logits = torch.full((1, 1, 1, 4, 4), math.log(target_prob / (1 - target_prob)))
    valid = torch.ones(1, 1, dtype=torch.bool)
    return clip, ClipPrediction(logits, prob[:, :, 0, :, ::4, ::4], prob, None, valid)


def mean_loss(name: str, loss_mean: str, kernel: int = 1) -> float:
    """A loss over two parts, as a step accumulates it: the mean of what the parts give."""
    criterion = Criterion(LossConfig(background_weight=2.0, ignore_kernel=kernel))
    parts = [part(5, 0, 0.2), part(50, 20, 0.6)]
    alone = Processes(0, 1, torch.device("cpu"), None)
    normalizers = shared_normalizers(criterion, [clip for clip, _ in parts], alone, loss_mean)
    return sum(criterion(*p, normalizers)[name].item() for p in parts) / 2


def test_partial_cross_entropy_by_hand() -> None:
    few = -math.log(0.2)  # 5 pixels of weight 1
    many = -(50 * math.log(0.6) + 20 * 2 * math.log(0.4)) / 90  # 50 of weight 1, 20 of weight 2
    assert mean_loss("partial_ce_0", "process") == pytest.approx((few + many) / 2)
    assert mean_loss("partial_ce_0", "batch") == pytest.approx((5 * few + 90 * many) / 95)


def test_focal_loss_by_hand() -> None:
    """The second part's ring leaves fewer cells of it: 16 against 12 of the 4 x 4."""

    def cell(prob: float, stroke: bool) -> float:
        p = prob if stroke else 1 - prob
        return 0.5 * (1 - p) ** 2 * -math.log(p)

    # part one: rows of 16 pixels, strokes on 5 of row 0, 2 of 16 in a cell at most: none is stroke,
    # and what 9 x 9 adds reaches rows 0..4, columns 0..8: two cells of ring in row 0
    one = 14, 14 * cell(0.2, False)
    # part two: rows 0..2 and two pixels of row 3: cells of row 0 have 12 of 16 and are stroke; the
    # ring is rows 3..7 but for those two pixels: all four cells of the second row
    two = 12, 4 * cell(0.6, True) + 8 * cell(0.6, False)
    assert mean_loss("reliable_focal", "process", kernel=9) == pytest.approx(
        (one[1] / one[0] + two[1] / two[0]) / 2
    )
    assert mean_loss("reliable_focal", "batch", kernel=9) == pytest.approx(
        (one[1] + two[1]) / (one[0] + two[0])
    )


def test_two_processes_by_hand() -> None:
    """Each of two processes holds one part; what they exchange is the two's mean."""
    criterion = Criterion(LossConfig(background_weight=2.0, ignore_kernel=1))
    parts = [part(5, 0, 0.2), part(50, 20, 0.6)]
    counts = torch.stack([criterion.normalizers(clip) for clip, _ in parts])
    assert counts.tolist() == [[5, 16], [90, 16]]

    class Two(Processes):
        """The other process's counts come with the sum."""

        def mean(self, values: torch.Tensor) -> torch.Tensor:
            assert values.tolist() == counts[self.rank].tolist()
            return counts.sum(0) / 2

    found = {"process": 0.0, "batch": 0.0}
    for loss_mean in found:
        for rank, (clip, prediction) in enumerate(parts):
            processes = Two(rank, 2, torch.device("cpu"), None)
            shared = shared_normalizers(criterion, [clip], processes, loss_mean)
            losses = criterion(clip, prediction, shared)
            found[loss_mean] += losses["partial_ce_0"].item() / 2
    assert found["process"] == pytest.approx(mean_loss("partial_ce_0", "process"))
    assert found["batch"] == pytest.approx(mean_loss("partial_ce_0", "batch"))


def test_the_releases_configurations_take_process_and_ours_batch() -> None:
    release, ours = ("pre_training", "video_training"), ("synthetic", "small")
    names = [*release, *(f"{name}_{stage}" for name in ours for stage in ("pretrain", "video"))]
    found = [load_config(name).train.loss_mean for name in names]
    assert found == ["process"] * 2 + ["batch"] * 4
    with pytest.raises(
        InputError, match=r"train\.loss_mean='mean': expected one of process, batch"
    ):
        from_dict({"train": {"loss_mean": "mean"}})


def train_and_tell_seed(options: Options, folder: Path) -> None:
    assert train_tiny(options) == 0
    (folder / f"seed_{os.environ['RANK']}").write_text(str(torch.initial_seed()))


@pytest.mark.parametrize(("processes", "accumulation"), [(1, 2), (2, 1)])
def test_a_run_averages_its_parts_own_means(
    tmp_path: Path, processes: int, accumulation: int
) -> None:
    config = tiny_config(epochs=1, batch_size=1, accumulation=accumulation, loss_mean="process")
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, dropout=0.0))
    options = tiny_options(tmp_path, config)
    if processes == 1:
        assert train_tiny(options) == 0
    else:
        assert run_processes(processes, train_and_tell_seed, options, tmp_path) == [0] * processes
        seeds = [int((tmp_path / f"seed_{rank}").read_text()) for rank in range(processes)]
        assert seeds == [config.train.seed + rank for rank in range(processes)]
    seed_everything(config.train.seed)
    model = build_model(config)
    losses = ClipLosses(model, Criterion(config.loss), config.train, run_backward=True)
    parts = [losses(MadeUpClips()[SampleKey(0, index, 0)]) for index in (0, 1)]
    (_, first), *_ = losses_of(options)
    for name in parts[0]:
        mean = (parts[0][name] + parts[1][name]).item() / 2
        assert first[name] == pytest.approx(mean, rel=1e-4), name
    ((parts[0]["total"] + parts[1]["total"]) / 2).backward()
    norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
    assert first["gradient_norm"] == pytest.approx(norm.item(), rel=1e-3)
