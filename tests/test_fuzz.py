"""Readers of files of all kinds take damage: they read right, or refuse in one line.

A table of files, readers and damages, with seeds that are fixed: a slice of it in the ordinary
suite, all of it with `pytest -m slow`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from damage import damage_bytes, damage_json, damage_text, watched
from fuzz_samples import make_lists, make_pictures, make_strokes, make_videos

import rhmnet
from rhmnet.data.coco import CocoScribbles
from rhmnet.data.youtube import YoutubeVos
from rhmnet.errors import InputError
from rhmnet.evaluation.manifest import check_weights, videos_in
from rhmnet.files.images import image_size, read_image, read_labels
from rhmnet.files.reading import read_json, read_list, read_torch_file
from rhmnet.files.scribble_file import read_scribble
from rhmnet.files.source import Source
from rhmnet.tools.scribbles.convert import ConvertOptions, convert_file
from rhmnet.tools.scribbles.line_files import read_svg
from rhmnet.tools.scribbles.masks import coco_jobs

pytestmark = pytest.mark.filterwarnings("ignore:.*painted on:UserWarning")
"""How a painting was read is told: tests/test_painted_strokes.py."""


def picture_of(path: Path) -> np.ndarray:
    image = read_image(path)
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size
    assert image_size(path) == image.shape[:2]
    return image


def labels_of(path: Path) -> np.ndarray:
    with suppress(InputError):
        strokes = read_scribble(path, 2)
        assert set(np.unique(strokes)) <= {0, 1, 2, 255}
    labels = read_labels(path)
    assert labels.dtype == np.uint8 and labels.ndim == 2 and labels.size
    return labels


def strokes_of(path: Path) -> np.ndarray:
    with suppress(InputError):
        labels_of(path)
    return read_scribble(path, 2)


def frames_of(path: Path) -> np.ndarray:
    """Some frames of a video, forward; backward they are the same."""
    source = Source(path)
    size = source.size
    assert min(size) > 0 and 0 < source.fps < np.inf
    forward = list(itertools.islice(source.forward(0, size), 8))
    last = min(source.count_exactly(), len(forward)) - 1
    backward = list(itertools.islice(source.backward(last, size), 8))
    assert all(image.shape == (*size, 3) for image in forward + backward)
    return np.stack(forward)


def drawn(path: Path) -> None:
    """Lines as pixels, and as the other kinds of lines."""
    for to, suffix in (("bmp", ".bmp"), ("svg", ".svg"), ("davis", ".json"), ("labelme", ".json")):
        convert_file(path, path.parent / "out" / f"drawn{suffix}", to, ConvertOptions())


def scenes_of(path: Path) -> None:
    for job in coco_jobs(path, None, 10, 1.0):
        for scene in job.scenes():
            assert scene.labels.shape == (job.image.height, job.image.width)
            assert scene.labels.max() == scene.num_objects


def entries_of(path: Path) -> None:
    for frame in CocoScribbles(path.parent):
        assert path.parent in frame.image.parents and path.parent in frame.scribble.parents


def objects_of(path: Path) -> None:
    tree = YoutubeVos(path.parent.parent, path.parent.name)
    for name in tree.names():
        with suppress(InputError):
            tree.video(name)
    train = path.parent.parent / "train"
    train.mkdir(exist_ok=True)
    (train / "meta.json").write_bytes(path.read_bytes())
    tree.seen_categories()


def made_of(path: Path) -> None:
    for name in videos_in(path.parent):
        assert path.parent in (path.parent / name).resolve().parents
    check_weights(path.parent)


def names_of(path: Path) -> None:
    for name in read_list(path):
        assert path.parent in (path.parent / name).resolve().parents


def config_of(path: Path) -> Any:
    return rhmnet.load_config(path)


class Reader(NamedTuple):
    """Files of a kind, how they are damaged, and what reads them."""

    make: Callable[[Path], list[Path]]
    damage: Callable[[np.random.Generator, bytes, list[bytes]], bytes]
    read: Callable[[Path], Any]
    only: str | None = None
    """The one file of them that is damaged."""


READERS = {
    "pictures": Reader(make_pictures, damage_bytes, picture_of),
    "strokes": Reader(make_strokes, damage_bytes, strokes_of),
    "videos": Reader(make_videos, damage_bytes, frames_of),
    "davis": Reader(make_lists, damage_json, drawn, "davis.json"),
    "labelme": Reader(make_lists, damage_json, drawn, "labelme.json"),
    "svg": Reader(make_lists, damage_text, drawn, "lines.svg"),
    "instances": Reader(make_lists, damage_json, scenes_of, "instances.json"),
    "coco list": Reader(make_lists, damage_json, entries_of, "COCO_scribbles.json"),
    "meta": Reader(make_lists, damage_json, objects_of, "meta.json"),
    "manifest": Reader(make_lists, damage_json, made_of, "manifest.json"),
    "names": Reader(make_lists, damage_text, names_of, "names.txt"),
    "yaml": Reader(make_lists, damage_text, config_of, "config.yaml"),
}
CHECKED = (".png", ".apng")
"""Formats with check sums: whatever is read from a damaged file is what was in the whole one."""


def try_reader(name: str, folder: Path, seeds: range) -> None:
    """Damage files of a kind, once a seed, and read each."""
    make, damage, read, only = READERS[name]
    (folder / "whole").mkdir()
    whole = make(folder / "whole")
    others = [path.read_bytes() for path in whole]
    whole = [path for path in whole if only in (None, path.name)]
    expected = {path.name: read(path) for path in whole}
    for seed in seeds:
        rng = np.random.default_rng([7, seed])
        path = whole[seed % len(whole)]
        case = folder / f"case{seed % 2}" / path.name
        case.parent.mkdir(exist_ok=True)
        case.write_bytes(damage(rng, path.read_bytes(), others))
        told = f"{name} {seed}: {path.name}"
        with watched(told):
            found = read(case)
            if path.suffix in CHECKED and case.read_bytes() not in others:
                np.testing.assert_array_equal(found, expected[path.name])


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_right_or_refused(name: str, tmp_path: Path) -> None:
    try_reader(name, tmp_path, range(8))


OPENING: dict[str, tuple[Callable[[Path], Any], str]] = {
    "read_json": (read_json, ""),
    "read_list": (read_list, ""),
    "read_torch_file": (read_torch_file, ""),
    "load_model": (rhmnet.load_model, ""),
    "load_config": (rhmnet.load_config, ".yaml"),
    "read_svg": (read_svg, ".svg"),
    "read_image": (read_image, ".png"),
    "image_size": (image_size, ".png"),
    "read_labels": (read_labels, ".png"),
    "read_scribble": (read_scribble, ".png"),
    "Source": (Source, ".mp4"),
}


@pytest.mark.parametrize("name", OPENING)
def test_pipes_and_devices_are_refused_unread(name: str, tmp_path: Path) -> None:
    """A pipe would be waited for without end, a device fill the memory."""
    read, suffix = OPENING[name]
    pipe, device = tmp_path / f"pipe{suffix}", tmp_path / f"device{suffix}"
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    for path in (pipe, device):
        with watched(path.name, seconds=5), pytest.raises(InputError, match=path.stem):
            read(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_many_damaged_files(name: str, tmp_path: Path) -> None:
    try_reader(name, tmp_path, range(8, 100))
