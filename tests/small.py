"""A small network and made-up inputs, for tests of how the rooms work together."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

import rhmnet
from rhmnet.model import RHMNet

OVERRIDES = (
    "model.pretrained=none",
    "model.backbone=resnet18",
    "model.hidden_dim=64",
    "model.num_heads=4",
    "model.feedforward_dim=64",
    "data.crop_size=[64, 64]",
)


def small_config(*overrides: str) -> rhmnet.Config:
    """video_training with a small network; later overrides replace the small values."""
    given = {item.partition("=")[0] for item in overrides}
    kept = [item for item in OVERRIDES if item.partition("=")[0] not in given]
    return rhmnet.load_config("video_training", [*kept, *overrides])


def small_model(config: rhmnet.Config | None = None, seed: int = 0) -> RHMNet:
    """Random weights, evaluation mode, logits spread out so that every channel matters."""
    torch.manual_seed(seed)
    model = rhmnet.build_model(config or small_config()).eval()
    with torch.no_grad():
        model.reliable_head.conv_out.bias.zero_()
        for head in (model.reliable_head, *model.entire_heads):
            head.conv_out.weight.mul_(20)
        model.label_embedding.target.normal_()
        if model.label_embedding.background is not None:
            model.label_embedding.background.normal_()
    return model


def made_up_video(
    frames: int, height: int, width: int, num_objects: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [T, H, W, 3] of drifting noise blobs and a scribble [H, W] with background 255."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    base = np.kron(base, np.ones((8, 8, 1), dtype=np.uint8))
    video = np.stack([base[t % 8 :, t % 8 :][:height, :width] for t in range(frames)])
    scribble = np.zeros((height, width), dtype=np.uint8)
    columns = np.linspace(0, width, num_objects + 2).astype(int)
    for i, (left, right) in enumerate(pairwise(columns), start=1):
        rows = slice(height // 4, height // 2)
        scribble[rows, left + 1 : right - 1] = i if i <= num_objects else 255
    return video, scribble
