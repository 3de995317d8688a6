"""Batches: the same whoever makes them, and every failure is one line in the main process."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from clip_trees import small_config, write_coco, write_davis, write_youtube
from PIL import Image

from rhmnet.data import SampleKey
from rhmnet.data.loader import build_dataset, build_loader, iterations_per_epoch
from rhmnet.errors import InputError
from rhmnet.structures import REDRAW_REASONS, Clip


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trees")
    write_coco(folder, objects=(1, 2, 3, 4, 2, 1, 3))
    write_davis(folder, {"d0": 6, "d1": 8})
    write_youtube(folder, {"y0": 6, "y1": 7, "y2": 12})
    return folder


def same(left: Clip, right: Clip) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def split(batches: list[Clip]) -> list[Clip]:
    """Clips of one each."""
    return [Clip(*(part[i : i + 1] for part in b)) for b in batches for i in range(len(b.frames))]


@pytest.mark.parametrize("stage", ["pretrain", "video"])
def test_shapes_types_and_meaning(root: Path, stage: str) -> None:
    config = small_config(root)
    batches = list(build_loader(config, stage))
    assert len(batches) == iterations_per_epoch(config, stage) == {"pretrain": 4, "video": 6}[stage]
    for clip in batches:
        assert clip.frames.shape == (2, 3, 3, 48, 48)
        assert clip.scribbles.shape == (2, 3, 48, 48)
        assert clip.first_scribble.shape == clip.last_scribble.shape == (2, 48, 48)
        assert {clip.frames.dtype, clip.scribbles.dtype, clip.first_scribble.dtype} == {torch.uint8}
        assert clip.num_objects.dtype == torch.int64
        assert clip.smooth.tolist() == [True, True]
        assert clip.redraws.shape == (2, len(REDRAW_REASONS))
        for index, count in enumerate(clip.num_objects.tolist()):
            allowed = {0, 255, *range(1, count + 1)}
            assert 1 <= count <= 3
            assert set(clip.first_scribble[index].unique().tolist()) == allowed
            assert set(clip.scribbles[index].unique().tolist()) <= allowed


@pytest.mark.parametrize("stage", ["pretrain", "video"])
def test_workers_and_repetition_change_nothing(root: Path, stage: str) -> None:
    plain = list(build_loader(small_config(root), stage, epoch=2))
    state = torch.get_rng_state()
    ahead = list(build_loader(small_config(root, "data.num_workers=2"), stage, epoch=2))
    assert torch.equal(torch.get_rng_state(), state)  # the model's dropout is left alone
    assert len(plain) == len(ahead)
    assert all(map(same, plain, ahead))


def test_ranks_and_accumulation_divide_the_same_samples(root: Path) -> None:
    whole = split(list(build_loader(small_config(root, "train.batch_size=4"), "video")))
    config = small_config(root, "train.batch_size=2")
    ranks = [split(list(build_loader(config, "video", rank=r, world_size=2))) for r in (0, 1)]
    shared = [clip for pair in zip(*ranks, strict=True) for clip in pair]
    accumulated = split(list(build_loader(config, "video", accumulation=2)))
    assert len(whole) == len(shared) == len(accumulated) == 12
    assert all(map(same, whole, shared))
    assert all(map(same, whole, accumulated))
    assert not any(map(same, *ranks))


def test_restart_and_seed_and_epoch(root: Path) -> None:
    config = small_config(root, "data.skip_every=4", "data.max_skip=3")
    whole = list(build_loader(config, "video", epoch=1))
    rest = build_loader(config, "video", epoch=1, start_iteration=4)
    assert len(rest) == 2
    assert all(map(same, whole[4:], rest))
    other_epoch = next(iter(build_loader(config, "video", epoch=0)))
    other_seed = next(iter(build_loader(small_config(root, "train.seed=7"), "video", epoch=1)))
    assert not same(whole[0], other_epoch)
    assert not same(whole[0], other_seed)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("name", ["images/2.png", "scribbles/2.bmp"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_bad_file_is_one_line_that_names_it(
    root: Path, tmp_path: Path, name: str, damage: str, workers: int
) -> None:
    shutil.copytree(root / "COCO", tmp_path / "COCO")
    path = tmp_path / "COCO" / name
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:70])
    else:
        path.unlink()
    with pytest.raises(InputError) as caught:
        list(build_loader(small_config(tmp_path, f"data.num_workers={workers}"), "pretrain"))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    skipping = small_config(tmp_path, "data.on_bad_file=skip")
    redraws = torch.cat([clip.redraws for clip in build_loader(skipping, "pretrain")]).sum(0)
    assert redraws[REDRAW_REASONS.index("bad_file")] >= 1


@pytest.mark.parametrize(
    ("stage", "override", "reason"),
    [
        ("pretrain", "data.object_area=3000", "few_object_pixels"),
        ("video", "data.minimum_area=3000", "crop"),
    ],
)
def test_data_without_a_usable_clip_is_an_error_not_a_loop(
    root: Path, stage: str, override: str, reason: str
) -> None:
    config = small_config(root, override, "data.max_redraws=15", "data.frame_draws=2")
    with pytest.raises(InputError, match=f"no usable clip in 15 draws \\(15 {reason}\\)"):
        next(iter(build_loader(config, stage)))


def test_rejected_draws_are_counted(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "COCO", tmp_path / "COCO")
    for name in ("0", "1", "2"):
        Image.new("L", (80, 60)).save(tmp_path / "COCO" / "scribbles" / f"{name}.bmp")
    redraws = torch.cat([clip.redraws for clip in build_loader(small_config(tmp_path), "pretrain")])
    assert redraws.sum(0)[REDRAW_REASONS.index("few_object_pixels")] >= 3
    assert redraws.sum(0)[REDRAW_REASONS.index("bad_file")] == 0


def children() -> set[str]:
    """Process ids of this process's children."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def start(root: Path, samples: int) -> tuple[Iterator[Clip], str]:
    """A loader of video clips that has given its first batch, and its worker's process id."""
    config = small_config(root, "data.num_workers=1", f"data.samples_per_epoch={samples}")
    before = children()
    iterator = iter(build_loader(config, "video"))
    next(iterator)
    (worker,) = children() - before
    return iterator, worker


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="needs sigwaitinfo")
def test_signals_to_the_group_do_not_reach_the_workers(root: Path) -> None:
    iterator, worker = start(root, samples=16)
    for name in ("INT", "TERM"):  # sent by another process than the parent, as `timeout` would
        assert os.spawnlp(os.P_WAIT, "kill", "kill", f"-{name}", worker) == 0
    assert len(list(iterator)) == 7


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
def test_a_killed_worker_is_one_line_and_interrupts_no_step(root: Path) -> None:
    iterator, worker = start(root, samples=40)
    os.kill(int(worker), signal.SIGKILL)
    os.waitid(os.P_PID, int(worker), os.WEXITED | os.WNOWAIT)
    sum(range(1000))  # signals are handled between bytecodes: the step must not see this one
    with pytest.raises(InputError, match=f"worker .*{worker}.* data.num_workers") as caught:
        list(iterator)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("black", "other"), [("Youtube-VOS", "DAVIS"), ("DAVIS", "Youtube-VOS")])
