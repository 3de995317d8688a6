"""The Python face takes values of any kind: they are used, or refused in one line."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from damage import ODD, damage_bytes, damage_content, odd_tensors, watched
from PIL import Image
from small import made_up_video, small_config, small_model

import rhmnet
from rhmnet.checkpoint import read_checkpoint
from rhmnet.config import Config, to_dict
from rhmnet.errors import InputError
from rhmnet.structures import MemoryEntry

VIDEO, SCRIBBLE = made_up_video(3, 32, 48, 2)
IMAGE = torch.from_numpy(VIDEO[0])


@pytest.fixture(scope="module")
def model() -> rhmnet.RHMNet:
    return small_model()


def odd_images() -> list[Any]:
    arrays = [VIDEO[0].astype(kind) for kind in ("float32", "int64", "bool", "U1", "O", ">u2")]
    shapes = [VIDEO[0][..., 0], VIDEO, VIDEO[0][:, :0], VIDEO[0][..., :2], VIDEO[0][::-1, ::2]]
    ragged = torch.nested.nested_tensor([IMAGE[0], IMAGE[0, :1]], layout=torch.jagged)
    others = [ragged, [[1], [1, 2]], object(), IMAGE.tolist()]
    return [*ODD, *arrays, *shapes, *odd_tensors(IMAGE), *others]


@pytest.mark.slow
def test_trackers(model: rhmnet.RHMNet) -> None:
    tracker = rhmnet.Tracker(model, small_config())
    tracker.start(VIDEO[0], SCRIBBLE)
    before = tracker.step(VIDEO[1]).probabilities
    for index, odd in enumerate(odd_images()):
        told = f"{index}: {type(odd).__name__}"
        with watched(f"image {told}"):
            tracker.start(odd, SCRIBBLE)
        with watched(f"scribble {told}"):
            tracker.start(VIDEO[0], odd)
        with watched(f"number {told}"):
            tracker.start(VIDEO[0], SCRIBBLE, odd)
        tracker.start(VIDEO[0], SCRIBBLE)
        with watched(f"step {told}"):
            tracker.step(odd)
        if odd is not None:
            with watched(f"correction {told}"):
                tracker.step(VIDEO[1], odd)
        with watched(f"object {told}"):
            tracker.remove_object(odd)
        with watched(f"state {told}"):
            tracker.restore(odd)
        with watched(f"tracker {told}"), pytest.raises(InputError):
            rhmnet.Tracker(odd, odd)
    tracker.start(VIDEO[0], SCRIBBLE)
    assert torch.equal(tracker.step(VIDEO[1]).probabilities, before)


def hurt_states(state: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A snapshot with one part of it, or of a memory in it, of another kind."""
    for name in state:
        for odd in ODD:
            yield f"{name}={odd!r:.40}", {**state, name: odd}
    for number, step in enumerate(state["_bank"].steps):
        for name, value in vars(step).items():
            tensors = odd_tensors(value.key) if isinstance(value, MemoryEntry) else []
            entries = [MemoryEntry(tensor, value.value) for tensor in tensors]
            entries += [MemoryEntry(value.key, tensor) for tensor in tensors]
            for odd in [*ODD, *entries]:
                hurt = copy.deepcopy(state)
                setattr(hurt["_bank"].steps[number], name, odd)
                yield f"step {number}: {name}={odd!r:.40}", hurt


@pytest.mark.slow
def test_snapshots(model: rhmnet.RHMNet) -> None:
    tracker = rhmnet.Tracker(model, small_config())
    tracker.start(VIDEO[0], SCRIBBLE)
    state = tracker.snapshot()
    expected = tracker.step(VIDEO[1]).probabilities
    tracker.step(VIDEO[2], SCRIBBLE)
    for told, hurt in hurt_states(state):
        with watched(told):
            tracker.restore(hurt)
            tracker.step(VIDEO[1]).labels  # noqa: B018  made when asked for
    tracker.restore(state)
    assert torch.equal(tracker.step(VIDEO[1]).probabilities, expected)


def whole_checkpoint() -> dict[str, Any]:
    config = small_config()
    return {"epoch": 3, "state_dict": small_model(config).state_dict(), "config": to_dict(config)}


@pytest.mark.slow
def test_checkpoints(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is read from a file that torch.save wrote, whatever it was given."""
    path = tmp_path / "a.pth.tar"
    path.touch()
    whole = whole_checkpoint()
    for seed in range(150):
        hurt = damage_content(np.random.default_rng([3, seed]), whole)
        monkeypatch.setattr("rhmnet.checkpoint.read_torch_file", lambda _, hurt=hurt: hurt)
        with watched(f"checkpoint {seed}"):
            model, _ = rhmnet.load_model(path)
            assert all(value.isfinite().all() for value in model.state_dict().values())
        model = small_model()
        with watched(f"weights {seed}"):
            rhmnet.load_checkpoint(model, path)


@pytest.mark.slow
def test_bytes_of_checkpoints(tmp_path: Path) -> None:
    """Check sums tell: what is read is what was written."""
    path = tmp_path / "a.pth.tar"
    torch.save({"epoch": 3, "state_dict": whole_checkpoint()["state_dict"]}, path)
    data, whole = path.read_bytes(), read_checkpoint(path)["state_dict"]
    for seed in range(40):
        path.write_bytes(damage_bytes(np.random.default_rng([4, seed]), data, [b"<html>"]))
        with watched(f"bytes {seed}"):
            found = read_checkpoint(path)["state_dict"]
            assert all(torch.equal(found[key], value) for key, value in whole.items())


CALLS: dict[str, Callable[[Any], object]] = {
    "load_config": lambda odd: rhmnet.load_config(odd),
    "load_config, overrides": lambda odd: rhmnet.load_config("video_training", odd),
    "load_config, an override": lambda odd: rhmnet.load_config("video_training", [odd]),
    "load_model": lambda odd: None if odd is None else rhmnet.load_model(odd),
    "load_model, overrides": lambda odd: rhmnet.load_model("none.pth", odd),
    "load_checkpoint": lambda odd: rhmnet.load_checkpoint(small_model(), odd),
    "load_checkpoint, model": lambda odd: rhmnet.load_checkpoint(odd, "none.pth"),
    "save_checkpoint": lambda odd: rhmnet.save_checkpoint(odd, torch.nn.Linear(1, 1), Config(), 1),
    "save_checkpoint, model": lambda odd: rhmnet.save_checkpoint("a.pth", odd, Config(), 1),
    "save_checkpoint, config": lambda odd: rhmnet.save_checkpoint(
        "a.pth", torch.nn.Linear(1, 1), odd, 1
    ),
    "save_checkpoint, epoch": lambda odd: rhmnet.save_checkpoint(
        "a.pth", torch.nn.Linear(1, 1), Config(), odd
    ),
    "build_model": lambda odd: rhmnet.build_model(odd),
    "read_scribble": lambda odd: rhmnet.read_scribble(odd),
    "read_scribble, number": lambda odd: rhmnet.read_scribble("s.png", odd),
    "read_scribble, frame": lambda odd: rhmnet.read_scribble("s.png", frame=odd),
    "read_scribble, colour": lambda odd: rhmnet.read_scribble("s.png", background_color=odd),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore")
def test_calls(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(SCRIBBLE).save("s.png")
    for odd in [*ODD, object(), np.zeros(3), b"x", [("a", 1)], {"model": 5}, Path("x"), IMAGE]:
        with watched(f"{name} {odd!r:.60}"):
            CALLS[name](odd)
