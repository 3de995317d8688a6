"""Pictures of what the network makes of a training clip, for TensorBoard."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from rhmnet.model import HEAD_STRIDE, RHMNet
from rhmnet.structures import Clip
from rhmnet.visualize import contact_sheet, draw_scribble, overlay

_HEIGHT = 192
"""Pixels of one picture of the sheet."""


@torch.no_grad()
def draw_clip(model: RHMNet, clip: Clip) -> np.ndarray:
    """Contact sheet uint8 [H, W, 3] of the first clip of a batch, a row a frame.

    Columns: the frame, its supervision, the reliable region, the entire target; then, beside the
    first frame, the similarity map of its initial scribble. Without dropout.
    """
    clip = Clip(*(x[:1] for x in clip))
    training = model.training
    model.eval()
    try:
        prediction = model(clip.frames, clip.first_scribble, clip.num_objects)
        first = model.encode_frame(model.feature_extractor.normalize(clip.frames[:, 0]))
        similarity = model.scribble_labels(first, clip.first_scribble, int(clip.num_objects))
    finally:
        model.train(training)
    pictures, captions = [], []
    frames = clip.frames[0].permute(0, 2, 3, 1).cpu().numpy()
    for t, frame in enumerate(frames):
        scribble = clip.scribbles[0, t].cpu().numpy()
        reliable = _labels(prediction.reliable_prob_s4[0, t])
        reliable = reliable.repeat(HEAD_STRIDE, 0).repeat(HEAD_STRIDE, 1)
        row = {
            "frame": frame,
            "scribble": draw_scribble(frame, scribble),
            "reliable region": overlay(frame, reliable),
            "entire target": overlay(frame, _labels(prediction.entire_prob[0, t, -1])),
        }
        blank = np.full_like(frame, 255)
        row["similarity"] = _heat(similarity[0, :-1], blank.shape) if t == 0 else blank
        pictures += row.values()
        captions += row if t == 0 else [""] * len(row)
    return contact_sheet(pictures, captions, columns=len(row), height=_HEIGHT)


def _heat(maps: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    """uint8 [H, W, 3]: the largest of maps [O, h, w], blue at 0 or below, red at 1."""
    largest = maps.amax(dim=0).clamp(0, 1).mul(255).to(torch.uint8).cpu().numpy()
    heat = cv2.applyColorMap(largest, cv2.COLORMAP_TURBO)
    return cv2.resize(heat[..., ::-1], shape[1::-1], interpolation=cv2.INTER_NEAREST)


def _labels(prob: Tensor) -> np.ndarray:
    """uint8 [H, W], 0 background, from [O + 1, H, W] with background last."""
    return ((prob.argmax(dim=0) + 1) % len(prob)).to(torch.uint8).cpu().numpy()
