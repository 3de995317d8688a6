"""Where gradients flow and where they do not, and where chance enters: dropout, first weights."""

from __future__ import annotations

import pytest
import torch
from small import made_up_video, small_config, small_model

import rhmnet
from rhmnet.matching import MemoryReader
from rhmnet.memory_encoder import MemoryEncoder, local_similarity_labels, similarity_labels


@pytest.mark.parametrize("labels", [similarity_labels, local_similarity_labels])
def test_no_gradient_flows_through_similarity(labels) -> None:
    embedding = torch.randn(1, 8, 4, 4, requires_grad=True)
    assert not labels(torch.rand(1, 2, 4, 4), embedding).requires_grad


def clip_prediction(model, last: bool):
    video, scribble = made_up_video(3, 64, 64, 2)
    frames = torch.from_numpy(video).permute(0, 3, 1, 2)[None]
    strokes = torch.from_numpy(scribble)[None]
    return model(frames, strokes, torch.tensor([2]), strokes if last else None)


def test_the_backward_clip_has_no_gradient_and_dropout_of_its_own() -> None:
    model = small_model().train()
    calls = []
    model.encoders[0].register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    out = clip_prediction(model, last=True)
    assert out.entire_prob.requires_grad and not out.backward_prob.requires_grad
    assert calls == [True, False]
    calls.clear()
    assert clip_prediction(model, last=False).backward_prob is None
    assert calls == [True]


def test_later_frames_send_gradients_through_memory() -> None:
    """The last frame's loss reaches what the first frame's prediction was made of."""
    model = small_model(small_config("model.object_threshold=0.2", "model.refine_threshold=[0.2]"))
    out = clip_prediction(model, last=False)
    head = model.entire_heads[0].conv_out.weight
    (through_all,) = torch.autograd.grad(out.entire_prob[:, 2].square().sum(), head)
    with torch.no_grad():
        for parameter in model.label_embedding.parameters():  # nothing is marked: no way back
            parameter.zero_()
    out = clip_prediction(model, last=False)
    (alone,) = torch.autograd.grad(out.entire_prob[:, 2].square().sum(), head)
    assert through_all.norm() > 0 and not torch.allclose(through_all, alone)


def test_dropout_is_where_the_method_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention weights and every residual branch; the hidden features of the feed-forward."""
    dropped = []

    def record(x: torch.Tensor, probability: float) -> torch.Tensor:
        dropped.append((tuple(x.shape), probability))
        return x

    monkeypatch.setattr("rhmnet.arithmetic.drop", record)
    tokens, position = torch.randn(2, 6, 32), torch.randn(6, 32)
    MemoryEncoder(32, 4, 0.2).train()(tokens, position)
    assert dropped == [((2, 4, 6, 6), 0.2), ((2, 6, 32), 0.2)]
    dropped.clear()
    reader = MemoryReader(32, 4, 64, 0.3, tied=False).train()
    memory = reader.project(torch.randn(2, 5, 32))
    reader(tokens, position, memory)
    wanted = [(2, 4, 6, 5), (2, 6, 32), (2, 6, 64), (2, 6, 32)]
    assert dropped == [(shape, 0.3) for shape in wanted]
    dropped.clear()
    reader.eval()(tokens, position, memory)
    assert not dropped


def test_first_weights() -> None:
    model = rhmnet.build_model(small_config("data.crop_size=[384, 256]"))
    rows, columns = model.position_embedding.row_embed, model.position_embedding.col_embed
    assert rows.shape == (24, 32) and columns.shape == (16, 32)
    for embedding in (rows, columns):  # uniform in [0, 1]
        assert 0 <= embedding.min() < 0.1 and 0.9 < embedding.max() <= 1
        assert embedding.mean().item() == pytest.approx(0.5, abs=0.06)
    norms = [m for m in model.feature_extractor.backbone.modules() if "Frozen" in type(m).__name__]
    assert len(norms) == 15 and not any(list(m.parameters()) for m in norms)
    assert {m.eps for m in norms} == {1e-5}
    assert model.feature_extractor.bottleneck[1].num_groups == 32
    assert model.feature_extractor.bottleneck[0].bias is not None
    assert model.reliable_head.conv_in.norm.num_groups == 8
