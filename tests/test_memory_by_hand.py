"""What two entire-target steps write and read, by hand: levels, background, thresholds, order."""

from __future__ import annotations

import pytest
import torch
from small import made_up_video, small_config, small_model
from torch import Tensor
from torch.nn import functional

from rhmnet.accelerate.fast_memory import TrackingBank
from rhmnet.memory_bank import MemoryBank, ReliabilityLevel
from rhmnet.structures import Expansion, MemoryEntry, Objects

TARGET = torch.tensor([1.0, 2.0, 4.0, 8.0])
"""What marks a target at levels 0..3; the background's are a hundred times these."""


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch):
    """Two entire-target steps, whose memory is kept as it is and whose marks are numbers."""
    model = small_model(small_config("model.refine_layers=2", "model.refine_threshold=[0.25, 0.4]"))
    with torch.no_grad():
        model.label_embedding.target.copy_(TARGET[:, None].expand(4, 64))
        model.label_embedding.background.copy_(100 * TARGET[:, None].expand(4, 64))
    for reader in model.readers:
        monkeypatch.setattr(reader, "project", lambda memory: MemoryEntry(*[memory[:, None]] * 2))
    return model


def expansion() -> Expansion:
    """One frame of 16 x 16, so one token: object 1 has 0.7, object 2 0.2, background 0.1."""
    prob = torch.tensor([0.7, 0.2, 0.1]).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    first = torch.full_like(prob, 0.5)
    features = [torch.full((2, 1, 64), value) for value in (1000.0, 2000.0)]
    reliable = torch.tensor([3.0, 5.0]).view(2, 1, 1).expand(2, 1, 64)
    logits = torch.zeros(1, 2, 4, 4)
    return Expansion(logits, first[..., :4, :4], [first, prob], [first, prob], reliable, features)


def bank_of(steps: int, **options) -> MemoryBank:
    zero = torch.zeros(2, 1, 1, 64)
    kind = TrackingBank if options else MemoryBank
    return kind([MemoryEntry(zero, zero) for _ in range(steps)], **options)


def values(bank: MemoryBank, step: int) -> list[list[float]]:
    """Of each object, what the step reads besides the initial scribble (0)."""
    key = bank[step].read().key[:, 0, :, 0]
    return [sorted(x for x in row.tolist() if x != 0) for row in key]


@pytest.mark.parametrize("level", [1, 2])  # tracking's, training's
@pytest.mark.parametrize("tracks", [True, False])
def test_each_layer_is_stored_at_a_level_of_its_own(model, level: int, tracks: bool) -> None:
    bank = bank_of(3, max_length=4) if tracks else bank_of(3)
    model.memorize_entire(bank, expansion(), True, level, threshold=0.0)
    for layer, feature in ((0, 1000), (1, 2000)):
        mark = TARGET[level + layer].item()
        one = feature + 0.7 * mark + (0.2 + 0.1) * 100 * mark
        two = feature + 0.2 * mark + (0.7 + 0.1) * 100 * mark
        found = values(bank, 1 + layer)
        assert found[0] == pytest.approx([one]) and found[1] == pytest.approx([two])
    assert values(bank, 0) == [[], []]
    assert bank[1].reads_current and bank[2].reads_current


def test_the_last_steps_prediction_is_stored_in_every_layer_up_to_a_threshold(model) -> None:
    bank = bank_of(3)
    model.memorize_entire(bank, expansion(), True, 2, threshold=0.2)  # 0.2 itself is zeroed
    found = values(bank, 1)
    assert found[0] == pytest.approx([1000 + 0.7 * 4])
    assert found[1] == pytest.approx([1000 + 0.7 * 400])


def test_a_frame_that_is_not_stored_takes_the_last_frames_place_in_every_layer(model) -> None:
    bank = bank_of(3, max_length=2)
    model.memorize_entire(bank, expansion(), True, 1, threshold=0.0)
    stored = [values(bank, step)[0] for step in (1, 2)]
    for threshold in (0.0, 0.6, 0.69):
        model.memorize_entire(bank, expansion(), False, 1, threshold)
    current = MemoryEntry(*[torch.full((2, 1, 1, 64), 7.0)] * 2)
    for layer, feature in ((0, 1000), (1, 2000)):
        key = bank[1 + layer].read(current).key[0, 0, :, 0].tolist()
        last = feature + 0.7 * TARGET[1 + layer].item()
        assert sorted(key) == pytest.approx([0, 7, *sorted([last, *stored[layer]])])
    for _ in range(2):
        model.memorize_reliable(bank, expansion(), False)
    assert values(bank, 0) == [[3], [5]]


def test_layers_drop_their_own_second_oldest() -> None:
    bank = bank_of(3, max_length=3)
    for frame in range(1, 7):
        for step in (1, 2):
            entry = MemoryEntry(*[torch.full((2, 1, 1, 64), 10.0 * step + frame)] * 2)
            bank[step].store(ReliabilityLevel.ENTIRE, entry)
    assert values(bank, 1) == [[11, 15, 16]] * 2
    assert values(bank, 2) == [[21, 25, 26]] * 2


def test_what_a_step_passes_on_to_the_next(model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step 1 reads the reliable region, level 1, background left out; step 2 what step 1 found,
    level 2, with its background, up to the threshold of its own.
    """
    video, scribble = made_up_video(1, 32, 32, 2)
    frames = torch.from_numpy(video).permute(0, 3, 1, 2)
    with torch.no_grad():
        frame = model.encode_frame(model.feature_extractor.normalize(frames))
        initial = model.initial_memory(frame, torch.from_numpy(scribble)[None], 2)
    bank = MemoryBank([MemoryEntry(*(x.clone() for x in entry)) for entry in initial])
    for step in (1, 2):
        bank[step].store(ReliabilityLevel.ENTIRE, bank[step].read())
    passed: dict[int, Tensor] = {}

    def reads(step: int, read):
        def wrapped(current=None):
            if current is not None:
                passed[step] = current.key[:, 0]
            return read(current)

        return wrapped

    for step in (1, 2):
        monkeypatch.setattr(bank[step], "read", reads(step, bank[step].read))

    def attends(tokens, position, memory):
        return tokens + position

    for reader in model.readers:
        monkeypatch.setattr(reader, "forward", attends)
    with torch.no_grad():
        out = model.expand(frame, bank, Objects(torch.ones(1, 2, dtype=torch.bool)))

    def pooled(prob: Tensor, threshold: float, stride: int) -> Tensor:
        kept = prob * (prob > threshold)
        return functional.avg_pool2d(kept, 16 // stride).flatten(2)[0, :, :, None]

    reliable = pooled(out.reliable_prob_s4, 0.25, 4)
    m = frame.tokens + frame.position
    assert torch.allclose(passed[1], m + 2 * reliable[:2], rtol=1e-4, atol=1e-4)
    labels = pooled(out.entire_probs[0], 0.4, 1)
    others = labels.sum(0, keepdim=True) - labels[:2]
    wanted = out.entire_features[0] + 4 * labels[:2] + 400 * others
    assert torch.allclose(passed[2], wanted, rtol=1e-4, atol=1e-3)
    assert 0.1 < labels.mean() < 0.9  # some are kept and some are not
