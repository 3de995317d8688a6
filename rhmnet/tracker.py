"""Tracking through one video: start on a scribbled frame, then step."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rhmnet.config import STRIDE, Config
from rhmnet.errors import InputError
from rhmnet.inference import prepare_for_tracking, weights_version
from rhmnet.inputs import EMPTY, check_image, check_scribble, objects_in
from rhmnet.labels import BACKGROUND, one_hot
from rhmnet.memory_bank import MemoryBank, MemoryEntry
from rhmnet.model import RHMNet
from rhmnet.segmentation_head import resize
from rhmnet.structures import EncodedFrame, Expansion, TrackedFrame


class Tracker:
    """Masks of all objects in every frame, from strokes on one frame of a video.

    Runs without gradients and dropout by itself, where the model lies. Its memory is bounded by
    `test.max_memory_length`, whatever the length of the video. One tracker serves any number of
    videos, one after another: `start` forgets the one before. Raises InputError for images and
    strokes of a wrong shape or size, and for objects out of range.

        tracker = Tracker(model, config)
        first = tracker.start(image, scribble)
        later = tracker.step(image)
    """

    def __init__(self, model: RHMNet, config: Config) -> None:
        self.model = model
        self.config = config.test
        self._net: RHMNet | None = None
        self._net_version: tuple | None = None
        self._bank: MemoryBank | None = None

    @torch.no_grad()
    def start(
        self,
        image: np.ndarray | Tensor,
        scribble: np.ndarray | Tensor,
        num_objects: int | None = None,
    ) -> TrackedFrame:
        """Begin a video, at any of its frames, and predict this frame from its own scribble.

        image: uint8 [H, W, 3], RGB.
        scribble: uint8 [H, W], 0 no stroke, 1..N objects, 255 background.
        num_objects: N, where objects appear later than this frame; N + 1 then means background
        too, as on disk. By default the largest object in the scribble.
        """
        image = check_image(image)
        size = image.shape[:2]
        strokes, num_objects = check_scribble(scribble, size, num_objects)
        valid = objects_in(strokes, num_objects)
        if not valid.any():
            raise InputError(EMPTY)
        self._use_current_weights()
        self._size, self._index, self._num_objects = size, 0, num_objects
        self._valid = self._to_device(valid)[None]
        frame = self._encode(image)
        self._bank = self._net.bounded_bank(
            self._initial_memory(frame, strokes), self.config.max_memory_length
        )
        return self._finish(self._expand(frame))

    @torch.no_grad()
    def step(
        self, image: np.ndarray | Tensor, scribble: np.ndarray | Tensor | None = None
    ) -> TrackedFrame:
        """Predict the next frame.

        scribble: strokes on this frame, as in `start`. Those of objects without any stroke so far
        make them appear here; background strokes play no part in that, as in the release.
        Those of objects that are tracked already, and background strokes where no object appears,
        are corrections: certain on this frame, and read as initial scribbles from now on.
        """
        if self._bank is None:
            raise InputError("Tracker.step was called before start; call start(image, scribble)")
        image = check_image(image, self._size)
        strokes = None
        if scribble is not None:
            strokes, _ = check_scribble(scribble, self._size, self._num_objects)
        frame = self._encode(image)
        if strokes is not None:
            strokes = self._add_objects(frame, strokes)
            self._add_correction(frame, strokes)
        expansion = self._expand(frame)
        if strokes is not None:
            self._fix_strokes(expansion, strokes)
        return self._finish(expansion)

    def remove_object(self, number: int) -> None:
        """Stop tracking an object, 1..N; a later stroke makes it appear anew."""
        if self._bank is None or not 1 <= number <= self._num_objects:
            raise InputError(f"object {number} is not tracked; expected one of the video's")
        self._valid[0, number - 1] = False

    def snapshot(self) -> dict[str, Any]:
        """The state after a frame, for `restore`: to go on from there again, with other strokes."""
        return copy.deepcopy({name: getattr(self, name) for name in _STATE})

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot, as often as wanted; also one of another tracker's."""
        self._use_current_weights()
        for name, value in copy.deepcopy(state).items():
            setattr(self, name, value)

    def _add_objects(self, frame: EncodedFrame, strokes: np.ndarray) -> np.ndarray:
        """Give objects that appear their initial memory, in place of the empty one they had.

        Returns the strokes that are left, those of a correction.
        """
        tracked = self._valid[0].cpu().numpy()
        new = objects_in(strokes, self._num_objects) & ~tracked
        if not new.any():
            return strokes
        objects = np.where(strokes == BACKGROUND, np.uint8(0), strokes)
        entries = self._initial_memory(frame, objects)
        joined = self._to_device(new)
        for step, entry in zip(self._bank.steps, entries, strict=True):
            step.replace_initial(entry, joined)
        self._valid = self._valid | joined
        is_tracked = np.zeros(BACKGROUND + 1, dtype=bool)
        is_tracked[1 : self._num_objects + 1] = tracked
        return np.where(is_tracked[strokes], strokes, np.uint8(0))

    def _add_correction(self, frame: EncodedFrame, strokes: np.ndarray) -> None:
        """Let strokes join the initial scribble, for good."""
        if strokes.any():
            entries = self._initial_memory(frame, strokes)
            for step, entry in zip(self._bank.steps, entries, strict=True):
                step.add_initial(entry)

    def _fix_strokes(self, expansion: Expansion, strokes: np.ndarray) -> None:
        """Make a correction's pixels certain, also for what later frames read of this one."""
        if not strokes.any():
            return
        certain = one_hot(self._pad(self._to_device(strokes))[None], self._num_objects)
        for prob in (*expansion.entire_probs, *expansion.full_probs):
            here = functional.adaptive_max_pool2d(certain, prob.shape[-2:])
            prob.copy_(torch.where(here.any(1, keepdim=True), here, prob))

    def _expand(self, frame: EncodedFrame) -> Expansion:
        return self._net.expand(frame, self._bank, self._valid, self.config.objects_at_once)

    def _finish(self, expansion: Expansion) -> TrackedFrame:
        """Memorize what was predicted and hand it out."""
        self._memorize(expansion)
        self._index += 1
        prob, reliable = (
            self._crop(p) for p in (expansion.full_probs[-1], expansion.reliable_prob_s4)
        )
        return TrackedFrame(_labels(prob), prob, reliable)

    def _memorize(self, expansion: Expansion) -> None:
        """Store at the configured frames; on the others keep the last where that is asked for."""
        config, net = self.config, self._net
        store = self._index % config.scribble_update_frequency == 0
        if store or config.require_last_scribble:
            net.memorize_reliable(self._bank, expansion, store)
        store = self._index % config.update_frequency == 0
        if store or config.require_last:
            net.memorize_entire(
                self._bank, expansion, store, config.stored_level, config.stored_threshold
            )

    def _initial_memory(self, frame: EncodedFrame, strokes: np.ndarray) -> list[MemoryEntry]:
        padded = self._pad(self._to_device(strokes))[None]
        return self._net.initial_memory(
            frame, padded, self._num_objects, self.config.using_initial_bg
        )

    def _encode(self, image: np.ndarray) -> EncodedFrame:
        pixels = self._to_device(image).permute(2, 0, 1)[None]
        images = self._pad(self._net.feature_extractor.normalize(pixels))
        return self._net.encode_frame(images.to(self._net.dtype, memory_format=torch.channels_last))

    def _pad(self, maps: Tensor) -> Tensor:
        """Zeros around [..., H, W], to multiples of 16, half on each side, the smaller first."""
        return functional.pad(maps, self._padding())

    def _padding(self) -> tuple[int, int, int, int]:
        """Left, right, top, bottom, in pixels."""
        height, width = (-side % STRIDE for side in self._size)
        return width // 2, width - width // 2, height // 2, height - height // 2

    def _crop(self, prob: Tensor) -> Tensor:
        """Probabilities [1, L, H', W'] of a padded frame, at any stride -> [L, H, W]."""
        (left, right, top, bottom), (height, width) = self._padding(), self._size
        full = resize(prob, (top + height + bottom, left + width + right))
        return full[0, :, top : top + height, left : left + width]

    def _to_device(self, array: np.ndarray) -> Tensor:
        tensor, device = torch.from_numpy(np.ascontiguousarray(array)), self.model.device
        if device.type == "cuda":  # pinned, so that the copy does not hold up the host
            return tensor.pin_memory().to(device, non_blocking=True)
        return tensor.to(device)

    def _use_current_weights(self) -> None:
        """Prepare the network again if its weights were changed since."""
        version = weights_version(self.model)
        if self._net is None or self._net_version != version:
            self._net = prepare_for_tracking(self.model, self.config.precision, self.config.compile)
            self._net_version = version


def _labels(prob: Tensor) -> Tensor:
    """Labels uint8 [H, W], 0 background, of probabilities [O + 1, H, W], background last.

    The argmax, the first channel where several are equal; torch's own over the leading dimension
    takes as long as a stage of the backbone on the CPU.
    """
    best, labels = prob[0], torch.ones_like(prob[0], dtype=torch.uint8)
    for channel in range(1, len(prob)):
        labels.masked_fill_(prob[channel] > best, (channel + 1) % len(prob))
        best = torch.maximum(best, prob[channel])
    return labels


_STATE = ("_bank", "_valid", "_size", "_index", "_num_objects")
