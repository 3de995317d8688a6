from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
import torch
from small import made_up_video, small_config, small_model

import rhmnet
from rhmnet.accelerate import fastest_precision, prepare_for_tracking
from rhmnet.arithmetic import labels_at
from rhmnet.errors import InputError
from rhmnet.tracker import settle_precision


def test_tracker_equals_the_clip_unroll_when_their_options_match() -> None:
    config = small_config(
        "test.update_frequency=1",
        "test.scribble_update_frequency=1",
        "test.stored_level=2",
        "test.stored_threshold=0.95",
    )
    model = small_model(config)
    video, scribble = made_up_video(3, 64, 96, 2)
    frames = torch.from_numpy(video).permute(0, 3, 1, 2)[None]
    with torch.no_grad():
        clip = model(frames, torch.from_numpy(scribble)[None], torch.tensor([2]))
    tracker = rhmnet.Tracker(model, config)
    for t, image in enumerate(video):
        out = tracker.step(image) if t else tracker.start(image, scribble)
        assert torch.allclose(out.probabilities, clip.entire_prob[0, t, -1], atol=1e-4)


def test_outputs() -> None:
    video, scribble = made_up_video(2, 50, 70, 3)  # no multiples of 16
    config = small_config()
    model = small_model(config)
    tracker = rhmnet.Tracker(model, config)
    out = tracker.start(video[0], scribble)
    assert out.labels.shape == (50, 70) and out.labels.dtype == torch.uint8
    assert out.probabilities.shape == out.reliable.shape == (4, 50, 70)
    assert not out.probabilities.requires_grad
    winner = (out.probabilities.argmax(0) + 1) % 4
    assert torch.equal(winner.to(torch.uint8), out.labels)
    again = tracker.start(torch.from_numpy(video[0]), torch.from_numpy(scribble))
    assert torch.equal(out.probabilities, again.probabilities)


@pytest.mark.parametrize(("height", "width"), [(52, 51), (63, 49), (64, 63), (50, 64)])
def test_padding_round_trips(height: int, width: int) -> None:
    """A frame whose border is what zeros become is its inside, padded: the same values come back.

    Half of the padding on each side, the smaller half first.
    """
    config = small_config()
    model = small_model(config)
    mean = model.feature_extractor.mean.flatten()
    model.feature_extractor.mean.copy_(mean.round()[:, None, None])  # so that a byte is 0
    top, left = (64 - height) // 2, (64 - width) // 2
    rows, columns = slice(top, top + height), slice(left, left + width)
    video, scribble = made_up_video(2, 64, 64, 2)
    whole = np.full_like(video, mean.round().byte().numpy())
    whole[:, rows, columns] = video[:, rows, columns]
    strokes = np.zeros_like(scribble)
    strokes[rows, columns] = scribble[rows, columns]
    tracker = rhmnet.Tracker(model, config)
    wanted = [tracker.start(whole[0], strokes), tracker.step(whole[1])]
    first, second = whole[:, rows, columns]
    found = [tracker.start(first, strokes[rows, columns]), tracker.step(second)]
    for full, cut in zip(wanted, found, strict=True):
        assert cut.probabilities.std() > 0.05
        assert torch.allclose(full.probabilities[:, rows, columns], cut.probabilities, atol=1e-6)
        assert torch.allclose(full.reliable[:, rows, columns], cut.reliable, atol=1e-6)
        assert torch.equal(full.labels[rows, columns], cut.labels)


def test_training_mode_comes_back_and_has_no_say() -> None:
    video, scribble = made_up_video(1, 64, 64, 1)
    config = small_config()
    model = small_model(config)
    wanted = rhmnet.Tracker(model, config).start(video[0], scribble).probabilities
    model.train()
    found = rhmnet.Tracker(model, config).start(video[0], scribble).probabilities
    assert torch.equal(wanted, found) and model.training


