"""What stays float32 under autocast and in half precision: similarity, labels, losses."""

from __future__ import annotations

import pytest
import torch
from small import made_up_video, small_config, small_model
from torch import Tensor

from rhmnet.arithmetic import in_float32
from rhmnet.losses import consistency, partial_cross_entropy, reliable_focal, smoothness
from rhmnet.memory_encoder import LabelEmbedding, local_similarity_labels, similarity_labels
from rhmnet.segmentation_head import channel_odds, entire_target

HALF = [torch.bfloat16, torch.float16]


def ratio_and_embedding(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    ratio = torch.rand(2, 3, 6, 7, generator=generator)
    return ratio, torch.randn(2, 64, 6, 7, generator=generator).to(dtype)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("labels", [similarity_labels, local_similarity_labels])
def test_similarity_under_autocast_is_float32s(labels, dtype: torch.dtype) -> None:
    ratio, embedding = ratio_and_embedding(dtype)
    wanted = labels(ratio, embedding.float())
    with torch.autocast("cpu", dtype):
        found = labels(ratio, embedding)
    assert found.dtype == torch.float32
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("option", ["use_similarity=true", "local_similarity=true"])
def test_a_networks_soft_labels_under_autocast(option: str, dtype: torch.dtype) -> None:
    model = small_model(small_config(f"model.{option}"))
    video, scribble = made_up_video(1, 64, 64, 2)
    frames, strokes = torch.from_numpy(video).permute(0, 3, 1, 2), torch.from_numpy(scribble)[None]
    with torch.no_grad(), torch.autocast("cpu", dtype):
        frame = model.encode_frame(model.feature_extractor.normalize(frames))
        found = model.scribble_labels(frame, strokes, 2)
    upcast = frame._replace(features=type(frame.features)(*(x.float() for x in frame.features)))
    assert torch.equal(found, model.scribble_labels(upcast, strokes, 2))


@pytest.mark.parametrize("dtype", HALF)
def test_labels_are_attached_unrounded_under_autocast(dtype: torch.dtype) -> None:
    embedding = LabelEmbedding(3, 4, use_background=True, one_per_level=True)
    labels = torch.tensor([0.70001, 0.10003, 0.19996]).view(1, 3, 1)
    with torch.autocast("cpu", dtype):
        memory = embedding.attach(torch.zeros(1, 1, 4, dtype=dtype), labels, 1, background=True)
    wanted = [0.70001 - 0.29999, 0.10003 - 0.89997]
    assert memory[:, 0, 0].tolist() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("dtype", HALF)
def test_logits_are_subtracted_and_aggregated_in_float32(dtype: torch.dtype) -> None:
    logits = torch.tensor([[8.0, 5.015625], [-3.0, 0.5078125]]).view(2, 2, 1, 1).to(dtype)
    valid = torch.ones(1, 2, dtype=torch.bool)
    with torch.autocast("cpu", dtype):
        found = entire_target(logits, valid, upsample=False)
    for one, other in zip(found, entire_target(logits.float(), valid, False), strict=True):
        assert torch.equal(one, other)
    assert channel_odds(torch.ones(1, 1, 2, 2, dtype=dtype), valid[:, :1]).isfinite().all()


@pytest.mark.parametrize("dtype", HALF)
def test_losses_under_autocast_are_float32s(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    prob = torch.rand(2, 3, 12, 16, generator=generator).softmax(1)
    other = torch.rand(2, 3, 12, 16, generator=generator).softmax(1)
    frames = torch.randint(0, 256, (2, 3, 12, 16), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 3, (2, 12, 16), dtype=torch.uint8, generator=generator)
    strokes = (prob[:, None, :2] > 0.4).float()
    logits = torch.randn(2, 1, 2, 3, 4, generator=generator)

    def losses() -> list[Tensor]:
        return [
            partial_cross_entropy(prob, labels, 2.0),
            smoothness(prob, frames, 10.0, 9),
            reliable_focal(logits, strokes, torch.ones(2, 2, dtype=torch.bool), 0.5, 2.0, 3),
            consistency(prob, other),
        ]

    wanted = losses()
    with torch.autocast("cpu", dtype):
        found = losses()
    assert all(torch.equal(x, y) for x, y in zip(found, wanted, strict=True))


def test_autocast_goes_on_around_it() -> None:
    @in_float32
    def product(a: Tensor, b: Tensor, scale: int = 1) -> Tensor:
        return a @ b * scale

    a = torch.full((2, 2), 1.001)
    with torch.autocast("cpu", torch.bfloat16):
        assert product(a, b=a, scale=2).dtype == torch.float32
        assert product(a.bfloat16(), a.bfloat16()).dtype == torch.float32
        assert (a @ a).dtype == torch.bfloat16
