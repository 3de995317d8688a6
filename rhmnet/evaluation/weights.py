"""The network that is evaluated, and what tells its masks from another's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rhmnet.checkpoint import load_checkpoint
from rhmnet.config import Config, to_dict
from rhmnet.evaluation.manifest import fingerprint
from rhmnet.model import RHMNet, build_model


def load_model(config: Config, checkpoint: Path | None) -> tuple[RHMNet, int | str]:
    """The network with a checkpoint's weights, and their epoch; untrained without one."""
    torch.manual_seed(config.train.seed)  # the untrained network is the same one every time
    if checkpoint is None:
        return build_model(config), "random"
    model = RHMNet(config)  # all its weights are in the file
    return model, load_checkpoint(model, checkpoint)


def made_by(config: Config, checkpoint: Path | None) -> dict[str, Any]:
    """All that a mask depends on, besides its video and strokes; see `Manifest`."""
    groups = to_dict(config)
    weights = fingerprint([checkpoint]) if checkpoint else f"random, seed {config.train.seed}"
    if checkpoint:
        del groups["model"]["pretrained"]  # overwritten by the checkpoint's weights
    crop_size = groups["data"]["crop_size"]  # the position embedding's size depends on it
    return {
        "weights": weights,
        "model": groups["model"],
        "crop_size": crop_size,
        "test": groups["test"],
    }