def test_eleven_objects_and_more() -> None:
    video, scribble = made_up_video(2, 64, 256, 13)
    config = small_config()
    tracker = rhmnet.Tracker(small_model(config), config)
    out = tracker.start(video[0], scribble)
    out = tracker.step(video[1])
    assert out.probabilities.shape == (14, 64, 256)
    assert torch.allclose(out.probabilities.sum(0), torch.ones(()), atol=1e-5)


def test_objects_in_parts_give_the_same() -> None:
    video, scribble = made_up_video(3, 64, 128, 5)
    outs = []
    for at_once in (1, 2, 8):
        config = small_config(f"test.objects_at_once={at_once}")
        tracker = rhmnet.Tracker(small_model(config), config)
        tracker.start(video[0], scribble)
        outs.append([tracker.step(image).probabilities for image in video[1:]])
    for parts in outs[:2]:
        for part, whole in zip(parts, outs[2], strict=True):
            assert torch.allclose(part, whole, atol=1e-4)


def test_an_object_that_joins_is_absent_before_and_tracked_after() -> None:
    video, scribble = made_up_video(4, 64, 96, 2)
    config = small_config()
    tracker = rhmnet.Tracker(small_model(config), config)
    first = np.where(scribble == 2, 0, scribble).astype(np.uint8)
    joins = np.where(scribble == 2, 2, 0).astype(np.uint8)
    assert tracker.start(video[0], first, num_objects=2).probabilities[1].max() < 1e-6
    assert tracker.step(video[1]).probabilities[1].max() < 1e-6
    joined = tracker.step(video[2], joins)
    assert joined.probabilities[1].max() > 1e-3
    assert tracker.step(video[3]).probabilities[1].max() > 1e-3


def test_disk_background_where_the_number_of_objects_is_told() -> None:
    video, scribble = made_up_video(1, 64, 64, 2)
    config = small_config()
    tracker = rhmnet.Tracker(small_model(config), config)
    disk = np.where(scribble == 255, 3, scribble).astype(np.uint8)
    one = tracker.start(video[0], scribble).probabilities
    other = tracker.start(video[0], disk, num_objects=2).probabilities
    assert torch.equal(one, other)


def test_memory_does_not_grow_with_the_video() -> None:
    video, scribble = made_up_video(30, 32, 32, 1)
    config = small_config(
        "test.update_frequency=2", "test.scribble_update_frequency=1", "test.require_last=true"
    )
    tracker = rhmnet.Tracker(small_model(config), config)
    sizes = []
    for t, image in enumerate(video):
        _ = tracker.step(image) if t else tracker.start(image, scribble)
        sizes.append([step.read().key.shape[2] for step in tracker._bank.steps])
    assert sizes[15] == sizes[-1]


@pytest.mark.parametrize(
    ("image", "scribble", "num_objects", "message"),
    [
        (np.zeros((64, 64), np.uint8), None, None, "expected uint8 [H, W, 3]"),
        (np.zeros((64, 64, 3), np.float32), None, None, "image of float32"),
        (None, np.zeros((64, 64), np.int64), None, "scribble of int64"),
        (None, np.ones((32, 64), np.uint8), None, "scribble of size 32 x 64 on a frame of 64 x 64"),
        (None, np.zeros((64, 64), np.uint8), None, "scribble is empty"),
        (None, np.full((64, 64), 255, np.uint8), None, "scribble is empty"),
        (None, np.full((64, 64), 7, np.uint8), 3, "label 7 is out of range"),
        (None, np.full((64, 64), 3, np.uint8), 2, "scribble is empty"),
        (None, np.ones((64, 64), np.uint8), 300, "num_objects=300: expected 1..253"),
    ],
)
def test_bad_input(image, scribble, num_objects, message: str) -> None:
    image = np.zeros((64, 64, 3), np.uint8) if image is None else image
    scribble = np.ones((64, 64), np.uint8) if scribble is None else scribble
    config = small_config()
    tracker = rhmnet.Tracker(small_model(config), config)
    with pytest.raises(InputError, match=re.escape(message)):
        tracker.start(image, scribble, num_objects)


