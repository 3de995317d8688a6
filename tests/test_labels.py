from __future__ import annotations

import numpy as np
import pytest
import torch

from rhmnet.arithmetic import one_hot, valid_objects
from rhmnet.labels import from_disk, num_channels, to_disk


def test_channels_are_the_releases_up_to_ten_objects_and_grow_beyond() -> None:
    assert [num_channels(n) for n in (1, 10, 11, 30)] == [12, 12, 13, 32]


def test_disk_and_memory_round_trip() -> None:
    disk = np.array([[0, 1, 2, 3]], dtype=np.uint8)
    memory = from_disk(disk, num_objects=2)
    assert memory.tolist() == [[0, 1, 2, 255]] and memory.dtype == np.uint8
    assert np.array_equal(to_disk(memory, 2), disk)
    assert from_disk(memory, 2).tolist() == memory.tolist()  # 255 is background already


def test_label_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match=r"label 7 is out of range.*1\.\.2"):
        from_disk(np.array([[0, 1, 7]], dtype=np.uint8), 2)


def test_one_hot_has_objects_then_background_and_nothing_for_unlabelled() -> None:
    labels = torch.tensor([[[0, 1], [2, 255]]], dtype=torch.uint8)
    assert one_hot(labels, 2).tolist() == [[[[0, 1], [0, 0]], [[0, 0], [1, 0]], [[0, 0], [0, 1]]]]


def test_valid_objects() -> None:
    assert valid_objects(torch.tensor([1, 3]), 3).tolist() == [
        [True, False, False],
        [True, True, True],
    ]
