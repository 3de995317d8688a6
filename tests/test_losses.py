"""Hand-computed losses (docs/method.md, section 7)."""

from __future__ import annotations

import math

import pytest
import torch

from rhmnet.losses import (
    consistency,
    dilate,
    partial_cross_entropy,
    reliable_focal,
    smoothness,
)


def test_partial_cross_entropy_is_a_weighted_mean_over_strokes_alone() -> None:
    prob = torch.tensor([[0.7, 0.2, 0.5], [0.3, 0.8, 0.5]]).view(1, 2, 1, 3)
    labels = torch.tensor([1, 255, 0], dtype=torch.uint8).view(1, 1, 3)
    wanted = -(math.log(0.7) + 2 * math.log(0.8)) / 3
    assert partial_cross_entropy(prob, labels, 2.0).item() == pytest.approx(wanted)


def test_partial_cross_entropy_of_nothing_labelled_is_zero_with_finite_gradients() -> None:
    prob = torch.full((1, 2, 2, 2), 0.5, requires_grad=True)
    loss = partial_cross_entropy(prob, torch.zeros(1, 2, 2, dtype=torch.uint8), 2.0)
    loss.backward()
    assert loss.item() == 0 and torch.equal(prob.grad, torch.zeros_like(prob))


@pytest.mark.parametrize("alpha", [10.0, 2.0])
@pytest.mark.parametrize("channels", [1, 2])
def test_smoothness_of_one_bright_pixel(alpha: float, channels: int) -> None:
    prob = torch.zeros(1, channels, 3, 3)
    prob[..., 1, 1] = 1
    frames = torch.full((1, 3, 3, 3), 100, dtype=torch.uint8)
    # the grey image is flat but for its zero padding: only the middle pixel has no edge there
    grey = 100 / 255
    corner, side = math.exp(-alpha * 3 * grey), math.exp(-alpha * 4 * grey)
    slopes_x = [1 * corner] * 4 + [2 * side] * 2 + [0.0] * 3
    laplacians = (
        [1 * math.exp(-alpha * 5 * grey)] * 4 + [1 * math.exp(-alpha * 3 * grey)] * 4 + [8.0]
    )

    def mean_rho(values: list[float]) -> float:
        return sum(math.sqrt(v * v + 1e-6) for v in values) / len(values)

    wanted = channels * (10 * 2 * mean_rho(slopes_x) + mean_rho(laplacians))
    assert smoothness(prob, frames, alpha, 0).item() == pytest.approx(wanted, rel=1e-5)
    # a channel that holds nothing is flat: rho(0) = 1e-3 in each of the three terms
    with_unused = smoothness(prob, frames, alpha, 5).item()
    assert with_unused == pytest.approx(wanted + 5 * 21e-3, rel=1e-5)


def test_smoothness_with_scribble_ignores_the_image_on_labelled_pixels() -> None:
    prob = torch.rand(1, 2, 8, 8)
    edgy = torch.randint(0, 256, (1, 3, 8, 8), dtype=torch.uint8)
    black = torch.zeros_like(edgy)
    everywhere = torch.ones(1, 8, 8, dtype=torch.bool)
    assert torch.allclose(
        smoothness(prob, edgy, 10.0, 0, everywhere), smoothness(prob, black, 10.0, 0)
    )
    assert smoothness(prob, edgy, 10.0, 0).item() < smoothness(prob, black, 10.0, 0).item()


def test_reliable_focal_leaves_out_the_ring_and_padding_objects() -> None:
    strokes = torch.zeros(1, 1, 2, 16, 16)
    strokes[0, 0, 0, 4:8, 4:8] = 1
    logits = torch.zeros(1, 1, 2, 4, 4, requires_grad=True)
    valid = torch.tensor([[True, False]])
    loss = reliable_focal(logits, strokes, valid, alpha=0.35, gamma=2.0, kernel=9)
    # the 4 x 4 cells: one of stroke; the 9 x 9 square reaches 4 pixels, so 8 cells of ring; 7 count
    per_cell = 0.5**2 * math.log(2)
    assert loss.item() == pytest.approx((0.35 * per_cell + 7 * 0.65 * per_cell) / 8, rel=1e-5)
    loss.backward()
    assert (logits.grad[0, 0, 0] != 0).sum() == 8
    assert not logits.grad[0, 0, 1].any()


def test_cells_half_stroked_are_not_stroke() -> None:
    strokes = torch.zeros(1, 1, 1, 4, 8)
    strokes[..., :2, :4] = 1  # 8 of 16 pixels
    strokes[..., :2, 4:] = 1
    strokes[..., 2, 4] = 1  # 9 of 16
    logits = torch.zeros(1, 1, 1, 1, 2, requires_grad=True)
    reliable_focal(logits, strokes, torch.ones(1, 1, dtype=torch.bool), 0.5, 0.0, 1).backward()
    assert logits.grad[0, 0, 0, 0, 0] > 0 > logits.grad[0, 0, 0, 0, 1]


def test_dilate_by_a_square() -> None:
    maps = torch.zeros(1, 1, 9, 9)
    maps[..., 4, 4] = 1
    assert dilate(maps, 5).nonzero()[:, 2:].amin(0).tolist() == [2, 2]
    assert dilate(maps, 5).sum() == 25


def test_consistency_is_a_mean_over_all_channels() -> None:
    prob, other = torch.zeros(1, 1, 3, 2, 2), torch.zeros(1, 1, 3, 2, 2)
    other[:, :, 0] = 0.5
    assert consistency(prob, other).item() == pytest.approx(0.25 / 12)
