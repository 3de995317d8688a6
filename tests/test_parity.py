"""The authors' release's numbers: probabilities to 1e-4, labels, losses, gradient norms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from release import CASES, read_case, release_model, release_state_dict

import rhmnet
from rhmnet.checkpoint import translate_keys
from rhmnet.labels import from_disk
from rhmnet.losses import Criterion
from rhmnet.structures import Clip


@pytest.fixture(scope="session")
def release_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("release") / "pretrain_checkpoint_78.pth.tar"
    torch.save({"epoch": 78, "state_dict": release_state_dict()}, path)
    return path


def check_track(path: Path, checkpoint: Path) -> None:
    meta, case = read_case(path)
    model, config = release_model(meta, checkpoint)
    num_objects, scribble = meta["num_objects"], case["scribble"]
    if not meta["background_scribble"]:
        scribble = np.where(scribble == num_objects + 1, 0, scribble).astype(np.uint8)
    kept = list(case.get("kept", range(len(case["frames"]))))
    tracker = rhmnet.Tracker(model, config)
    equal = []
    for t, frame in enumerate(case["frames"]):
        out = tracker.step(frame) if t else tracker.start(frame, scribble, num_objects)
        labels = np.where(case["masks"][t] == 11, 0, case["masks"][t])
        equal.append((out.labels.numpy() == labels).mean())
        if t in kept:
            for ours, name in ((out.probabilities, "probs"), (out.reliable, "reliable_probs")):
                error = np.abs(ours[:, ::4, ::4].numpy() - case[name][kept.index(t)]).max()
                assert error <= 1e-4, (t, name)
    assert np.mean(equal) >= 0.9999


def check_train(path: Path, checkpoint: Path) -> None:
    meta, case = read_case(path)
    model, config = release_model(meta, checkpoint)
    frames = torch.from_numpy(case["frames"]).permute(0, 1, 4, 2, 3)
    scribbles = torch.from_numpy(
        np.stack(
            [from_disk(*clip) for clip in zip(case["scribbles"], meta["num_objects"], strict=True)]
        )
    )
    num_objects = torch.tensor(meta["num_objects"])
    clip = Clip(
        frames,
        scribbles,
        scribbles[:, 0],
        scribbles[:, -1],
        num_objects,
        torch.ones(len(frames), dtype=torch.bool),
        torch.zeros(len(frames), 1, dtype=torch.long),
    )
    prediction = model(frames, clip.first_scribble, num_objects, clip.last_scribble)
    for ours, name in (
        (prediction.entire_prob[:, :, -1], "probs"),
        (prediction.backward_prob[:, :, -1], "backward_probs"),
        (prediction.reliable_prob_s4, "reliable_probs"),
    ):
        error = (ours.detach()[..., ::4, ::4] - torch.from_numpy(case[name])).abs().max()
        assert error <= 1e-4, name
    losses = Criterion(config.loss)(clip, prediction)
    ours = {name: loss.item() for name, loss in losses.items()}
    assert ours == pytest.approx(meta["losses"], rel=1e-4)
    losses["total"].backward()
    ours = {name: weight.grad.norm().item() for name, weight in model.named_parameters()}
    wanted = translate_keys({k: torch.tensor(v) for k, v in meta["grad_norms"].items()})
    assert ours == pytest.approx({k: v.item() for k, v in wanted.items()}, rel=1e-3)


@pytest.mark.parametrize("name", ["track_two_objects", "track_odd_size_large"])
def test_tracking_gives_the_release_numbers(name: str, release_checkpoint: Path) -> None:
    check_track(CASES / f"{name}.npz", release_checkpoint)


def test_training_step_gives_the_release_numbers(release_checkpoint: Path) -> None:
    check_train(CASES / "train_step.npz", release_checkpoint)


def test_every_shared_case(shared: Path, release_checkpoint: Path) -> None:
    paths = sorted((shared / "parity").glob("*.npz"))
    assert paths
    for path in paths:
        check = check_train if read_case(path)[0]["kind"] == "train" else check_track
        check(path, release_checkpoint)
