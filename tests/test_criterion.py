"""The criterion by hand, with two entire-target steps: what is supervised, by what, how much."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rhmnet.config import LossConfig
from rhmnet.labels import BACKGROUND
from rhmnet.losses import Criterion, consistency, partial_cross_entropy, smoothness
from rhmnet.structures import Clip, ClipPrediction

WEIGHTS = LossConfig(
    partial_ce_weight=2.0,
    background_weight=3.0,
    smoothness_weight=0.7,
    reliable_focal_weight=5.0,
    consistency_weight=11.0,
    ignore_kernel=3,
)


def clip(smooth: tuple[bool, ...] = (True, True)) -> Clip:
    """Two clips of two frames of 8 x 8, with strokes of their own on each frame."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, 2, 3, 8, 8), dtype=torch.uint8, generator=generator)
    scribbles = torch.zeros(2, 2, 8, 8, dtype=torch.uint8)
    scribbles[0, 0, :4, :4], scribbles[0, 1, 4:, :4] = 1, 2
    scribbles[1, 0, 0, :5], scribbles[:, 1, 0] = 1, BACKGROUND
    none = torch.zeros_like(scribbles[:, 0])
    counts = torch.tensor([2, 1])
    return Clip(frames, scribbles, none, none, counts, torch.tensor(smooth), torch.zeros(2, 3))


def prediction(backward: bool = True) -> ClipPrediction:
    generator = torch.Generator().manual_seed(1)
    prob, other = torch.rand(2, 2, 2, 2, 3, 8, 8, generator=generator).softmax(4)
    logits = torch.randn(2, 2, 2, 2, 2, generator=generator)
    valid = torch.tensor([[True, True], [True, False]])
    return ClipPrediction(
        logits, prob[:, :, 0, :, ::4, ::4], prob, other if backward else None, valid
    )


def test_every_entire_target_step_is_supervised_by_the_same_strokes() -> None:
    given, predicted = clip(), prediction()
    losses = Criterion(WEIGHTS)(given, predicted)
    for step in (0, 1):
        total, weights = 0.0, 0.0
        prob = predicted.entire_prob[:, :, step]
        for b, t, y, x in torch.cartesian_prod(*map(torch.arange, (2, 2, 8, 8))).tolist():
            label = given.scribbles[b, t, y, x].item()
            if label == 0:
                continue
            weight, channel = (3.0, 2) if label == BACKGROUND else (1.0, label - 1)
            total -= weight * math.log(prob[b, t, channel, y, x])
            weights += weight
        assert losses[f"partial_ce_{step}"].item() == pytest.approx(total / weights, rel=1e-5)
    assert losses["partial_ce_0"] != losses["partial_ce_1"]
    names = [f"{name}_{k}" for name in ("partial_ce", "smoothness", "consistency") for k in (0, 1)]
    assert losses.keys() == {*names, "reliable_focal", "total"}


def test_each_step_is_compared_with_the_same_step_and_frame_of_the_backward_clip() -> None:
    predicted = prediction()
    losses = Criterion(WEIGHTS)(clip(), predicted)
    for step in (0, 1):
        difference = predicted.entire_prob[:, :, step] - predicted.backward_prob[:, :, step]
        mean = difference.square().sum().item() / (2 * 2 * 12 * 8 * 8)  # over K = 12 channels
        assert losses[f"consistency_{step}"].item() == pytest.approx(mean, rel=1e-5)


def test_total_weighs_each_term_once_and_all_steps_alike() -> None:
    losses = Criterion(WEIGHTS)(clip(), prediction())
    total = 5.0 * losses["reliable_focal"]
    for step in (0, 1):
        total += 2.0 * losses[f"partial_ce_{step}"] + 0.7 * losses[f"smoothness_{step}"]
        total += 11.0 * losses[f"consistency_{step}"]
    assert losses["total"].item() == pytest.approx(total.item(), rel=1e-6)
    without = Criterion(WEIGHTS)(clip(), prediction(backward=False))
    total -= 11.0 * (losses["consistency_0"] + losses["consistency_1"])
    assert without["total"].item() == pytest.approx(total.item(), rel=1e-6)
    assert not any(name.startswith("consistency") for name in without)


@pytest.mark.parametrize("smooth", [(True, True), (True, False), (False, False)])
def test_clips_whose_smoothness_is_off_add_nothing(smooth: tuple[bool, bool]) -> None:
    given, predicted = clip(smooth), prediction()
    losses = Criterion(WEIGHTS)(given, predicted)
    for step in (0, 1):
        frames = [
            smoothness(predicted.entire_prob[b, t, step][None], given.frames[b, t][None], 10.0, 9)
            for b in (0, 1)
            for t in (0, 1)
            if smooth[b]
        ]
        wanted = sum(value.item() for value in frames) / 4  # the mean is over all frames
        assert losses[f"smoothness_{step}"].item() == pytest.approx(wanted, rel=1e-5)


