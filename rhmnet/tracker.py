"""Tracking through one video: start on a scribbled frame, then step."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rhmnet.bounds import check_number
from rhmnet.config import STRIDE, Config
from rhmnet.errors import InputError
from rhmnet.inference import prepare_for_tracking, weights_version
from rhmnet.inputs import (
    EMPTY,
    check_image,
    check_scribble,
    network_size,
    shrink,
    shrink_strokes,
    thicken,
    values_in,
)
from rhmnet.labels import BACKGROUND, MAX_OBJECTS, one_hot
from rhmnet.memory_bank import MemoryBank, MemoryEntry
from rhmnet.model import RHMNet
from rhmnet.structures import EncodedFrame, Expansion, Rows
from rhmnet.tracked_frame import Geometry, TrackedFrame

Pixels = np.ndarray | Tensor


class Tracker:
    """Masks of all objects in every frame, from strokes on one frame of a video.

    Runs without gradients and dropout by itself, where the model lies; images and strokes that are
    tensors there are used there. Its memory is bounded by `test.max_memory_length`, whatever the
    length of the video. Frames larger than `test.short_side` are shrunk for the network, and
    strokes too thin for its cells are broadened, unless `test.short_side` is 0.
    One tracker serves any number of videos, one after another: `start` forgets the one before.
    Raises InputError for images and strokes of a wrong shape or size, and for objects out of range.

        tracker = Tracker(model, config)
        first = tracker.start(image, scribble)
        later = tracker.step(image)
    """

    def __init__(self, model: RHMNet, config: Config) -> None:
        if not (isinstance(model, RHMNet) and isinstance(config, Config)):
            raise InputError(
                f"Tracker({type(model).__name__}, {type(config).__name__}): expected a network and "
                "its configuration, as rhmnet.load_model gives them"
            )
        self.model = model
        self.config = config.test
        self._net: RHMNet | None = None
        self._net_version: tuple | None = None
        self._bank: MemoryBank | None = None

    @torch.no_grad()
    def start(
        self, image: Pixels, scribble: Pixels, num_objects: int | None = None
    ) -> TrackedFrame:
        """Begin a video, at any of its frames, and predict this frame from its own scribble.

        image: uint8 [H, W, 3], RGB.
        scribble: uint8 [H, W], 0 no stroke, 1..N objects, 255 background.
        num_objects: N, where objects appear later than this frame; N + 1 then means background
        too, as on disk. By default the largest object in the scribble. What is not there yet takes
        no time.
        """
        image = check_image(image)
        size = tuple(image.shape[:2])
        strokes, num_objects = check_scribble(scribble, size, num_objects)
        numbers = values_in(strokes) - {0, BACKGROUND}
        if not numbers:
            raise InputError(EMPTY)
        self._use_current_weights()
        network = network_size(size, self.config.short_side)
        self._geometry = Geometry(size, network, _padding(network))
        self._index, self._num_objects = 0, num_objects
        self._numbers, self._removed = sorted(numbers), []
        self._set_rows()
        frame = self._encode(image)
        entries = self._initial_memory(frame, self._shrunk(strokes))
        self._bank = self._net.bounded_bank(entries, self.config.max_memory_length)
        return self._finish(self._expand(frame))

    @torch.no_grad()
    def step(self, image: Pixels, scribble: Pixels | None = None) -> TrackedFrame:
        """Predict the next frame.

        scribble: strokes on this frame, as in `start`. Those of objects without any stroke so far
        make them appear here; background strokes play no part in that, as in the release.
        Those of objects that are tracked already, and background strokes where no object appears,
        are corrections: certain on this frame, and read as initial scribbles from now on.
        """
        self._check_started("step")
        size = self._geometry.size
        image = check_image(image, size)
        strokes = None
        if scribble is not None:
            strokes, _ = check_scribble(scribble, size, self._num_objects)
            strokes = self._shrunk(strokes)
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
        self._check_started("remove_object")
        number = check_number(number, "object")
        if not 1 <= number <= self._num_objects:
            raise InputError(
                f"object {number} is not tracked; expected one of the video's, "
                f"1..{self._num_objects}"
            )
        if number in self._numbers and number not in self._removed:
            self._removed = [*self._removed, number]
            self._set_rows()

    def snapshot(self) -> dict[str, Any]:
        """The state after a frame, for `restore`: to go on from there again, with other strokes."""
        self._check_started("snapshot")
        state = copy.deepcopy({name: getattr(self, name) for name in _STATE})
        return state | {"_geometry": tuple(self._geometry)}

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot, as often as wanted; also one of another tracker's.

        Raises InputError for what is none, or of another network.
        """
        self._use_current_weights()
        try:
            whole = isinstance(state, dict) and set(state) == set(_STATE)
            if whole:
                state = copy.deepcopy(state)
                state["_geometry"] = Geometry(*map(tuple, state["_geometry"]))
                whole = self._check_fits(state)
        except InputError:
            raise
        except Exception:  # of parts of any kind; what it raises is not for the user
            whole = False
        if not whole:
            raise InputError(
                f"restore: {type(state).__name__} is no state, or a damaged one; expected what "
                "snapshot returned"
            )
        for name, value in state.items():
            setattr(self, name, value)
        self._set_rows()

    def _check_started(self, call: str) -> None:
        if self._bank is None:
            raise InputError(
                f"Tracker.{call} was called before start; call start(image, scribble) first"
            )

    def _check_fits(self, state: dict[str, Any]) -> bool:
        """Whether a state's parts fit each other; InputError where they are of another network."""
        bank, geometry, index, count, numbers, removed = (state[name] for name in _STATE)
        net = self._net
        wanted = [(net.config.num_heads, net.config.hidden_dim, net.dtype, net.device)]
        wanted *= len(net.readers)
        found = []
        for step in getattr(bank, "steps", ()):
            key = step.read().own.key
            found.append((key.shape[1], key.shape[1] * key.shape[3], key.dtype, key.device))
        if found != wanted:
            raise InputError(
                "restore: a state of another network (heads, features, precision and device of "
                f"each step are {found}, here {wanted}); expected one of the same weights"
            )
        sides = (*geometry.size, *geometry.network)
        cells = math.prod(-(-side // STRIDE) for side in geometry.network)
        rows = len(numbers) + (len(numbers) < count)
        return (
            (len(sides), geometry.padding) == (4, _padding(geometry.network))
            and all(type(n) is int and n >= 1 for n in (index, count, *sides))
            and numbers == sorted({*numbers} & {*range(1, min(count, MAX_OBJECTS) + 1)})
            and bool(numbers)
            and isinstance(removed, list)
            and {*removed} <= {*numbers}
            and all(step.fits(rows, cells) for step in bank.steps)
        )

    def _add_objects(self, frame: EncodedFrame, strokes: Tensor) -> Tensor:
        """Give objects that appear their initial memory, in place of the empty one they had.

        Returns the strokes that are left, those of a correction.
        """
        tracked = set(self._numbers) - set(self._removed)
        new = values_in(strokes) - {0, BACKGROUND} - tracked
        if not new:
            return strokes
        before, self._numbers = self._numbers, sorted({*self._numbers, *new})
        self._removed = [number for number in self._removed if number not in new]
        if self._numbers != before:  # they begin with what was kept for all that were absent
            rows = {number: row for row, number in enumerate(before)}
            absent = [len(before)] if self._has_absent() else []
            self._bank.take_rows([rows.get(n, len(before)) for n in self._numbers] + absent)
        self._set_rows()
        entries = self._initial_memory(frame, self._only(strokes, self._numbers))
        joined = torch.tensor([number in new for number in self._row_numbers()])
        for step, entry in zip(self._bank.steps, entries, strict=True):
            step.replace_initial(entry, joined.to(self._net.device))
        return self._only(strokes, tracked)

    def _add_correction(self, frame: EncodedFrame, strokes: Tensor) -> None:
        """Let strokes join the initial scribble, for good."""
        if strokes.any():
            entries = self._initial_memory(frame, strokes)
            for step, entry in zip(self._bank.steps, entries, strict=True):
                step.add_initial(entry)

    def _fix_strokes(self, expansion: Expansion, strokes: Tensor) -> None:
        """Make a correction's pixels certain, also for what later frames read of this one."""
        if not strokes.any():
            return
        certain = one_hot(self._pad(self._in_rows(strokes))[None], len(self._row_numbers()))
        for prob in (*expansion.entire_probs, *expansion.full_probs):
            here = functional.adaptive_max_pool2d(certain, prob.shape[-2:])
            prob.copy_(torch.where(here.any(1, keepdim=True), here, prob))

    def _expand(self, frame: EncodedFrame) -> Expansion:
        return self._net.expand(
            frame, self._bank, self._valid, self.config.objects_at_once, self._rows
        )

    def _set_rows(self) -> None:
        """Say anew which rows of the memory are tracked; whenever objects come or go."""
        live = [bool(n) and n not in self._removed for n in self._row_numbers()]
        self._valid = torch.tensor(live)[None].to(self._net.device)
        rows: slice | list[int] = slice(len(self._numbers))
        if self._removed:  # where all are, the work is done in vain
            rows = [row for row, is_live in enumerate(live) if is_live] or slice(None)
        copies = self._num_objects - len(self._numbers) if self._has_absent() else 1
        self._rows = Rows(rows, self._num_objects, copies)

    def _finish(self, expansion: Expansion) -> TrackedFrame:
        """Memorize what was predicted and hand it out."""
        entire, reliable = expansion.full_probs[-1], expansion.reliable_prob_s4
        if self._index == 0 or entire.device.type == "cpu":  # elsewhere asking makes the host wait
            _check_finite(entire, self._net.dtype)
        self._memorize(expansion)
        self._index += 1
        return TrackedFrame(entire, reliable, self._channels(), self._geometry)

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

    def _has_absent(self) -> bool:
        return len(self._numbers) < self._num_objects

    def _row_numbers(self) -> list[int]:
        """The object of each row of the memory; 0: all those that have not appeared yet."""
        return [*self._numbers, *([0] if self._has_absent() else [])]

    def _channels(self) -> list[int] | None:
        """The channel of each of objects 1..N and background; None where they are the same."""
        if not self._has_absent():
            return None
        rows, absent = {n: row for row, n in enumerate(self._numbers)}, len(self._numbers)
        return [rows.get(n, absent) for n in range(1, self._num_objects + 1)] + [absent + 1]

    def _initial_memory(self, frame: EncodedFrame, strokes: Tensor) -> list[MemoryEntry]:
        padded = self._pad(self._in_rows(strokes))
        if self.config.short_side:  # 0: as the release does
            padded = thicken(padded)
        return self._net.initial_memory(
            frame, padded[None], len(self._row_numbers()), self.config.using_initial_bg
        )

    def _in_rows(self, strokes: Tensor) -> Tensor:
        """Strokes with the numbers of rows, from 1, in place of the objects'."""
        if not self._has_absent():
            return strokes
        return _replaced(strokes, {n: row for row, n in enumerate(self._numbers, 1)})

    @staticmethod
    def _only(strokes: Tensor, numbers: Iterable[int]) -> Tensor:
        """The strokes of some objects alone, without background."""
        return _replaced(strokes, {number: number for number in numbers} | {BACKGROUND: 0})

    def _encode(self, image: Tensor) -> EncodedFrame:
        image = shrink(self._to_device(image), self._geometry.network)
        pixels = image.permute(2, 0, 1)[None]
        images = self._pad(self._net.feature_extractor.normalize(pixels))
        return self._net.encode_frame(images.to(self._net.dtype, memory_format=torch.channels_last))

    def _pad(self, maps: Tensor) -> Tensor:
        """Zeros around [..., H, W], to multiples of 16."""
        return functional.pad(maps, self._geometry.padding)

    def _shrunk(self, strokes: Tensor) -> Tensor:
        return shrink_strokes(self._to_device(strokes), self._geometry.network)

    def _to_device(self, tensor: Tensor) -> Tensor:
        device = self._net.device
        if device.type == "cuda" and tensor.device.type == "cpu":
            # pinned, so that the copy does not hold up the host
            return tensor.contiguous().pin_memory().to(device, non_blocking=True)
        return tensor.to(device).contiguous()

    def _use_current_weights(self) -> None:
        """Prepare the network again if its weights were changed since."""
        version = weights_version(self.model)
        if self._net is None or self._net_version != version:
            self._net = prepare_for_tracking(self.model, self.config.precision, self.config.compile)
            self._net_version = version


def _padding(size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, right, top, bottom, pixels: half of what is missing on each side, smaller first."""
    height, width = (-side % STRIDE for side in size)
    return width // 2, width - width // 2, height // 2, height - height // 2


def _replaced(labels: Tensor, new: dict[int, int]) -> Tensor:
    """A label map with other values; those that are not named become 0, background stays."""
    table = torch.zeros(BACKGROUND + 1, dtype=torch.uint8)
    for value, other in ({BACKGROUND: BACKGROUND} | new).items():
        table[value] = other
    return table.to(labels.device)[labels.int()]


def _check_finite(prob: Tensor, precision: torch.dtype) -> None:
    if not torch.isfinite(prob.sum()):
        raise InputError(
            f"the network's probabilities are not finite, in {str(precision)[6:]}: its weights "
            "hold NaN or infinity, or overflow on this input; check the checkpoint, or try "
            "test.precision=float32"
        )


_STATE = ("_bank", "_geometry", "_index", "_num_objects", "_numbers", "_removed")
