"""Clips of frames as they are: how many stroke pixels are enough, and what each label becomes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from clip_trees import small_config, write_coco, write_davis
from PIL import Image

from rhmnet.config import DataConfig
from rhmnet.data import Frame, FrameStrokes, ImageSource, SampleKey, transforms
from rhmnet.data.clips import Rejected, cut_clip, place_crops
from rhmnet.data.coco import open_coco
from rhmnet.data.loader import build_loader
from rhmnet.data.transforms import ImageAugmentation, VideoAugmentation


class Unmoved(VideoAugmentation):
    """Frames as they are: a crop of the whole canvas."""

    drift = 0

    def __init__(self) -> None:
        pass

    def draw_warps(self, rng, canvas, length):
        return [np.eye(3)] * length

    def draw_rescale(self, rng):
        return 1.0


CONFIG = DataConfig(crop_size=(32, 32), short_side=32, minimum_area=20, object_area=10)

CONFIG_OF_FEW = dataclasses.replace(CONFIG, short_side=64, minimum_area=0, object_area=0)


def frame(background: int, *objects: int) -> FrameStrokes:
    """Strokes of so many pixels each, on 32 x 32."""
    labels = np.zeros((32, 32), np.uint8)
    for row, (label, pixels) in enumerate(zip((9, 1, 2, 3), (background, *objects), strict=False)):
        labels[row, :pixels] = label
    return FrameStrokes(labels, 9, 8)


def place(*frames: FrameStrokes) -> list[int]:
    rng = np.random.default_rng(0)
    placed = place_crops(rng, list(frames), (32, 32), Unmoved(), CONFIG)
    return placed.candidates.tolist()


def test_an_object_is_drawn_with_more_pixels_than_object_area() -> None:
    assert place(frame(21, 11, 10, 12)) == [1, 3]
    with pytest.raises(Rejected, match="few_object_pixels"):
        place(frame(21, 10, 10))  # together more, but no object by itself


def test_every_frame_keeps_more_than_the_areas() -> None:
    good = frame(21, 11)
    assert place(good, frame(21, 11), good) == [1]
    assert place(good, frame(21, 5, 6), good) == [1]  # objects are counted together
    for poor in (frame(20, 11), frame(21, 10), frame(21, 5, 5), frame(20, 30)):
        with pytest.raises(Rejected, match="crop"):
            place(good, good, poor)


def test_the_crop_holds_the_background_strokes_too() -> None:
    labels = np.zeros((64, 64), np.uint8)
    labels[30:34, 8:12], labels[30:34, 34:38] = 1, 2  # 30 columns from end to end, of a crop's 32
    strokes, rng = FrameStrokes(labels, 2, 1), np.random.default_rng(0)
    for _ in range(40):
        placed = place_crops(rng, [strokes], (64, 64), Unmoved(), CONFIG_OF_FEW)
        assert np.bincount(placed.labels[0].ravel())[1:].tolist() == [16, 16]


def write_frame(folder: Path, index: int, labels: np.ndarray) -> Frame:
    image, scribble = folder / f"{index}.png", folder / f"{index}.bmp"
    Image.fromarray(np.full((32, 32, 3), index, np.uint8)).save(image)
    Image.fromarray(labels).save(scribble)
    return Frame(image, scribble)


def test_labels_of_a_clip_by_hand(tmp_path: Path) -> None:
    """One object of two is drawn: the other's strokes are background to learn from, and nothing to
    start from, in the first frame as in the last, whose strokes lie elsewhere.
    """
    maps = []
    for index in range(3):
        labels = np.zeros((32, 32), np.uint8)
        labels[index, :12], labels[8 + index, :14], labels[20 + index, :25] = 1, 2, 3
        maps.append(labels)
    frames = [write_frame(tmp_path, index, labels) for index, labels in enumerate(maps)]
    config = DataConfig(
        crop_size=(32, 32), short_side=32, minimum_area=20, object_area=10, max_objects=1
    )
    seen = set()
    for seed in range(8):
        sample = cut_clip(np.random.default_rng(seed), frames, Unmoved(), config)
        assert sample.num_objects == 1
        drawn = 1 if sample.first_scribble[0, 0] == 1 else 2
        seen.add(drawn)
        for labels, found in zip(maps, sample.scribbles, strict=True):
            wanted = np.where(labels == drawn, 1, np.where(labels > 0, 255, 0))
            np.testing.assert_array_equal(found, wanted)
        for labels, found in ((maps[0], sample.first_scribble), (maps[2], sample.last_scribble)):
            wanted = np.where(labels == drawn, 1, np.where(labels == 3, 255, 0))
            np.testing.assert_array_equal(found, wanted)
        assert sample.frames[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert seen == {1, 2}


def test_images_keep_their_size_and_their_crop() -> None:
    augmentation = ImageAugmentation()
    assert augmentation.drift == 0
    assert augmentation.draw_rescale(np.random.default_rng(0)) == 1.0


@pytest.mark.parametrize("translate", [0, 4])
def test_frames_move_by_what_the_configuration_says(translate: int) -> None:
    rng = np.random.default_rng(0)
    matrices = [transforms.draw_affine(rng, (40, 60), translate) for _ in range(800)]
    moves = np.array([m[:2, 2] for m in matrices if np.array_equal(m[:2, :2], np.eye(2))])
    assert len(moves) > 60
    assert moves.min() == -translate and moves.max() == translate


def test_crops_are_tried_as_often_as_the_configuration_says() -> None:
    class Counting(Unmoved):
        tries = 0

        def draw_rescale(self, rng):
            self.tries += 1
            return 1.0

    augmentation, config = Counting(), dataclasses.replace(CONFIG, max_tries=7)
    with pytest.raises(Rejected):
        place_crops(np.random.default_rng(0), [frame(20, 30)] * 2, (32, 32), augmentation, config)
    assert augmentation.tries == 7


def test_another_image_follows_one_that_gives_no_clip(tmp_path: Path) -> None:
    write_coco(tmp_path, objects=(1,) * 9)
    source = ImageSource(open_coco(tmp_path), CONFIG, seed=0)
    draws = source.draws(np.random.default_rng(0), SampleKey(0, 3, 0))
    images = [next(draws)[0].image.name for _ in range(40)]
    assert len(set(images)) == 9  # any of them, drawn anew


def test_the_loader_hands_the_curriculum_on(tmp_path: Path) -> None:
    write_davis(tmp_path, {"d0": 4})
    settings = ["data.youtube_weight=0", "data.max_skip=6", "data.skip_every=2"]
    config = small_config(tmp_path, *settings)
    sampler = build_loader(config, "video", epoch=1).sampler
    assert (sampler.max_skip, sampler.skip_every) == (6, 2)
    assert [batch[0].skip for batch in sampler] == [3, 3, 4, 4, 5, 5]  # 6 iterations an epoch