def test_smoothness_with_scribble_reads_the_strokes_of_each_frame() -> None:
    config = LossConfig(smoothness_with_scribble=True, smoothness_alpha=20.0)
    given, predicted = clip(), prediction()
    found = Criterion(config)(given, predicted)["smoothness_1"].item()
    wanted = smoothness(
        predicted.entire_prob[:, :, 1].flatten(0, 1),
        given.frames.flatten(0, 1),
        20.0,
        9,
        (given.scribbles != 0).flatten(0, 1),
    )
    assert found == pytest.approx(wanted.mean().item(), rel=1e-6)
    plain = Criterion(LossConfig(smoothness_alpha=20.0))(given, predicted)["smoothness_1"].item()
    assert plain < found  # an edge of the image no longer excuses labelled pixels


def focal(logit: float, stroke: bool, alpha: float, gamma: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    p, a = (p, alpha) if stroke else (1 - p, 1 - alpha)
    return -a * (1 - p) ** gamma * math.log(p)


def test_reliable_focal_of_each_object_against_its_own_stroke() -> None:
    """Cells of 4 x 4; the 3 x 3 square adds a ring of one pixel, which is no cell's larger part."""
    config = LossConfig(ignore_kernel=3, focal_alpha=0.3, focal_gamma=1.5)
    predicted = prediction()
    found = Criterion(config)(clip(), predicted)["reliable_focal"].item()
    strokes = torch.zeros(2, 2, 2, 2, 2)
    strokes[0, 0, 0, 0, 0] = strokes[0, 1, 1, 1, 0] = 1  # five pixels in a row fill no cell
    total, count = 0.0, 0
    for place in torch.cartesian_prod(*[torch.arange(2)] * 5).tolist():
        b, _, o, _, _ = place
        if (b, o) == (1, 1):  # pads the batch
            continue
        logit = predicted.reliable_logits_s4[tuple(place)].item()
        total += focal(logit, bool(strokes[tuple(place)]), 0.3, 1.5)
        count += 1
    assert found == pytest.approx(total / count, rel=1e-5)


def test_normalizers_are_the_weights_and_the_counted_cells() -> None:
    counts = Criterion(WEIGHTS).normalizers(clip())
    # object strokes 16 + 5, background 2 x 8 of weight 3, object 2's stroke 4 x 4
    assert counts.tolist() == [16 + 5 + 3 * 16 + 16, 4 * 2 * 2 * 2 - 8]


def test_normalizers_replace_the_clips_own() -> None:
    given, predicted = clip(), prediction()
    own = Criterion(WEIGHTS)
    plain = own(given, predicted)
    shared = own(given, predicted, 2 * own.normalizers(given))
    assert shared["partial_ce_1"].item() == pytest.approx(plain["partial_ce_1"].item() / 2)
    assert shared["reliable_focal"].item() == pytest.approx(plain["reliable_focal"].item() / 2)
    assert shared["smoothness_0"] == plain["smoothness_0"]


def test_grey_is_that_of_television() -> None:
    """Red, green and blue edges lift the penalty by their share of grey."""
    prob = torch.zeros(1, 1, 4, 8)
    prob[..., 4:] = 1

    def loss(channel: int, value: int) -> float:
        frames = torch.zeros(1, 3, 4, 8, dtype=torch.uint8)
        frames[:, channel, :, 4:] = value
        return smoothness(prob, frames, 10.0, 0).item()

    flat = loss(0, 0)
    values = [loss(channel, 100) for channel in range(3)]
    assert values[1] < values[0] < values[2] < flat
    # 0.299 x 85 of red is as much grey as 0.114 x 223 of blue, and 0.587 x 43.3 of green
    assert loss(0, 85) == pytest.approx(loss(2, 223), rel=1e-3)
    assert loss(0, 85) == pytest.approx(loss(1, 43), rel=2e-2)


def test_probabilities_and_labels_of_any_number_of_objects() -> None:
    """From 11 objects on K grows: the mean of the consistency is over more channels."""
    prob, other = torch.zeros(1, 1, 14, 2, 2), torch.zeros(1, 1, 14, 2, 2)
    other[:, :, 12] = 1.0
    assert consistency(prob, other).item() == pytest.approx(1 / 15)  # 13 objects: K = 15
    labels = torch.full((1, 1, 2, 2), 13, dtype=torch.uint8)
    assert partial_cross_entropy(other, labels, 2.0).item() == 0


def test_smoothness_counts_the_unused_channels_of_any_number_of_objects() -> None:
    """13 objects: K = 15, of which one holds nothing; flat, it adds 21 roots of 1e-6 a frame."""
    given = clip()
    prob = torch.rand(2, 2, 1, 14, 8, 8, generator=torch.Generator().manual_seed(2)).softmax(3)
    predicted = ClipPrediction(torch.zeros(2, 2, 13, 2, 2), prob, prob, None, torch.ones(2, 13) > 0)
    losses = Criterion(WEIGHTS)(given, predicted)
    held = smoothness(prob.flatten(0, 2), given.frames.flatten(0, 1), 10.0, 0).mean()
    assert (losses["smoothness_0"] - held).item() == pytest.approx(21e-3, rel=1e-3)


def test_gradients_reach_every_step() -> None:
    predicted = prediction()
    prob = predicted.entire_prob.clone().requires_grad_()
    Criterion(WEIGHTS)(clip(), predicted._replace(entire_prob=prob))["total"].backward()
    sizes: Tensor = prob.grad.abs().sum((0, 1, 3, 4, 5))
    assert (sizes > 1).all()
