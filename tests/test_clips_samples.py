"""Whole clips: which frames, which objects, what labels mean, and that they fit the images."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from clip_trees import bars, save_image, small_config, write_coco, write_davis, write_youtube
from PIL import Image

from rhmnet.data import Frame, FrameStrokes, SampleKey, draw_indices, sample_rng
from rhmnet.data.clips import Rejected, cut_clip, label_table
from rhmnet.data.loader import build_dataset
from rhmnet.data.transforms import ImageAugmentation
from rhmnet.errors import InputError


@pytest.mark.parametrize("skip", [0, 1, 4])
def test_gaps_are_uniform_up_to_one_more_than_skip(skip: int) -> None:
    rng = np.random.default_rng(0)
    clips = np.array([draw_indices(rng, 1000, 3, skip, temporal_flip=0) for _ in range(3000)])
    for gaps in np.diff(clips, axis=1).T:
        shares = np.bincount(gaps, minlength=skip + 2)[1:] / len(gaps)
        np.testing.assert_allclose(shares, 1 / (skip + 1), atol=0.04)


@pytest.mark.parametrize(("num_frames", "length"), [(3, 3), (7, 3), (9, 5)])
def test_indices_stay_in_the_video_whatever_the_skip(num_frames: int, length: int) -> None:
    rng = np.random.default_rng(1)
    clips = np.array([draw_indices(rng, num_frames, length, 30, 0) for _ in range(400)])
    assert (np.diff(clips, axis=1) >= 1).all()
    assert (clips.min(), clips.max()) == (0, num_frames - 1)


def test_half_of_the_clips_are_reversed() -> None:
    rng = np.random.default_rng(2)
    clips = np.array([draw_indices(rng, 50, 3, 5, temporal_flip=0.5) for _ in range(2000)])
    steps = np.sign(np.diff(clips, axis=1))
    assert (steps[:, 0] == steps[:, 1]).all()
    assert 0.46 < (steps[:, 0] < 0).mean() < 0.54


def test_mixture_draws_by_weight_then_a_video_evenly_with_the_skip_of_its_set(
    tmp_path: Path,
) -> None:
    write_davis(tmp_path, {"d0": 20, "d1": 6})
    write_youtube(tmp_path, {"y0": 20, "y1": 12, "y2": 20})
    source = build_dataset(small_config(tmp_path), "video").source
    videos: Counter[str] = Counter()
    gaps: dict[str, set[int]] = {"d": set(), "y": set()}
    for index in range(4000):
        key = SampleKey(0, index, skip=9)
        frames = next(source.draws(sample_rng(42, key), key))
        video = frames[0].image.parent.name
        videos[video] += 1
        places = [int(f.image.stem) // (5 if video[0] == "y" else 1) for f in frames]
        gaps[video[0]] |= set(np.abs(np.diff(places)).tolist())
    youtube = sum(videos[name] for name in ("y0", "y1", "y2"))
    assert abs(youtube / 4000 - 0.92) < 0.02
    for name in ("y0", "y1", "y2"):
        assert abs(videos[name] / youtube - 1 / 3) < 0.04
    assert abs(videos["d0"] / (4000 - youtube) - 0.5) < 0.12
    assert gaps["y"] == {1, 2}  # skip 9 // 5 = 1
    assert gaps["d"] == set(range(1, 11))


def test_a_set_of_weight_zero_need_not_exist(tmp_path: Path) -> None:
    write_davis(tmp_path, {"d0": 3})
    dataset = build_dataset(small_config(tmp_path, "data.youtube_weight=0"), "video")
    assert dataset[SampleKey(0, 0, 0)].frames.shape == (1, 3, 3, 48, 48)


def test_ten_draws_of_frames_then_another_video(tmp_path: Path) -> None:
    write_youtube(tmp_path, {f"y{n}": 6 for n in range(12)})
    source = build_dataset(small_config(tmp_path, "data.davis_weight=0"), "video").source
    key = SampleKey(0, 0, 0)
    drawn = list(islice(source.draws(sample_rng(42, key), key), 50))
    videos = [frames[0].image.parent.name for frames in drawn]
    assert all(len(set(videos[start : start + 10])) == 1 for start in range(0, 50, 10))
    assert len(set(videos[::10])) == 5


def test_every_video_is_drawn_before_one_comes_again_its_own_set_first(tmp_path: Path) -> None:
    write_davis(tmp_path, {f"d{n}": 3 for n in range(5)})
    write_youtube(tmp_path, {f"y{n}": 3 for n in range(7)})
    source = build_dataset(small_config(tmp_path, "data.frame_draws=1"), "video").source
    rounds = set()
    for index in range(20):
        key = SampleKey(0, index, 0)
        drawn = islice(source.draws(sample_rng(42, key), key), source.whole_round)
        videos = [frames[0].image.parent.name for frames in drawn]
        assert len(set(videos)) == len(videos) == 12
        own = 5 if videos[0][0] == "d" else 7
        assert {name[0] for name in videos[:own]} == {videos[0][0]}
        rounds.add(tuple(videos))
    assert len(rounds) == 20


def test_each_epoch_shows_every_image_once_in_its_own_order(tmp_path: Path) -> None:
    write_coco(tmp_path, objects=(1, 2) * 8)
    source = build_dataset(small_config(tmp_path), "pretrain").source
    orders = []
    for epoch in (0, 1, 0):
        keys = [SampleKey(epoch, index, 0) for index in range(16)]
        frames = [next(source.draws(sample_rng(42, key), key)) for key in keys]
        assert all(len(set(clip)) == 1 and len(clip) == 3 for clip in frames)
        orders.append([clip[0].image.name for clip in frames])
    assert all(len(set(order)) == 16 for order in orders)
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]


def test_label_table_by_hand() -> None:
    strokes = FrameStrokes(np.zeros((1, 1), np.uint8), background=6, last_object=5)
    drawn = np.array([4, 2])
    assert label_table(strokes, drawn, others=255)[:8].tolist() == [0, 255, 2, 255, 1, 255, 255, 0]
    assert label_table(strokes, drawn, others=0)[:8].tolist() == [0, 0, 2, 0, 1, 0, 255, 0]


def test_a_drawn_object_may_be_the_background_value_of_another_frame() -> None:
    strokes = FrameStrokes(np.zeros((1, 1), np.uint8), background=2, last_object=1)
    assert label_table(strokes, np.array([2, 1]), others=255)[:3].tolist() == [0, 2, 255]


def five_objects(folder: Path) -> Frame:
    """An image of 60x80 with five objects, the fourth too small to be drawn."""
    labels = bars(5)
    labels[(labels == 4) & (np.arange(60)[:, None] > 15)] = 0
    save_image(folder / "a.png", labels, 0)
    Image.fromarray(labels).save(folder / "a.bmp")
    return Frame(folder / "a.png", folder / "a.bmp", 5)


def test_objects_are_drawn_at_random_and_numbered_in_that_order(tmp_path: Path) -> None:
    config = small_config(tmp_path, "data.crop_size=[48,64]", "data.short_side=64").data
    frames = [five_objects(tmp_path)] * 3
    rng = np.random.default_rng(0)
    firsts: Counter[int] = Counter()
    for _ in range(300):
        try:
            sample = cut_clip(rng, frames, ImageAugmentation(), config)
        except Rejected:
            continue
        assert sample.num_objects <= 3
        # Red is 40 x the label on disk, and drawn objects have one label each in the clip.
        red = np.round(sample.frames[0, 0] / 40).astype(int)
        found = {}
        for number in range(1, sample.num_objects + 1):
            inside = sample.first_scribble == number
            assert inside.sum() > config.object_area
            found[number] = int(np.bincount(red[inside]).argmax())
            assert (sample.scribbles[0] == number).sum() == inside.sum()
        assert len(set(found.values())) == sample.num_objects
        assert 4 not in found.values()
        firsts[found[1]] += 1
        # What was not drawn: background in the supervision, nothing in the initial scribble.
        others = (sample.scribbles[0] == 255) & (sample.first_scribble == 0)
        assert not np.isin(red[others], list(found.values())).mean() > 0.5
        both = sample.first_scribble == sample.scribbles[0]
        assert (both | others).all()
        np.testing.assert_array_equal(
            np.where(sample.last_scribble == 0, 0, sample.scribbles[-1]), sample.last_scribble
        )
    assert set(firsts) == {1, 2, 3, 5}
    assert min(firsts.values()) > 25


@pytest.mark.parametrize("stage", ["pretrain", "video"])
def test_labels_lie_where_the_image_has_them(tmp_path: Path, stage: str) -> None:
    """The pictures paint label n red by 40 n, so a clip's red must say its labels."""
    write_coco(tmp_path, objects=(1, 2, 1, 2), height=120, width=160)
    write_davis(tmp_path, {"d0": 8})
    options = ["data.youtube_weight=0", "data.max_objects=2"]
    dataset = build_dataset(small_config(tmp_path, *options), stage)
    agreeing, counted = 0, 0
    for index in range(40):
        clip = dataset[SampleKey(0, index, 2)]
        red, labels = clip.frames[0, :, 0].numpy(), clip.scribbles[0].numpy()
        shown = red > 20
        inside = clip.frames[0, :, 1].numpy() > 190  # not the black around a warped frame
        counted += inside.sum()
        agreeing += ((labels > 0) == shown)[inside].sum()
    assert agreeing / counted > 0.97  # strokes' edges are blurred in the image, not in the labels


