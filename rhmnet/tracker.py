"""Tracking through one video: start on a scribbled frame, then step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rhmnet.config import STRIDE, Config
from rhmnet.errors import InputError
from rhmnet.labels import BACKGROUND, MAX_OBJECTS, from_disk
from rhmnet.memory_bank import MemoryBank
from rhmnet.model import EncodedFrame, Expansion, RHMNet
from rhmnet.segmentation_head import resize
from rhmnet.structures import TrackedFrame


class Tracker:
    """Masks of all objects in every frame, from strokes on one frame of a video.

    Runs without gradients and dropout by itself, where the model lies. Its memory is bounded by
    `test.max_memory_length`, whatever the length of the video. One tracker serves any number of
    videos, one after another: `start` forgets the one before.

        tracker = Tracker(model, config)
        first = tracker.start(image, scribble)
        later = tracker.step(image)
    """

    def __init__(self, model: RHMNet, config: Config) -> None:
        self.model = model
        self.config = config.test
        self._bank: MemoryBank | None = None

    @torch.no_grad()
    def start(
        self,
        image: np.ndarray | Tensor,
        scribble: np.ndarray | Tensor,
        num_objects: int | None = None,
    ) -> TrackedFrame:
        """Begin a video and predict its first frame from its own scribble.

        image: uint8 [H, W, 3], RGB.
        scribble: uint8 [H, W], 0 no stroke, 1..N objects, 255 background.
        num_objects: N, where objects appear later than the first frame; N + 1 then means background
        too, as on disk. By default the largest object in the scribble.
        Raises InputError for wrong shapes, an empty scribble or an object out of range.
        """
        image, scribble = self._check(image, scribble)
        largest = int(scribble[scribble != BACKGROUND].max(initial=0))
        if num_objects is None:
            num_objects = largest
        strokes = _strokes(scribble, num_objects)
        self._size = image.shape[:2]
        self._index = 0
        self._num_objects = num_objects
        self._valid = self._objects_in(strokes)
        with _evaluating(self.model):
            frame = self._encode(image)
            self._bank = self.model.bounded_bank(
                self._initial_memory(frame, strokes), self.config.max_memory_length
            )
            return self._track(frame)

    @torch.no_grad()
    def step(
        self, image: np.ndarray | Tensor, scribble: np.ndarray | Tensor | None = None
    ) -> TrackedFrame:
        """Predict the next frame.

        scribble: strokes of objects that appear on this frame; as in `start`. Background strokes
        are not used here, as in the release. Strokes of objects that are tracked already only
        tell the new ones what they are not.
        """
        if self._bank is None:
            raise InputError("Tracker.step was called before start; call start(image, scribble)")
        image, scribble = self._check(image, scribble)
        if image.shape[:2] != self._size:
            raise InputError(
                f"frame of size {_text(image)} in a video of {_text(np.empty(self._size))}; "
                "expected frames of one size"
            )
        strokes = None if scribble is None else _strokes(scribble, self._num_objects)
        with _evaluating(self.model):
            frame = self._encode(image)
            if strokes is not None:
                self._add_objects(frame, strokes)
            return self._track(frame)

    def _add_objects(self, frame: EncodedFrame, strokes: np.ndarray) -> None:
        """Give objects that appear their initial memory, in place of the empty one they had."""
        new = self._objects_in(strokes) & ~self._valid
        if not new.any():
            return
        strokes = np.where(strokes == BACKGROUND, np.uint8(0), strokes)
        entries = self._initial_memory(frame, strokes)
        for step, entry in zip(self._bank.steps, entries, strict=True):
            step.replace_initial(entry, new[0])
        self._valid = self._valid | new

    def _track(self, frame: EncodedFrame) -> TrackedFrame:
        expansion = self.model.expand(frame, self._bank, self._valid)
        self._memorize(expansion)
        self._index += 1
        prob, reliable = (
            self._crop(p) for p in (expansion.entire_probs[-1], expansion.reliable_prob_s4)
        )
        # background is the last channel and label 0
        labels = (prob.argmax(dim=0) + 1) % (self._num_objects + 1)
        return TrackedFrame(labels.to(torch.uint8), prob, reliable)

    def _memorize(self, expansion: Expansion) -> None:
        """Store at the configured frames; on the others keep the last where that is asked for."""
        config = self.config
        store = self._index % config.scribble_update_frequency == 0
        if store or config.require_last_scribble:
            self.model.memorize_reliable(self._bank, expansion, store)
        store = self._index % config.update_frequency == 0
        if store or config.require_last:
            self.model.memorize_entire(
                self._bank, expansion, store, config.stored_level, config.stored_threshold
            )

    def _initial_memory(self, frame: EncodedFrame, strokes: np.ndarray) -> list:
        padded = functional.pad(self._to_device(strokes), self._padding())
        return self.model.initial_memory(
            frame, padded[None], self._num_objects, self.config.using_initial_bg
        )

    def _encode(self, image: np.ndarray) -> EncodedFrame:
        pixels = self._to_device(image).permute(2, 0, 1)[None]
        images = self.model.feature_extractor.normalize(pixels)
        return self.model.encode_frame(functional.pad(images, self._padding()))

    def _padding(self) -> tuple[int, int, int, int]:
        """Left, right, top, bottom to multiples of 16, the smaller half first."""
        height, width = (-side % STRIDE for side in self._size)
        return width // 2, width - width // 2, height // 2, height - height // 2

    def _crop(self, prob: Tensor) -> Tensor:
        """Probabilities [1, L, H', W'] of a padded frame, at any stride -> [L, H, W]."""
        (left, right, top, bottom), (height, width) = self._padding(), self._size
        full = resize(prob, (top + height + bottom, left + width + right))
        return full[0, :, top : top + height, left : left + width]

    def _objects_in(self, strokes: np.ndarray) -> Tensor:
        """bool [1, O] on the device: the objects that have a stroke."""
        present = np.zeros((1, self._num_objects), dtype=bool)
        values = np.unique(strokes)
        present[0, values[(values > 0) & (values != BACKGROUND)] - 1] = True
        return self._to_device(present)

    def _to_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.model.device)

    @staticmethod
    def _check(
        image: np.ndarray | Tensor, scribble: np.ndarray | Tensor | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        image = _to_numpy(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(
                f"image of {image.dtype} {list(image.shape)}; expected uint8 [H, W, 3], RGB"
            )
        if scribble is None:
            return image, None
        scribble = _to_numpy(scribble)
        if scribble.dtype != np.uint8 or scribble.ndim != 2:
            raise InputError(
                f"scribble of {scribble.dtype} {list(scribble.shape)}; expected uint8 [H, W]"
            )
        if scribble.shape != image.shape[:2]:
            raise InputError(
                f"scribble of size {_text(scribble)} on a frame of {_text(image)}; "
                "expected the frame's size"
            )
        return image, scribble


def _strokes(scribble: np.ndarray, num_objects: int) -> np.ndarray:
    """Strokes as in memory (background 255), checked to hold an object and none out of range."""
    if not 1 <= num_objects <= MAX_OBJECTS:
        if num_objects == 0:
            raise InputError("scribble is empty: expected a stroke (value 1, 2, ...) on an object")
        raise InputError(f"num_objects={num_objects}: expected 1..{MAX_OBJECTS}")
    try:
        strokes = from_disk(scribble, num_objects)
    except ValueError as error:
        raise InputError(f"scribble: {error}; num_objects in start sets the range") from None
    if not ((strokes > 0) & (strokes != BACKGROUND)).any():
        raise InputError("scribble is empty: expected a stroke (value 1, 2, ...) on an object")
    return strokes


@contextlib.contextmanager
def _evaluating(model: RHMNet) -> Iterator[None]:
    """Dropout off meanwhile; a model that is being trained goes on in training mode."""
    training = model.training
    if training:
        model.eval()
    try:
        yield
    finally:
        if training:
            model.train()


def _to_numpy(array: np.ndarray | Tensor) -> np.ndarray:
    return array.cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)


def _text(array: np.ndarray) -> str:
    return f"{array.shape[0]} x {array.shape[1]}"