def test_frames_of_one_size_and_start_before_step() -> None:
    video, scribble = made_up_video(1, 64, 64, 1)
    config = small_config()
    tracker = rhmnet.Tracker(small_model(config), config)
    with pytest.raises(InputError, match="before start"):
        tracker.step(video[0])
    tracker.start(video[0], scribble)
    with pytest.raises(InputError, match="48 x 64 in a video of 64 x 64"):
        tracker.step(video[0][:48])


def test_correction_is_certain_on_its_frame_and_stays_in_memory() -> None:
    video, scribble = made_up_video(3, 50, 70, 2)
    config = small_config()
    tracker = rhmnet.Tracker(small_model(config), config)
    tracker.start(video[0], scribble)
    state = tracker.snapshot()
    plain = [tracker.step(image) for image in video[1:]]
    tracker.restore(state)
    stroke = np.zeros_like(scribble)
    stroke[40:44, 5:60] = 2
    stroke[2:6, 5:60] = 255
    corrected = [tracker.step(video[1], stroke), tracker.step(video[2])]
    labels = corrected[0].labels.numpy()
    assert (labels[40:44, 5:60] == 2).all() and (labels[2:6, 5:60] == 0).all()
    assert not torch.equal(plain[1].probabilities, corrected[1].probabilities)
    tracker.restore(state)  # a snapshot serves again, untouched by what came after
    again = [tracker.step(image) for image in video[1:]]
    for one, other in zip(plain, again, strict=True):
        assert torch.equal(one.probabilities, other.probabilities)


def test_removed_object_is_gone_and_may_come_back() -> None:
    video, scribble = made_up_video(4, 64, 96, 2)
    config = small_config()
    tracker = rhmnet.Tracker(small_model(config), config)
    tracker.start(video[0], scribble)
    tracker.remove_object(1)
    gone = tracker.step(video[1])
    assert gone.probabilities[0].max() < 1e-6 and not (gone.labels == 1).any()
    back = tracker.step(video[2], np.where(scribble == 1, 1, 0).astype(np.uint8))
    assert back.probabilities[0].max() > 1e-3
    assert tracker.step(video[3]).probabilities[0].max() > 1e-3
    with pytest.raises(InputError, match="object 3 is not tracked"):
        tracker.remove_object(3)


def test_weights_loaded_later_are_used(tmp_path) -> None:
    video, scribble = made_up_video(1, 64, 64, 1)
    config = small_config()
    model, other = small_model(config, seed=0), small_model(config, seed=1)
    tracker = rhmnet.Tracker(model, config)
    before = tracker.start(video[0], scribble).probabilities
    rhmnet.save_checkpoint(tmp_path / "other.pth.tar", other, config, epoch=1)
    rhmnet.load_checkpoint(model, tmp_path / "other.pth.tar")
    after = tracker.start(video[0], scribble).probabilities
    wanted = rhmnet.Tracker(other, config).start(video[0], scribble).probabilities
    assert torch.equal(after, wanted) and not torch.equal(before, after)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_single_steps_give_what_fused_convolutions_give(backbone: str, monkeypatch) -> None:
    model = small_model(small_config(f"model.backbone={backbone}"))
    for name, buffer in model.feature_extractor.backbone.named_buffers():
        buffer.uniform_(0.5, 1.5) if "var" in name else buffer.normal_()
    images = torch.randn(1, 3, 64, 48).to(memory_format=torch.channels_last)
    with torch.no_grad():
        plain = model.feature_extractor(images)
        first = prepare_for_tracking(model, "float32").feature_extractor(images)
        monkeypatch.setattr("rhmnet.accelerate.has_fused_operators", lambda weight: False)
        second = prepare_for_tracking(model, "float32").feature_extractor(images)
    for features in zip(plain, first, second, strict=True):
        scale = features[0].abs().max()
        for other in features[1:]:
            assert (features[0] - other).abs().max() <= 1e-5 * scale


