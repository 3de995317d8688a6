"""The release's numbers: weights made by its rule, and the cases that it was run on.

The rule and the cases' form are those of the parity files: each tensor is drawn from a generator
seeded by its own key, so that no weights need to be kept.
"""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import rhmnet
from rhmnet.labels import from_disk
from rhmnet.losses import Criterion
from rhmnet.model import RHMNet
from rhmnet.state_dict import translate_keys
from rhmnet.structures import Clip

CASES = Path(__file__).parent / "parity"
HEAD_COPIES = ("transformer.segmentors.", "transformer.scribble_predictor.")


def release_state_dict() -> dict[str, Tensor]:
    """Every key of the authors' state dict with weights by the rule."""
    state = {}
    for line in (CASES / "release_state_dict.tsv").read_text().splitlines():
        key, dims = line.split("\t")
        short = key.removeprefix("transformer.") if key.startswith(HEAD_COPIES) else key
        state[key] = torch.from_numpy(_weight(short, tuple(map(int, dims.split("x")))))
    return state


def _weight(key: str, shape: tuple[int, ...]) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    n = generator.standard_normal(shape).astype(np.float32)
    if key.startswith("hr_embed_obj"):
        n = 1 + 0.1 * n
    elif key.startswith("hr_embed_bg"):
        n = -1 + 0.1 * n
    elif key.endswith("running_mean"):
        n = 0.1 * n
    elif key.endswith("running_var"):
        n = 1 + 0.1 * np.abs(n)
    elif key.endswith("bias"):
        n = 0.05 * n
    elif len(shape) == 1:
        n = (0.2 if key.endswith("bn3.weight") else 1) + 0.02 * n
    else:
        n = n * math.sqrt(2 / math.prod(shape[1:]))
    return n.astype(np.float32)


def release_model(meta: dict, checkpoint: Path) -> tuple[RHMNet, rhmnet.Config]:
    """The case's network with the rule's weights, loaded from a file in the authors' form."""
    overrides = [f"{key}={json.dumps(value)}" for key, value in meta["over"].items()]
    config = rhmnet.load_config(meta["config"], ["model.pretrained=none", *overrides])
    model = rhmnet.build_model(config).eval()
    rhmnet.load_checkpoint(model, checkpoint)
    return model, config


def read_case(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """A case's description and its arrays."""
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    return json.loads(str(arrays.pop("meta"))), arrays


def check_track(path: Path, checkpoint: Path, device: str = "cpu") -> None:
    """Track a case and hold every kept frame against the release."""
    meta, case = read_case(path)
    model, config = release_model(meta, checkpoint)
    model.to(device)
    num_objects, scribble = meta["num_objects"], case["scribble"]
    if not meta["background_scribble"]:
        scribble = np.where(scribble == num_objects + 1, 0, scribble).astype(np.uint8)
    kept = list(case.get("kept", range(len(case["frames"]))))
    tracker = rhmnet.Tracker(model, config)
    equal = []
    for t, frame in enumerate(case["frames"]):
        out = tracker.step(frame) if t else tracker.start(frame, scribble, num_objects)
        labels = np.where(case["masks"][t] == 11, 0, case["masks"][t])
        equal.append((out.labels.cpu().numpy() == labels).mean())
        if t in kept:
            for ours, name in ((out.probabilities, "probs"), (out.reliable, "reliable_probs")):
                error = np.abs(ours[:, ::4, ::4].cpu().numpy() - case[name][kept.index(t)]).max()
                assert error <= 1e-4, (t, name)
    assert np.mean(equal) >= 0.9999


def check_train(path: Path, checkpoint: Path, device: str = "cpu") -> None:
    """One training step: predictions, losses and gradient norms against the release."""
    meta, case = read_case(path)
    model, config = release_model(meta, checkpoint)
    model.to(device)
    frames = torch.from_numpy(case["frames"]).permute(0, 1, 4, 2, 3).to(device)
    scribbles = torch.from_numpy(
        np.stack(
            [from_disk(*clip) for clip in zip(case["scribbles"], meta["num_objects"], strict=True)]
        )
    )
    scribbles = scribbles.to(device)
    num_objects = torch.tensor(meta["num_objects"])
    clip = Clip(
        frames,
        scribbles,
        scribbles[:, 0],
        scribbles[:, -1],
        num_objects,
        torch.ones(len(frames), dtype=torch.bool, device=device),
        torch.zeros(len(frames), 1, dtype=torch.long),
    )
    prediction = model(frames, clip.first_scribble, num_objects, clip.last_scribble)
    for ours, name in (
        (prediction.entire_prob[:, :, -1], "probs"),
        (prediction.backward_prob[:, :, -1], "backward_probs"),
        (prediction.reliable_prob_s4, "reliable_probs"),
    ):
        error = (ours.detach()[..., ::4, ::4].cpu() - torch.from_numpy(case[name])).abs().max()
        assert error <= 1e-4, name
    losses = Criterion(config.loss)(clip, prediction)
    ours = {name: loss.item() for name, loss in losses.items()}
    assert ours == pytest.approx(meta["losses"], rel=1e-4)
    losses["total"].backward()
    ours = {name: weight.grad.norm().item() for name, weight in model.named_parameters()}
    wanted = translate_keys({k: torch.tensor(v) for k, v in meta["grad_norms"].items()})
    assert ours == pytest.approx({k: v.item() for k, v in wanted.items()}, rel=1e-3)