def test_a_set_without_a_usable_clip_does_not_hide_in_the_mixture(
    root: Path, tmp_path: Path, black: str, other: str
) -> None:
    shutil.copytree(root / other, tmp_path / other)
    shutil.copytree(root / black, tmp_path / black)
    for path in (tmp_path / black).rglob("*.bmp"):
        Image.new("L", (80, 60)).save(path)
    config = small_config(tmp_path, "data.max_redraws=20", "data.frame_draws=5")
    with pytest.raises(InputError, match=f"{black}.*no usable clip in 20 draws"):
        build_dataset(config, "video")


def test_one_usable_video_among_many_is_always_found(tmp_path: Path) -> None:
    write_davis(tmp_path, {f"d{n}": 3 for n in range(30)})
    for path in (tmp_path / "DAVIS" / "train_scribbles").rglob("*.bmp"):
        if path.parent.name != "d17":
            Image.new("L", (80, 60)).save(path)
    overrides = ["data.youtube_weight=0", "data.frame_draws=2", "data.max_redraws=5"]
    dataset = build_dataset(small_config(tmp_path, *overrides), "video")
    redraws = [int(dataset[SampleKey(0, index, 0)].redraws.sum()) for index in range(40)]
    assert 5 < max(redraws) <= 2 * 29  # no video twice before all were tried
    for path in (tmp_path / "DAVIS" / "train_scribbles" / "d17").glob("*.bmp"):
        Image.new("L", (80, 60)).save(path)
    with pytest.raises(InputError, match="no usable clip in 60 draws"):
        dataset[SampleKey(0, 0, 0)]


def test_loader_does_not_keep_one_sample_per_key(root: Path) -> None:
    dataset = build_dataset(small_config(root), "pretrain")
    assert not same(dataset[SampleKey(0, 0, 0)], dataset[SampleKey(1, 0, 0)])
    assert same(dataset[SampleKey(0, 7, 0)], dataset[SampleKey(0, 7, 0)])