def test_one_tracker_serves_videos_of_several_sizes() -> None:
    config = small_config()
    model = small_model(config)
    videos = [
        made_up_video(2, height, width, 2) for height, width in ((48, 80), (64, 32), (48, 80))
    ]
    tracker = rhmnet.Tracker(model, config)
    for video, scribble in videos:
        alone = rhmnet.Tracker(model, config)
        for one in (tracker, alone):
            one.start(video[0], scribble)
        same = tracker.step(video[1]).probabilities, alone.step(video[1]).probabilities
        assert torch.allclose(*same, atol=1e-6)
        tracker.remove_object(1)  # which the next video knows nothing of


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_features_give_the_same_masks() -> None:
    model, (video, scribble) = small_model(), made_up_video(3, 48, 80, 2)
    found = []
    for compiles in ("false", "true"):
        tracker = rhmnet.Tracker(model, small_config(f"test.compile={compiles}"))
        tracker.start(video[0], scribble)
        found.append([tracker.step(image).probabilities for image in video[1:]])
    for one, other in zip(*found, strict=True):
        assert (one - other).abs().max() <= 1e-5


def test_labels_are_the_first_largest_channel() -> None:
    prob = torch.randint(0, 3, (4, 50, 60), generator=torch.Generator().manual_seed(0)).float()
    largest = prob.numpy().argmax(0)
    assert (labels_at(prob, (50, 60)).numpy() == (largest + 1) % 4).all()


def test_folded_norms_give_the_same_features() -> None:
    model = small_model()
    for name, buffer in model.feature_extractor.backbone.named_buffers():
        if name.endswith(("running_var", "weight")):
            buffer.uniform_(0.5, 1.5)
        else:
            buffer.normal_(0, 0.1)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted = model.feature_extractor(images)
        found = prepare_for_tracking(model, "float32").feature_extractor(images)
    for one, other in zip(wanted, found, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize(
    ("features", "share", "wanted"),
    [
        *(((), 0.1, "float32"), (("avx512_bf16",), 0.5, "bfloat16")),
        *((("amx_tile",), 0.1, "bfloat16"), (("avx512_bf16",), 0.95, "float32")),
        (("avx512_bf16", "amx_tile"), 1.9, "float32"),
    ],
)
def test_auto_is_the_precision_that_is_faster_here(
    features: tuple[str, ...], share: float, wanted: str, monkeypatch
) -> None:
    video, scribble = made_up_video(1, 64, 64, 1)
    model, device = small_model(), torch.device("cpu")
    seconds = {torch.float32: 1.0, torch.bfloat16: share}
    monkeypatch.setattr("rhmnet.accelerate.cpu_has", features.__contains__)
    monkeypatch.setattr("rhmnet.accelerate._convolution_seconds", seconds.get)
    fastest_precision.cache_clear()
    config = small_config("test.precision=auto")
    assert settle_precision(config, device).test.precision == wanted
    tracker = rhmnet.Tracker(model, config)
    tracker.start(video[0], scribble)
    assert tracker._net.dtype == getattr(torch, wanted)
    config = small_config("test.precision=float16")
    assert settle_precision(config, device) == config
    fastest_precision.cache_clear()


def test_half_precision_labels_agree() -> None:
    video, scribble = made_up_video(3, 64, 96, 2)
    wanted = found = None
    model = small_model()
    for precision in ("float32", "bfloat16"):
        config = small_config(f"test.precision={precision}")
        tracker = rhmnet.Tracker(model, config)
        tracker.start(video[0], scribble)
        wanted, found = found, tracker.step(video[1])
    assert found.probabilities.dtype == torch.float32
    assert (wanted.labels == found.labels).float().mean() > 0.9
