"""What travels between rooms, with shapes. Letters as everywhere: B batch, T frames, O objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

REDRAW_REASONS = ("few_object_pixels", "crop", "bad_file")
"""Why a sample was drawn again: too little scribble, no acceptable crop, an unreadable file."""


class Clip(NamedTuple):
    """A batch of training clips, as the loader makes it (docs/method.md, section 7).

    Label maps hold 0 unlabelled, 1..O objects, 255 background.
    """

    frames: Tensor
    """uint8 [B, T, 3, H, W], RGB."""
    scribbles: Tensor
    """uint8 [B, T, H, W], the supervision: strokes of objects not drawn are background."""
    first_scribble: Tensor
    """uint8 [B, H, W], the initial scribble of frame 0, without strokes of objects not drawn."""
    last_scribble: Tensor
    """uint8 [B, H, W], the same of frame T - 1, from which the backward clip starts."""
    num_objects: Tensor
    """int64 [B], objects of each clip; the batch's O is the largest of them."""
    smooth: Tensor
    """bool [B], whether the smoothness loss counts for this clip."""
    redraws: Tensor
    """int64 [B, R], how often a draw was rejected on the way, one column a `REDRAW_REASONS`."""


class FrameFeatures(NamedTuple):
    """What is computed once per frame, whatever the number of objects."""

    s4: Tensor
    """[B, C1, H/4, W/4], `layer1`."""
    s8: Tensor
    """[B, C2, H/8, W/8], `layer2`."""
    s16: Tensor
    """[B, C3, H/16, W/16], `layer3`."""
    embedding: Tensor
    """F, [B, C, H/16, W/16]: `layer3` after the bottleneck."""


class SkipFeatures(NamedTuple):
    """A frame's features as one head takes them, whatever the object: computed once per frame."""

    s4: Tensor
    """[B, C / 2, H/4, W/4]."""
    s8: Tensor
    """[B, C, H/8, W/8]."""
    s16: Tensor
    """[B, C, H/16, W/16]."""


class EncodedFrame(NamedTuple):
    """What both steps need of a frame, whatever the objects."""

    features: FrameFeatures
    position: Tensor
    """P, [N, C]."""
    tokens: Tensor
    """[B, N, C], encoded by step 0."""
    reliable_skips: SkipFeatures
    entire_skips: tuple[SkipFeatures, ...]
    """One a head."""


class Expansion(NamedTuple):
    """What `expand` predicts of a frame, and what `memorize` needs of it."""

    reliable_logits_s4: Tensor
    """[B, O, H/4, W/4]."""
    reliable_prob_s4: Tensor
    """[B, O + 1, H/4, W/4]."""
    entire_probs: list[Tensor]
    """[B, O + 1, H, W] of each entire-target step (H/4, W/4 without `upsample_logits`)."""
    full_probs: list[Tensor]
    """[B, O + 1, H, W]: the same tensors, or, without `upsample_logits`, their logits resized."""
    reliable_memory: Tensor
    """[B * O, N, C], labelled, of step 0."""
    entire_features: list[Tensor]
    """m of each entire-target step, [B * O, N, C], not labelled yet."""
    copies: int = 1
    """How many objects the last one stands for."""


class Rows(NamedTuple):
    """What the rows of a tracker's memory stand for, known on the host.

    Rows that are not live have no probability, so nothing is segmented for them. One of them may
    stand for any number of objects that have not appeared yet: their memory is the same.
    """

    live: slice | Sequence[int]
    """Those, of 0..R - 1, of objects that are tracked; a slice where they are neighbours."""
    num_objects: int
    """O, which the number of label channels follows."""
    copies: int
    """How many objects the last row stands for."""


class ClipPrediction(NamedTuple):
    """What the network says of a clip. Channels of probabilities: objects 1..O, background last."""

    reliable_logits_s4: Tensor
    """[B, T, O, H/4, W/4], before the sigmoid, one map an object."""
    reliable_prob_s4: Tensor
    """[B, T, O + 1, H/4, W/4], softmax over all K channels."""
    entire_prob: Tensor
    """[B, T, R, O + 1, H, W], softmax over all K channels, of the R entire-target steps."""
    backward_prob: Tensor | None
    """`entire_prob` of the clip run from its last frame's scribble, in the forward time order."""
    valid: Tensor
    """bool [B, O], False for objects that pad the batch."""
