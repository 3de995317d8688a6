"""What travels between rooms, with shapes. Letters as everywhere: B batch, T frames, O objects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

from torch import Tensor
from torch.nn import functional

from rhmnet.arithmetic import enlarge, labels_at, relabelled
from rhmnet.config import STRIDE
from rhmnet.labels import BACKGROUND, MAX_OBJECTS

Size = tuple[int, int]
"""H, W in pixels."""

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


class MemoryEntry(NamedTuple):
    """Memory of one frame or several, projected for the step that reads it."""

    key: Tensor
    """[B * O, heads, N, C / heads]."""
    value: Tensor
    """[B * O, heads, N, C / heads]."""


class Objects(NamedTuple):
    """What the O rows of a memory stand for."""

    valid: Tensor
    """bool [B, O]; the probability of others, which pad the batch or are not there, is zero."""
    absent: int = 0
    """Further objects that have not appeared: the last row stands for them too."""
    live: slice | Sequence[int] = slice(None)
    """The rows that are valid, known without asking the device; for B = 1."""


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
    absent: int = 0
    """Further objects that the last one stands for."""
    entire_logits_s4: Tensor | None = None
    """[B * O, 2, H/4, W/4] of the last entire-target step."""


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


class Geometry(NamedTuple):
    """How frames of a video come to the network and back."""

    size: Size
    """H, W of the frames, pixels."""
    network: Size
    """H, W at which the network sees them."""
    padding: tuple[int, int, int, int]
    """Left, right, top, bottom, in the network's pixels."""

    @classmethod
    def of(cls, size: Size, network: Size) -> Geometry:
        """Of frames H, W that the network sees at another size."""
        return cls(size, network, _padding(network))

    def pad(self, maps: Tensor) -> Tensor:
        """Zeros around [..., h, w], to multiples of 16."""
        return functional.pad(maps, self.padding)

    def crop(self, prob: Tensor) -> Tensor:
        """[1, L, H', W'] of a padded frame, at any stride -> [L, h, w]; corners aligned."""
        (left, right, top, bottom), (height, width) = self.padding, self.network
        size = (top + height + bottom, left + width + right)
        full = prob
        if prob.shape[-2:] != size:
            full = functional.interpolate(prob, size, mode="bilinear", align_corners=True)
        return full[0, :, top : top + height, left : left + width]

    def is_consistent(self) -> bool:
        """Whether it is one that `of` makes."""
        sides = (*self.size, *self.network)
        whole = len(sides) == 4 and all(type(side) is int and side >= 1 for side in sides)
        return whole and self.padding == _padding(self.network)

    @property
    def tokens(self) -> int:
        """N of a frame."""
        return math.prod(-(-side // STRIDE) for side in self.network)


class VideoObjects(NamedTuple):
    """The objects of a video, and which rows of its memory they have.

    Row r is that of `numbers[r]`. One row more stands for all objects that have not appeared, where
    there are such: what is known of them is the same.
    """

    count: int
    """N, the largest number."""
    numbers: list[int]
    """Those that have appeared, from the smallest."""
    removed: list[int]
    """Those of them that are tracked no longer."""

    @property
    def absent(self) -> int:
        """How many have not appeared."""
        return self.count - len(self.numbers)

    @property
    def rows(self) -> list[int]:
        """The number of each row; 0 where it stands for the absent."""
        return [*self.numbers, *([0] if self.absent else [])]

    @property
    def live(self) -> list[bool]:
        """Of each row, whether it is tracked."""
        return [number > 0 and number not in self.removed for number in self.rows]

    @property
    def tracked(self) -> set[int]:
        """Those that have appeared and were not removed."""
        return {*self.numbers} - {*self.removed}

    def join(self, new: set[int]) -> VideoObjects:
        """Where some appear, maybe once more."""
        removed = [number for number in self.removed if number not in new]
        return VideoObjects(self.count, sorted({*self.numbers, *new}), removed)

    def rows_before(self, before: VideoObjects) -> list[int]:
        """The row that each row comes from: those that appear, from the one of the absent."""
        rows = {number: row for row, number in enumerate(before.numbers)}
        return [rows.get(number, len(rows)) for number in self.rows]

    def in_rows(self, strokes: Tensor) -> Tensor:
        """Strokes with the numbers of rows, from 1, in place of the objects'."""
        if not self.absent:
            return strokes
        rows = {number: row for row, number in enumerate(self.numbers, 1)}
        return relabelled(strokes, {BACKGROUND: BACKGROUND, **rows})

    @property
    def channels(self) -> list[int] | None:
        """The channel of each of objects 1..N and background; None where they are the same."""
        if not self.absent:
            return None
        rows = {number: row for row, number in enumerate(self.numbers)}
        absent = len(rows)
        return [rows.get(n, absent) for n in range(1, self.count + 1)] + [absent + 1]

    def is_consistent(self) -> bool:
        """Whether its numbers are such, and fit each other."""
        known = {*range(1, min(self.count, MAX_OBJECTS) + 1)}
        return (
            type(self.count) is int
            and bool(self.numbers)
            and self.numbers == sorted({*self.numbers} & known)
            and isinstance(self.removed, list)
            and {*self.removed} <= {*self.numbers}
        )


class EntireLogits(NamedTuple):
    """What the entire target's probabilities are made of, a sixteenth of their bytes."""

    logits_s4: Tensor
    """[O, 2, H/4, W/4], as the head gave them."""
    valid: Tensor
    """bool [1, O]."""
    absent: int
    """Further objects that the last one stands for."""


class FrameMaps(NamedTuple):
    """One frame's probabilities at the network's size."""

    entire: Tensor
    """float32 [O + 1, h, w], objects 1..O, background last."""
    reliable: Tensor
    """float32 [O + 1, h, w], the same of the reliable region."""


class TrackedFrame:
    """What the tracker says of one frame, on the model's device, at the frame's own size.

    Each of the maps is made when it is first asked for: at full size they take time and memory.
    """

    def __init__(
        self,
        entire: Tensor,
        reliable: Tensor,
        channels: Sequence[int] | None,
        geometry: Geometry,
        logits: EntireLogits | None = None,
    ) -> None:
        """entire, reliable: [1, L, H', W'], probabilities of the padded frame, at any stride.

        channels: which of the L belongs to each of objects 1..O and background; None: L = O + 1.
        logits: what `entire` was made of; None where strokes were fixed.
        """
        self._entire, self._reliable = entire, reliable
        self._channels, self._geometry = channels, geometry
        self._logits = logits

    def parts(self) -> dict[str, Any]:
        """Tensors and plain values that make it anew: `entire`, or its logits, and the others."""
        kept = {"entire": self._entire} if self._logits is None else self._logits._asdict()
        channels = None if self._channels is None else list(self._channels)
        geometry = tuple(self._geometry)
        return {**kept, "reliable": self._reliable, "channels": channels, "geometry": geometry}

    @cached_property
    def labels(self) -> Tensor:
        """uint8 [H, W], 0 background, 1..O."""
        entire = self._geometry.crop(self._entire)
        labels = labels_at(entire, self._geometry.size)
        if self._channels is None:
            return labels
        numbers = {channel: o for o, channel in reversed([*enumerate(self._channels[:-1], 1)])}
        table = [0, *(numbers[channel] for channel in range(len(entire) - 1))]
        return labels.new_tensor(table)[labels.int()]

    @cached_property
    def probabilities(self) -> Tensor:
        """float32 [O + 1, H, W], objects 1..O, then background: softmax over all K channels."""
        return self._full(self._entire)

    @cached_property
    def reliable(self) -> Tensor:
        """float32 [O + 1, H, W], the same of the reliable region."""
        return self._full(self._reliable)

    @cached_property
    def maps(self) -> FrameMaps:
        """Probabilities at the network's size, where `test.short_side` makes it another."""
        crop = self._geometry.crop
        return FrameMaps(*(self._spread(crop(p)) for p in (self._entire, self._reliable)))

    def _spread(self, prob: Tensor) -> Tensor:
        """[L, h, w] -> [O + 1, h, w]."""
        return prob if self._channels is None else prob[list(self._channels)]

    def _full(self, prob: Tensor) -> Tensor:
        """[1, L, H', W'] -> [O + 1, H, W]."""
        cropped = self._geometry.crop(prob)
        if cropped.shape[1:] != self._geometry.size:
            cropped = enlarge(cropped, self._geometry.size)
        return self._spread(cropped)


def _padding(size: Size) -> tuple[int, int, int, int]:
    """Left, right, top, bottom, pixels: half of what is missing on each side, smaller first."""
    height, width = (-side % STRIDE for side in size)
    return width // 2, width - width // 2, height // 2, height - height // 2
