"""The network and the tracker against the method written out, with two entire-target steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from by_the_book import Book
from small import made_up_video, small_config, small_model

import rhmnet
from rhmnet.model import RHMNet

# thresholds that leave some and take some of what a network with random weights predicts
TWO_LAYERS = (
    "model.refine_layers=2",
    "model.refine_threshold=[0.3, 0.4]",
    "model.object_threshold=0.35",
    "test.max_memory_length=2",
    "test.update_frequency=2",
    "test.scribble_update_frequency=3",
)
OPTIONS = [
    ("test.require_last=true", "test.stored_threshold=0.3"),
    (
        *("model.separate_heads=true", "model.scribble_memory_for_mask=true"),
        *("test.require_last_scribble=false", "test.stored_level=2"),
    ),
    ("model.use_similarity=false", "model.upsample_logits=false", "test.using_initial_bg=false"),
    ("model.local_similarity=true", "model.level_embedding=false", "test.require_last=true"),
    ("model.bg_prototype=false", "model.norm=bn"),
]


def soft_model(config: rhmnet.Config) -> RHMNet:
    """Small logits: where several objects are all but certain, float32 says little of 1 - p.

    Norms and biases, alike in a new network, differ, so that they cannot be exchanged.
    """
    model = small_model(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1 and "backbone" not in name:
                parameter += 0.1 * torch.randn_like(parameter)
        for head in (model.reliable_head, *model.entire_heads):
            head.conv_out.weight.mul_(0.2)
    return model


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: options[0])
@pytest.mark.parametrize("size", [(64, 48), (50, 87)])  # tokens 4 x 3; 4 x 6, padded 7 + 7, 4 + 5
def test_tracking(options: tuple[str, ...], size: tuple[int, int]) -> None:
    config = small_config(*TWO_LAYERS, *options)
    model = soft_model(config)
    video, scribble = made_up_video(8, *size, 2)
    wanted = Book(model, config).track(video, {0: scribble}, 2)
    tracker = rhmnet.Tracker(model, config)
    for t, image in enumerate(video):
        found = tracker.step(image) if t else tracker.start(image, scribble)
        entire, reliable = wanted[t]
        assert (found.probabilities - entire).abs().max() < 1e-4, t
        assert (found.reliable - reliable).abs().max() < 1e-4, t
        assert (found.labels == (entire.argmax(0) + 1) % 3).float().mean() > 0.999


def test_tracking_objects_that_appear_later() -> None:
    """Background strokes beside them play no part."""
    config = small_config(*TWO_LAYERS, "test.require_last=true")
    model = soft_model(config)
    video, scribble = made_up_video(7, 64, 96, 4)
    strokes = {
        t: np.where(np.isin(scribble, values), scribble, 0).astype(np.uint8)
        for t, values in {0: (3, 255), 3: (1, 4, 255), 5: (2,)}.items()
    }
    wanted = Book(model, config).track(video, strokes, 4)
    tracker = rhmnet.Tracker(model, config)
    for t, image in enumerate(video):
        given = strokes.get(t)
        found = tracker.step(image, given) if t else tracker.start(image, given, num_objects=4)
        assert (found.probabilities - wanted[t][0]).abs().max() < 1e-4, t
        assert (found.reliable - wanted[t][1]).abs().max() < 1e-4, t


@pytest.mark.parametrize("options", OPTIONS[:4], ids=lambda options: options[0])
def test_training(options: tuple[str, ...]) -> None:
    config = small_config(*TWO_LAYERS, *options)
    model = soft_model(config)
    video, scribble = made_up_video(4, 64, 64, 2)
    frames = torch.from_numpy(video).permute(0, 3, 1, 2)
    first = torch.from_numpy(scribble)
    last = first.roll(7, dims=1)
    with torch.no_grad():
        found = model(frames[None], first[None], torch.tensor([2]), last[None])
    forward = Book(model, config).train(frames, first, 2)
    backward = Book(model, config).train(frames.flip(0), last, 2)[::-1]
    for t in range(4):
        assert (found.reliable_prob_s4[0, t] - forward[t].reliable).abs().max() < 1e-4
        for k in range(2):
            assert (found.entire_prob[0, t, k] - forward[t].entire[k]).abs().max() < 1e-4
            assert (found.backward_prob[0, t, k] - backward[t].entire[k]).abs().max() < 1e-4
