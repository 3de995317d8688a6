"""Where exactly a value counts: at a threshold, below it, above it."""

from __future__ import annotations

import math

import pytest
import torch
from small import small_config, small_model

from rhmnet.memory_encoder import local_similarity_labels, similarity_labels


def labels_of(ratios: list[float], features: list[tuple[float, float]]) -> list[float]:
    ratio = torch.tensor(ratios).view(1, 1, 1, -1)
    embedding = torch.tensor(features).T.reshape(1, 2, 1, -1)
    return similarity_labels(ratio, embedding).flatten().tolist()


def test_cells_join_the_strokes_mean_from_0_211_on() -> None:
    features = [(1.0, 0.0), (0.0, 1.0)]
    share = 0.211
    both = share / math.hypot(share, 0.5), 0.5 / math.hypot(share, 0.5)
    # weighted by their shares: the mean is (0.5, 0.211) / 0.711
    assert labels_of([0.5, 0.211], features) == pytest.approx([both[1], both[0]], abs=1e-6)
    assert labels_of([0.5, 0.2109], features) == pytest.approx([1, 0], abs=1e-6)


def test_cells_carry_a_label_from_0_15_on() -> None:
    features = [(1.0, 0.0), (1.0, 0.0), (1.0, 0.0)]
    assert labels_of([0.5, 0.15, 0.1499], features) == pytest.approx([1, 1, 0], abs=1e-6)


def test_negative_cosines_stay() -> None:
    assert labels_of([0.5, 0.2], [(1.0, 0.0), (-2.0, 0.0)]) == pytest.approx([1, -1], abs=1e-6)


def test_stroke_below_all_thresholds() -> None:
    """The largest cell alone makes the mean, and even it carries nothing below 0.15."""
    features = [(1.0, 0.0), (0.0, 1.0)]
    assert labels_of([0.14, 0.1], features) == [0, 0]
    assert labels_of([0.2, 0.2], features) == pytest.approx([0.5**0.5] * 2, abs=1e-6)


def test_local_similarity_takes_cells_above_0_15_and_falls_back_to_the_largest() -> None:
    embedding = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]).view(1, 2, 1, 3)
    for ratios, wanted in (
        ([0.16, 0.16, 0.15], [1, 1, 0]),
        ([0.15, 0.15, 0.1], [1, 1, 0]),  # none is above: the largest two
        ([0.0, 0.0, 0.0], [0, 0, 0]),
    ):
        found = local_similarity_labels(torch.tensor(ratios).view(1, 1, 1, 3), embedding)
        assert found.flatten().tolist() == pytest.approx(wanted, abs=1e-6)


def test_local_similarity_is_negative_where_all_around_is_unlike() -> None:
    embedding = torch.ones(1, 2, 5, 5)
    embedding[..., 2, 2] = -3.0
    found = local_similarity_labels(torch.ones(1, 1, 5, 5), embedding)[0, 0]
    assert found[2, 2].item() == pytest.approx(-1)
    found[2, 2] = 1
    assert torch.allclose(found, torch.ones(5, 5))


def test_local_similarity_reaches_two_cells() -> None:
    embedding = torch.ones(1, 2, 1, 8)
    for distance, wanted in ((1, 1.0), (2, 1.0), (3, 0.0)):
        ratio = torch.zeros(1, 1, 1, 8)
        ratio[..., 0] = ratio[..., distance] = 0.5
        found = local_similarity_labels(ratio, embedding).flatten()
        assert found[0].item() == found[distance].item() == pytest.approx(wanted)
        assert found.sum().item() == pytest.approx(2 * wanted)


def test_stored_probabilities_are_zeroed_up_to_the_threshold() -> None:
    """`<=`: the threshold itself is zeroed; what is above keeps its value; 0 zeroes nothing."""
    model = small_model()
    prob = torch.full((1, 2, 16, 32), 0.5)
    prob[..., 16:] = 0.75
    for threshold, wanted in ((0.5, [0, 0.75]), (0.49, [0.5, 0.75]), (0.0, [0.5, 0.75])):
        assert model._soft_labels(prob, threshold)[0].tolist() == [wanted, wanted]
    half = torch.full((1, 2, 16, 16), 0.25)
    half[..., :4, :] = 1.0
    assert model._soft_labels(half, 0.65)[0, 0].tolist() == [0.25]  # a quarter of the cell


def test_soft_labels_at_the_stride_of_what_is_pooled() -> None:
    model = small_model(small_config("model.upsample_logits=false"))
    assert model._soft_labels(torch.ones(1, 2, 8, 12), 0.1).shape == (1, 2, 6)
    assert model._soft_labels(torch.ones(1, 2, 32, 48), 0.1, 1).shape == (1, 2, 6)
