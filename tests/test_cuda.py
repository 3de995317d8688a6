"""What only a GPU can show; skipped where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from release import CASES, check_track, check_train
from small import made_up_video, small_config, small_model

import rhmnet
from rhmnet.losses import Criterion
from rhmnet.structures import Clip

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture
def full_float32() -> Iterator[None]:
    """Without TF32, which rounds float32 products to 10 bits: cuDNN takes it by default."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@pytest.mark.parametrize("name", ["track_two_objects", "track_odd_size_large"])
def test_tracking_gives_the_release_numbers_on_a_gpu(
    name: str, release_checkpoint: Path, full_float32: None
) -> None:
    check_track(CASES / f"{name}.npz", release_checkpoint, "cuda")


def test_training_step_gives_the_release_numbers_on_a_gpu(
    release_checkpoint: Path, full_float32: None
) -> None:
    check_train(CASES / "train_step.npz", release_checkpoint, "cuda")


def track(device: str, *overrides: str) -> list[rhmnet.tracker.TrackedFrame]:
    config = small_config(*overrides)
    tracker = rhmnet.Tracker(small_model(config).to(device), config)
    video, scribble = made_up_video(8, 96, 128, 3)
    return [tracker.step(i) if t else tracker.start(i, scribble) for t, i in enumerate(video)]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_gives_nearly_the_same_probabilities(precision: str) -> None:
    full, half = track("cpu"), track("cuda", f"test.precision={precision}")
    for a, b in zip(full, half, strict=True):
        assert torch.isfinite(b.probabilities).all()
        assert (a.probabilities - b.probabilities.cpu().float()).abs().mean() < 0.02


def test_compiled_extractor_gives_the_same(full_float32: None) -> None:
    plain, compiled = track("cuda"), track("cuda", "test.compile=true")
    for a, b in zip(plain, compiled, strict=True):
        assert torch.allclose(a.probabilities, b.probabilities, atol=1e-3)


def test_tensors_on_the_gpu_are_taken_as_they_are() -> None:
    config = small_config()
    model = small_model(config).cuda()
    video, scribble = made_up_video(4, 96, 128, 2)
    here, there = rhmnet.Tracker(model, config), rhmnet.Tracker(model, config)
    for t, image in enumerate(video):
        on_gpu = torch.from_numpy(image).cuda()
        if t == 0:
            a = here.start(image, scribble)
            b = there.start(on_gpu, torch.from_numpy(scribble).cuda())
        else:
            a, b = here.step(image), there.step(on_gpu)
        assert torch.equal(a.labels, b.labels)


def test_snapshot_goes_on_as_if_nothing_had_been() -> None:
    config = small_config()
    tracker = rhmnet.Tracker(small_model(config).cuda(), config)
    video, scribble = made_up_video(6, 96, 128, 2)
    tracker.start(video[0], scribble)
    tracker.step(video[1])
    state = tracker.snapshot()
    first = [tracker.step(image).labels for image in video[2:]]
    tracker.restore(state)
    again = [tracker.step(image).labels for image in video[2:]]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_training_step_under_autocast(dtype: torch.dtype) -> None:
    """Losses near those of float32, gradients finite."""
    config = small_config("model.dropout=0.0")
    model = small_model(config).cuda().train()
    video, scribble = made_up_video(3, 64, 64, 2)
    frames = torch.from_numpy(video).permute(0, 3, 1, 2)[None].cuda()
    strokes = torch.from_numpy(np.stack([scribble] * 3))[None].cuda()
    ones = torch.ones(1, dtype=torch.bool, device="cuda")
    gaps = torch.zeros(1, 1, dtype=torch.long, device="cuda")
    number = torch.tensor([2])
    clip = Clip(frames, strokes, strokes[:, 0], strokes[:, -1], number, ones, gaps)
    totals = []
    for enabled in (False, True):
        model.zero_grad()
        with torch.autocast("cuda", dtype, enabled=enabled):
            prediction = model(frames, clip.first_scribble, number, clip.last_scribble)
        losses = Criterion(config.loss)(clip, prediction)
        losses["total"].backward()
        totals.append(losses["total"].item())
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert totals[1] == pytest.approx(totals[0], rel=0.05)
