"""Segmentation heads and soft aggregation by hand: what is resized, and where heads begin."""

from __future__ import annotations

import math

import pytest
import torch
from small import small_config, small_model

import rhmnet
from rhmnet.model import RHMNet
from rhmnet.segmentation_head import channel_odds, channel_softmax, entire_target

VALID = torch.ones(1, 1, dtype=torch.bool)


def head_logits(*values: float) -> torch.Tensor:
    """One object, one row of cells, whose target logit is over the rest's by so much."""
    logits = torch.zeros(1, 2, 1, len(values))
    logits[0, 0, 0] = torch.tensor(values)
    return logits


def test_upsampled_logits_are_resized_before_the_softmax_over_two() -> None:
    prob, full = entire_target(head_logits(-4.0, 3.0), VALID, upsample=True)
    assert prob is full and prob.shape == (1, 2, 4, 8)
    p = 1 / (1 + math.exp(4 - 7 * 3 / 7))  # corners aligned: pixel 3 of 0..7
    # target and background are complements: odds p / (1 - p) and (1 - p) / p
    o, b = p / (1 - p), (1 - p) / p
    assert full[0, :, 2, 3].tolist() == pytest.approx([o / (o + b), b / (o + b)], rel=1e-5)


def test_without_upsampling_the_channels_logits_are_resized() -> None:
    """Neither their probabilities nor an object's own: section 7 wants logits at full size."""
    prob, full = entire_target(head_logits(-4.0, 3.0), VALID, upsample=False)
    assert prob.shape == (1, 2, 1, 2) and full.shape == (1, 2, 4, 8)
    small = channel_softmax(
        channel_odds(torch.tensor([-4.0, 3.0]).sigmoid().view(1, 1, 1, 2), VALID)
    )
    assert torch.equal(prob, small)
    x = -4 + 7 * 3 / 7  # of logits -4 and 3 for the target, 4 and -3 for background
    wanted = [math.exp(x), math.exp(-x)]
    wanted = [w / (sum(wanted) + 10e-7) for w in wanted]
    assert full[0, :, 1, 3].tolist() == pytest.approx(wanted, rel=1e-4)
    straight = prob[0, 0, 0, 0] + (prob[0, 0, 0, 1] - prob[0, 0, 0, 0]) * 3 / 7
    assert abs(straight - full[0, 0, 1, 3]) > 0.1


@pytest.mark.parametrize(("objects", "unused"), [(1, 10), (2, 9), (10, 1), (13, 1)])
def test_channels_that_hold_nothing_have_their_share(objects: int, unused: int) -> None:
    """K = max(12, O + 2) channels: those but objects and background have odds of 1e-7 each."""
    odds = torch.full((1, objects + 1, 1, 1), 2e-7)
    share = channel_softmax(odds).sum().item()
    assert share == pytest.approx(2 * (objects + 1) / (2 * (objects + 1) + unused), rel=1e-4)


def test_certain_objects_stay_finite() -> None:
    for upsample in (True, False):
        for value in (-100.0, 100.0):
            _, full = entire_target(head_logits(value, -value), VALID, upsample)
            assert full.isfinite().all()


def test_the_tracker_shows_what_the_losses_see() -> None:
    config = small_config(
        *("model.upsample_logits=false", "model.refine_layers=2"),
        *("test.update_frequency=1", "test.scribble_update_frequency=1"),
        *("test.stored_level=2", "test.stored_threshold=0.95"),
    )
    model = small_model(config)
    torch.manual_seed(0)
    frames = torch.randint(0, 256, (1, 2, 3, 64, 64), dtype=torch.uint8)
    scribble = torch.zeros(1, 64, 64, dtype=torch.uint8)
    scribble[:, :20, :30], scribble[:, 30:40, :20], scribble[:, 50:] = 1, 2, 255
    with torch.no_grad():
        clip = model(frames, scribble, torch.tensor([2]))
    tracker = rhmnet.Tracker(model, config)
    images = frames[0].permute(0, 2, 3, 1).numpy()
    for t, image in enumerate(images):
        found = tracker.step(image) if t else tracker.start(image, scribble[0].numpy())
        assert torch.allclose(found.probabilities, clip.entire_prob[0, t, -1], atol=1e-3)


def test_the_reliable_region_begins_as_unlikely_as_one_in_a_hundred() -> None:
    torch.manual_seed(0)
    model = rhmnet.build_model(small_config())
    bias = model.reliable_head.conv_out.bias
    assert bias.sigmoid().tolist() == pytest.approx([0.01])
    assert abs(model.entire_heads[0].conv_out.bias).max() < 1


def test_label_embeddings_begin_at_one_and_minus_one() -> None:
    embedding = rhmnet.build_model(small_config("model.refine_layers=2")).label_embedding
    assert torch.equal(embedding.target, torch.ones(4, 64))
    assert torch.equal(embedding.background, -torch.ones(4, 64))


def test_tied_matching_begins_with_equal_queries_and_keys_twice_as_large() -> None:
    def first_weights(tied: bool) -> tuple[torch.Tensor, ...]:
        torch.manual_seed(0)
        model = RHMNet(small_config(f"model.tied_matching={str(tied).lower()}"))
        return model.readers[1].cross_attn.in_proj_weight.split(64)

    query, key, value = first_weights(False)
    tied_query, tied_key, tied_value = first_weights(True)
    assert torch.equal(tied_query, 2 * query) and torch.equal(tied_key, 2 * query)
    assert torch.equal(tied_value, value) and not torch.equal(query, key)