def test_frames_of_a_clip_come_in_the_order_drawn(tmp_path: Path) -> None:
    write_davis(tmp_path, {"d0": 30})
    dataset = build_dataset(small_config(tmp_path, "data.youtube_weight=0"), "video")
    backwards = 0
    for index in range(60):
        clip = dataset[SampleKey(0, index, 2)]
        shown = [frame[2][frame[1] > 190].median() for frame in clip.frames[0].float()]
        steps = (torch.stack(shown) / 5).diff().round()
        assert (steps.abs() >= 1).all() and (steps.abs() <= 3).all()
        assert steps[0].sign() == steps[1].sign()
        backwards += bool(steps[0] < 0)
    assert 15 < backwards < 45


def test_longer_clips(tmp_path: Path) -> None:
    write_coco(tmp_path)
    write_davis(tmp_path, {"d0": 8})
    config = small_config(tmp_path, "data.clip_length=5", "data.youtube_weight=0")
    for stage in ("pretrain", "video"):
        clip = build_dataset(config, stage)[SampleKey(0, 0, 1)]
        assert clip.frames.shape == (1, 5, 3, 48, 48)
        assert clip.scribbles.shape == (1, 5, 48, 48)


def test_scribble_of_another_size_is_named(tmp_path: Path) -> None:
    write_coco(tmp_path)
    Image.fromarray(bars(2, 60, 81)).save(tmp_path / "COCO" / "scribbles" / "1.bmp")
    dataset = build_dataset(small_config(tmp_path), "pretrain")
    with pytest.raises(InputError, match=r"1\.bmp: 81x60 pixels, but .*1\.png has 80x60"):
        for index in range(4):
            dataset[SampleKey(0, index, 0)]
