"""Invariants of the network: objects permute, batched equals single, eviction keeps the first."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small import made_up_video, small_config, small_model
from torch import Tensor, nn
from torch.nn import functional

from rhmnet.accelerate.fast_memory import (
    ROWS,
    BoundedStepMemory,
    SharedStepMemory,
    TrackingAttention,
    TrackingBank,
    _attend_by_rows,
)
from rhmnet.arithmetic import drop
from rhmnet.attention import MultiHeadAttention
from rhmnet.memory_bank import MemoryBank, ReliabilityLevel, StepMemory
from rhmnet.memory_encoder import LabelEmbedding, local_similarity_labels, similarity_labels
from rhmnet.position_embedding import PositionEmbedding
from rhmnet.segmentation_head import channel_odds, channel_softmax
from rhmnet.structures import MemoryEntry

CLOSE = {"atol": 2e-5, "rtol": 0}


def clip_of(seeds: list[int], num_objects: list[int], size: int = 64) -> tuple[Tensor, Tensor]:
    clips = [made_up_video(3, size, size, n, s) for s, n in zip(seeds, num_objects, strict=True)]
    frames = torch.from_numpy(np.stack([video for video, _ in clips])).permute(0, 1, 4, 2, 3)
    return frames, torch.from_numpy(np.stack([scribble for _, scribble in clips]))


def test_attention_equals_torchs_own() -> None:
    torch.manual_seed(0)
    ours, theirs = MultiHeadAttention(32, 4, 0.0), nn.MultiheadAttention(32, 4, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    query, memory = torch.randn(2, 5, 32), torch.randn(2, 7, 32)
    (q,) = ours.project(query, 0, 1)
    out = ours.attend(q, *ours.project(memory, 1, 3))
    assert torch.allclose(out, theirs(query, memory, memory)[0], atol=1e-6)


def test_dropout_zeroes_its_share_keeps_the_mean_and_obeys_the_seed() -> None:
    torch.manual_seed(0)
    out = drop(torch.ones(1000, 1001), 0.1)  # a size that is no multiple of four
    assert (out == 0).float().mean().item() == pytest.approx(0.1, abs=1e-3)
    assert out.unique().tolist() == pytest.approx([0, 1 / 0.9])
    kept = (out != 0).float()
    assert (kept[:, 1:] * kept[:, :-1]).mean().item() == pytest.approx(0.81, abs=2e-3)
    torch.manual_seed(0)
    assert torch.equal(out, drop(torch.ones(1000, 1001), 0.1))


def test_attention_with_dropout_has_the_mean_of_attention_without() -> None:
    torch.manual_seed(0)
    attention = MultiHeadAttention(16, 2, dropout=0.3)
    query, key, value = torch.randn(3, 1, 2, 4, 8).unbind()
    with torch.no_grad():
        wanted = attention.eval().attend(query, key, value)
        attention.train()
        found = torch.stack([attention.attend(query, key, value) for _ in range(3000)])
    assert not torch.equal(found[0], found[1])
    assert torch.allclose(found.mean(0), wanted, atol=0.05)


def test_position_embedding_takes_the_first_or_resizes() -> None:
    position = PositionEmbedding(4, 6, 8)
    grid = position(3, 5).view(3, 5, 8)
    assert torch.equal(grid[2, 3], torch.cat([position.col_embed[3], position.row_embed[2]]))
    larger = position(7, 6).view(7, 6, 8)  # one side above: resized, corners stay
    assert torch.allclose(larger[6, 5], torch.cat([position.col_embed[5], position.row_embed[3]]))
    assert torch.allclose(larger[3, 2, 4:], (position.row_embed[1] + position.row_embed[2]) / 2)


def test_label_embedding_marks_target_and_background() -> None:
    embedding = LabelEmbedding(3, 2, use_background=True, one_per_level=True)
    with torch.no_grad():
        embedding.target.copy_(torch.tensor([[1.0, 0], [2, 0], [3, 0]]))
        embedding.background.copy_(torch.tensor([[0.0, 1], [0, 2], [0, 3]]))
    labels = torch.tensor([[[0.5], [0.25], [0.125]]])  # two objects and background, one token
    marked = embedding.attach(torch.zeros(1, 1, 2), labels, level=2, background=True)
    assert marked.tolist() == [[[1.5, 3 * 0.375]], [[0.75, 3 * 0.625]]]
    marked = embedding.attach(torch.zeros(1, 1, 2), labels, level=1, background=False)
    assert marked.tolist() == [[[1.0, 0.0]], [[0.5, 0.0]]]


def test_similarity_spreads_the_stroke_to_like_cells_under_it() -> None:
    feature = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    feature = feature.T.view(1, 2, 1, 4)
    ratio = torch.tensor([0.5, 0.2, 0.1, 0.0]).view(1, 1, 1, 4)
    # the mean is the first cell alone (0.2 < 0.211); 0.1 < 0.15 and 0 carry nothing
    assert torch.allclose(
        similarity_labels(ratio, feature).flatten(), torch.tensor([1.0, 0.0, 0.0, 0.0]), atol=1e-6
    )
    # nothing reaches 0.211: the largest alone makes the mean
    ratio = torch.tensor([0.16, 0.2, 0.1, 0.0]).view(1, 1, 1, 4)
    assert torch.allclose(
        similarity_labels(ratio, feature).flatten(), torch.tensor([0.0, 1.0, 0.0, 0.0]), atol=1e-6
    )
    assert not similarity_labels(torch.zeros_like(ratio), feature).any()


def test_local_similarity_looks_at_other_stroke_cells_nearby() -> None:
    feature = torch.zeros(1, 2, 1, 8)
    feature[0, 0] = 1
    feature[0, 1, 0, 1] = 1  # 45 degrees off
    ratio = torch.tensor([0.5, 0.5, 0.1, 0.0, 0.0, 0.0, 0.0, 0.5]).view(1, 1, 1, 8)
    found = local_similarity_labels(ratio, feature).flatten()
    root = 0.5**0.5
    # the last cell has no other stroke cell within two cells: the padding's cosine is 0
    assert torch.allclose(found, torch.tensor([root, root, 0, 0, 0, 0, 0, 0]), atol=1e-6)


def test_aggregation_over_all_channels() -> None:
    prob = torch.tensor([0.8, 0.4]).view(1, 2, 1, 1)
    out = channel_softmax(channel_odds(prob, torch.tensor([[True, True]]))).flatten()
    odds = torch.tensor([4.0, 2 / 3, 0.12 / 0.88])
    assert torch.allclose(out, odds / (odds.sum() + 9e-7), atol=1e-6)
    out = channel_softmax(channel_odds(prob, torch.tensor([[True, False]]))).flatten()
    assert out[1] < 1e-7 and torch.allclose(out[0], torch.tensor(4 / 4.25), atol=1e-6)


def entry(value: float) -> MemoryEntry:
    return MemoryEntry(torch.full((1, 1, 2, 1), value), torch.full((1, 1, 2, 1), -value))


def read_by(memory: StepMemory, current: MemoryEntry | None = None) -> list[float]:
    key, value = memory.read(current)
    assert torch.equal(value, -key)
    return sorted(key[0, 0, ::2, 0].tolist())


@pytest.fixture(params=[MemoryBank, TrackingBank])
def bank_class(request: pytest.FixtureRequest) -> type[MemoryBank]:
    """The memory bank, and as tracking lays it out."""
    return request.param


def test_bank_drops_the_second_oldest_and_keeps_the_first(bank_class) -> None:
    bank = bank_class([entry(0.0), entry(0.5)], max_length=3)
    for value in range(1, 7):
        bank[0].store(ReliabilityLevel.RELIABLE, entry(value))
        assert len(read_by(bank[0])) == 1 + min(value, 3)
    assert read_by(bank[0]) == [0, 1, 5, 6]
    bank[0].replace_last(entry(9))
    assert read_by(bank[0]) == [0, 1, 5, 6, 9]
    assert read_by(bank[1]) == [0.5] and not bank[1].reads_current


def test_bank_of_one_entry_keeps_the_first_frames(bank_class) -> None:
    bank = bank_class([entry(0.0)], max_length=1)
    for value in (1, 2, 3):
        bank[0].store(ReliabilityLevel.RELIABLE, entry(value))
    assert read_by(bank[0]) == [0, 1]


def test_entire_target_steps_read_what_the_method_says(bank_class) -> None:
    room = {"mask_levels": 2} if bank_class is TrackingBank else {}
    bank = bank_class([entry(0.0), entry(0.5)], max_length=2, **room)
    for value in (1, 2, 3):
        bank[1].store(ReliabilityLevel.RELIABLE, entry(value))
        assert not bank[1].reads_current
    for value in (11, 12, 13):
        bank[1].store(ReliabilityLevel.ENTIRE, entry(value))
    assert bank[1].reads_current
    assert read_by(bank[1], entry(20)) == [0.5, 1, 3, 11, 13, 20]
    bank[1].replace_last(entry(30))
    assert read_by(bank[1], entry(21)) == [0.5, 1, 3, 11, 13, 21, 30]


def test_bank_replaces_the_initial_memory_of_some_objects(bank_class) -> None:
    initial = MemoryEntry(torch.zeros(3, 1, 2, 1), torch.zeros(3, 1, 2, 1))
    bank = bank_class([initial], max_length=1)
    bank[0].replace_initial(
        MemoryEntry(torch.ones(3, 1, 2, 1), torch.ones(3, 1, 2, 1)),
        torch.tensor([False, True, False]),
    )
    assert bank[0].read().key[:, 0, 0, 0].tolist() == [0, 1, 0]


def test_attention_by_rows_is_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = (torch.randn(2, n, 3, 8).transpose(1, 2) for n in (ROWS + 7, 50, 50))
    with torch.no_grad():
        expected = functional.scaled_dot_product_attention(query, key, value)
        assert torch.allclose(_attend_by_rows(query, key, value), expected, atol=1e-5)

    called = []
    by_rows = "rhmnet.accelerate.fast_memory._attend_by_rows"
    monkeypatch.setattr(by_rows, lambda q, k, v: called.append(1) or q)
    module = TrackingAttention(24, 3, 0.0).eval().requires_grad_(False).to(torch.bfloat16)
    half = [x.to(torch.bfloat16) for x in (query, key, value)]
    for features in (set(), {"avx512_bf16"}, {"avx512_bf16", "amx_tile"}):
        monkeypatch.setattr("rhmnet.accelerate.fast_memory.cpu_has", features.__contains__)
        module.attend(*half)
    assert len(called) == 1


@pytest.mark.parametrize("objects", [1, 3])
@pytest.mark.parametrize("initially", [0.0, 0.2, 1.1])
def test_tokens_that_are_alike_are_read_once_with_the_same_result(
    initially: float, objects: int
) -> None:
    generator = torch.Generator().manual_seed(0)

    def mark(frame: Tensor, marked: float) -> MemoryEntry:
        """Two heads, 40 tokens; about a share of them is marked, for each object in its way."""
        here = torch.rand(40, generator=generator) < marked
        own = torch.randn(2, objects, 2, 40, 8, generator=generator)
        return MemoryEntry(*torch.where(here[:, None], own, frame))  # key, value

    def draw(marked: float) -> MemoryEntry:
        return mark(torch.randn(2, 1, 2, 40, 8, generator=generator), marked)

    attention = TrackingAttention(16, 2, 0.0).eval()
    query = torch.randn(1, 2, 40, 8, generator=generator)
    first = torch.randn(2, 1, 2, 40, 8, generator=generator)
    initial = mark(first, initially)
    plain, shared = BoundedStepMemory(initial, 3, 1, False), SharedStepMemory(initial, 3)

    def check() -> int:
        """Tokens that are read in one go, of those that are held."""
        key, value = plain.read()
        *own, common = shared.read()
        assert own[0].shape[2] + sum(c.times * c.key.shape[2] for c in common) == key.shape[2]
        with torch.no_grad():
            whole = attention.attend(query.expand(objects, -1, -1, -1), key, value)
            parts = attention.attend_in_parts(query, [*common, (*own, 1)], objects)
        assert torch.allclose(whole, parts, atol=1e-5)
        return sum(c.key.shape[2] for c in common if c.times > 1)

    assert check() == 0
    for entry in (mark(first, 0.1), draw(0.3), draw(1.0), draw(0.1), draw(0.0)):
        last = draw(0.2)
        for memory in (plain, shared):
            memory.store(ReliabilityLevel.RELIABLE, entry)
            memory.replace_last(last)
        twice = check()
        assert (twice > 20) if initially < 1 else (twice == 0)
    correction, other = draw(0.1), draw(0.5)
    for memory in (plain, shared):
        memory.add_initial(correction)
        memory.replace_initial(other, torch.arange(objects) == 0)
    assert check() == 0
    for memory in (plain, shared):
        memory.store(ReliabilityLevel.RELIABLE, other)
    check()


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("model.use_similarity=false",),
        ("model.local_similarity=true",),
        ("model.refine_layers=2", "model.separate_heads=true"),
        ("model.refine_layers=2",),
        ("model.level_embedding=false",),
        ("model.bg_prototype=false",),
        ("model.scribble_memory_for_mask=true",),
        ("model.upsample_logits=false",),
        ("model.norm=bn",),
        ("model.backbone=resnet34",),
    ],
    ids=lambda overrides: overrides[-1] if overrides else "release",
)
def test_batched_equals_single_and_every_option_runs(overrides: tuple[str, ...]) -> None:
    config = small_config(*overrides)
    model = small_model(config)
    frames, scribble = clip_of([0, 1], [2, 1])
    with torch.no_grad():
        both = model(frames, scribble, torch.tensor([2, 1]), scribble)
        alone = model(frames[1:], scribble[1:], torch.tensor([1]))
    size = (2, 3, config.model.refine_layers, 3, 64, 64)
    assert both.entire_prob.shape == both.backward_prob.shape == size
    assert both.reliable_prob_s4.shape == (2, 3, 3, 16, 16)
    assert torch.allclose(both.entire_prob[1, :, :, 0], alone.entire_prob[0, :, :, 0], **CLOSE)
    assert both.entire_prob[1, :, :, 1].max() < 1e-6  # the padding object
    assert torch.allclose(both.entire_prob.sum(3), torch.ones(()), atol=1e-5)


@pytest.mark.parametrize("level_embedding", ["true", "false"])
def test_options_change_the_numbers(level_embedding: str) -> None:
    frames, scribble = clip_of([0], [2])
    count = torch.tensor([2])
    config = small_config(f"model.level_embedding={level_embedding}")
    model = small_model(config)
    with torch.no_grad():
        release = model(frames, scribble, count).entire_prob
        for name, value in (
            ("use_similarity", False),
            ("local_similarity", True),
            ("scribble_memory_for_mask", True),
            ("upsample_logits", False),
            ("object_threshold", 0.2),
            ("refine_threshold", (0.1, 0.95)),
        ):
            changed = dict(vars(config.model), **{name: value})
            model.config = type(config.model)(**changed)
            assert not torch.allclose(release, model(frames, scribble, count).entire_prob), name


def test_objects_permute() -> None:
    model = small_model()
    frames, scribble = clip_of([3], [3])
    swapped = scribble.clone()
    swapped[scribble == 1], swapped[scribble == 3] = 3, 1
    with torch.no_grad():
        one = model(frames, scribble, torch.tensor([3])).entire_prob
        other = model(frames, swapped, torch.tensor([3])).entire_prob
    assert torch.allclose(one, other[:, :, :, [2, 1, 0, 3]], **CLOSE)


def test_backward_clip_is_the_reversed_clip() -> None:
    model = small_model()
    frames, scribble = clip_of([4], [2])
    last = scribble.roll(5, dims=2)
    with torch.no_grad():
        both = model(frames, scribble, torch.tensor([2]), last)
        reverse = model(frames.flip(1), last, torch.tensor([2]))
    assert torch.allclose(both.backward_prob, reverse.entire_prob.flip(1), **CLOSE)


def test_every_parameter_has_a_gradient() -> None:
    for overrides in ((), ("model.refine_layers=2", "model.separate_heads=true")):
        model = small_model(small_config(*overrides)).train()
        frames, scribble = clip_of([0], [2])
        out = model(frames, scribble, torch.tensor([2]))
        (out.entire_prob.square().sum() + out.reliable_logits_s4.square().sum()).backward()
        without = [n for n, p in model.named_parameters() if p.grad is None]
        assert not without
