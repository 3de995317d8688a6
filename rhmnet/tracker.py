"""Tracking through one video: start on a scribbled frame, then step."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rhmnet.arithmetic import one_hot, strokes_of
from rhmnet.config import AUTO, Config, TestConfig, override
from rhmnet.errors import InputError, check_number
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
from rhmnet.labels import BACKGROUND
from rhmnet.memory_bank import MemoryBank, ReliabilityLevel, StepMemory
from rhmnet.model import RHMNet
from rhmnet.structures import (
    EncodedFrame,
    EntireLogits,
    Expansion,
    Geometry,
    MemoryEntry,
    Objects,
    TrackedFrame,
    VideoObjects,
)

try:
    from rhmnet import accelerate
except ImportError as error:  # without that room tracking is slower and says the same
    if error.name != "rhmnet":
        raise
    accelerate = None

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
        self._geometry = Geometry.of(size, network_size(size, self.config.short_side))
        self._index = 0
        self._set_objects(VideoObjects(num_objects, sorted(numbers), []))
        frame = self._encode(image)
        entries = self._initial_memory(frame, self._shrunk(strokes))
        self._bank = self._net.new_bank(entries, self.config.max_memory_length)
        return self._finish(self._net.expand(frame, self._bank, self._rows))

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
            strokes, _ = check_scribble(scribble, size, self._objects.count)
            strokes = self._shrunk(strokes)
        frame = self._encode(image)
        if strokes is not None:
            strokes = self._add_objects(frame, strokes)
            self._add_correction(frame, strokes)
        expansion = self._net.expand(frame, self._bank, self._rows)
        fixed = strokes is not None and self._fix_strokes(expansion, strokes)
        return self._finish(expansion, fixed)

    def remove_object(self, number: int) -> None:
        """Stop tracking an object, 1..N; a later stroke makes it appear anew."""
        self._check_started("remove_object")
        number, objects = check_number(number, "object"), self._objects
        if not 1 <= number <= objects.count:
            raise InputError(
                f"object {number} is not tracked; expected one of the video's, 1..{objects.count}"
            )
        if number in objects.tracked:
            self._set_objects(objects._replace(removed=[*objects.removed, number]))

    def snapshot(self) -> dict[str, Any]:
        """The state after a frame, for `restore`: to go on from there again, with other strokes."""
        self._check_started("snapshot")
        values = (self._bank, tuple(self._geometry), self._index, *self._objects)
        return copy.deepcopy(dict(zip(_STATE, values, strict=True)))

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot, as often as wanted; also one of another tracker's.

        Raises InputError for what is none, or of another network.
        """
        self._use_current_weights()
        try:
            bank, geometry, index, *objects = copy.deepcopy([state[name] for name in _STATE])
            geometry, objects = Geometry(*map(tuple, geometry)), VideoObjects(*objects)
            self._check_network_of(bank)
            whole = (
                len(state) == len(_STATE)
                and (type(index) is int and index >= 1)
                and (geometry.is_consistent() and objects.is_consistent())
                and all(step.fits(len(objects.rows), geometry.tokens) for step in bank.steps)
            )
        except InputError:
            raise
        except Exception:  # of parts of any kind; what it raises is not for the user
            whole = False
        if not whole:
            raise InputError(
                f"restore: {type(state).__name__} is no state, or a damaged one; expected what "
                "snapshot returned"
            )
        self._bank, self._geometry, self._index = bank, geometry, index
        self._set_objects(objects)

    def _check_started(self, call: str) -> None:
        if self._bank is None:
            raise InputError(
                f"Tracker.{call} was called before start; call start(image, scribble) first"
            )

    def _check_network_of(self, bank: MemoryBank) -> None:
        """InputError for the memory of another network."""
        net = self._net
        wanted = [(net.config.num_heads, net.config.hidden_dim, net.dtype, net.device)]
        wanted *= len(net.readers)
        found = []
        for step in bank.steps:
            key = step.read().key
            found.append((key.shape[1], key.shape[1] * key.shape[3], key.dtype, key.device))
        if found != wanted:
            raise InputError(
                "restore: a state of another network (heads, features, precision and device of "
                f"each step are {found}, here {wanted}); expected one of the same weights"
            )

    def _add_objects(self, frame: EncodedFrame, strokes: Tensor) -> Tensor:
        """Give objects that appear their initial memory, in place of the empty one they had.

        Returns the strokes that are left, those of a correction.
        """
        before, tracked = self._objects, self._objects.tracked
        new = values_in(strokes) - {0, BACKGROUND} - tracked
        if not new:
            return strokes
        self._set_objects(before.join(new))
        objects = self._objects
        if objects.numbers != before.numbers:  # they begin with what was kept for the absent
            for step in self._bank.steps:
                step.take_rows(objects.rows_before(before))
        entries = self._initial_memory(frame, strokes_of(strokes, objects.numbers))
        joined = torch.tensor([number in new for number in objects.rows])
        for step, entry in zip(self._bank.steps, entries, strict=True):
            step.replace_initial(entry, joined.to(self._net.device))
        return strokes_of(strokes, tracked)

    def _add_correction(self, frame: EncodedFrame, strokes: Tensor) -> None:
        """Let strokes join the initial scribble, for good."""
        if strokes.any():
            entries = self._initial_memory(frame, strokes)
            for step, entry in zip(self._bank.steps, entries, strict=True):
                step.add_initial(entry)

    def _fix_strokes(self, expansion: Expansion, strokes: Tensor) -> bool:
        """Make a correction's pixels certain, also for what later frames read of this one.

        Returns whether there are any.
        """
        if not strokes.any():
            return False
        objects = self._objects
        certain = one_hot(self._geometry.pad(objects.in_rows(strokes))[None], len(objects.rows))
        for prob in (*expansion.entire_probs, *expansion.full_probs):
            here = functional.adaptive_max_pool2d(certain, prob.shape[-2:])
            prob.copy_(torch.where(here.any(1, keepdim=True), here, prob))
        return True

    def _set_objects(self, objects: VideoObjects) -> None:
        """Say anew which rows of the memory are tracked; whenever objects come or go."""
        self._objects, live = objects, objects.live
        rows: slice | list[int] = slice(len(objects.numbers))
        if objects.removed:  # where all are, the work is done in vain
            rows = [row for row, is_live in enumerate(live) if is_live] or slice(None)
        valid = torch.tensor(live)[None].to(self._net.device)
        self._rows = Objects(valid, max(objects.absent - 1, 0), rows)

    def _finish(self, expansion: Expansion, fixed: bool = False) -> TrackedFrame:
        """Memorize what was predicted and hand it out."""
        entire, reliable = expansion.full_probs[-1], expansion.reliable_prob_s4
        if self._index == 0 or entire.device.type == "cpu":  # elsewhere asking makes the host wait
            _check_finite(entire, self._net.dtype)
        self._memorize(expansion)
        self._index += 1
        logits = EntireLogits(expansion.entire_logits_s4, self._rows.valid, expansion.absent)
        return TrackedFrame(
            entire, reliable, self._objects.channels, self._geometry, None if fixed else logits
        )

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

    def _initial_memory(self, frame: EncodedFrame, strokes: Tensor) -> list[MemoryEntry]:
        padded = self._geometry.pad(self._objects.in_rows(strokes))
        if self.config.short_side:  # 0: as the release does
            padded = thicken(padded)
        return self._net.initial_memory(
            frame, padded[None], len(self._objects.rows), self.config.using_initial_bg
        )

    def _encode(self, image: Tensor) -> EncodedFrame:
        image = shrink(self._to_device(image), self._geometry.network)
        pixels = image.permute(2, 0, 1)[None]
        images = self._geometry.pad(self._net.feature_extractor.normalize(pixels))
        return self._net.encode_frame(images.to(self._net.dtype, memory_format=torch.channels_last))

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
        version = _weights_version(self.model)
        if self._net is None or self._net_version != version:
            self._net, self._net_version = _tracking_copy(self.model, self.config), version


def settle_precision(config: Config, device: torch.device) -> Config:
    """The configuration with `test.precision=auto` replaced by what this machine is fastest in.

    For commands, before they note what masks depend on: a run that goes on elsewhere must not mix.
    """
    if config.test.precision != AUTO:
        return config
    return override(config, [f"test.precision={_fastest_precision(device)}"])


def _fastest_precision(device: torch.device) -> str:
    return accelerate.fastest_precision(device) if accelerate else "float32"


def _tracking_copy(model: RHMNet, config: TestConfig) -> RHMNet:
    """A copy without gradients and dropout in the precision that is asked for."""
    sums = [weight.sum(dtype=torch.float32) for weight in model.parameters()]
    _check_finite(torch.stack(sums), model.dtype)  # a fused convolution hides what is not
    auto = config.precision == AUTO
    precision = _fastest_precision(model.device) if auto else config.precision
    if accelerate:
        return accelerate.prepare_for_tracking(
            model, precision, config.compile, config.objects_at_once
        )
    net = copy.deepcopy(model).eval().requires_grad_(False)
    net.set_precision(getattr(torch, precision))
    return net


def _weights_version(model: nn.Module) -> tuple:
    """A value that changes when weights do: by an optimizer, a checkpoint or a move."""
    tensors = (*model.parameters(), *model.buffers())
    return tuple((x.data_ptr(), x._version) for x in tensors)


def _check_finite(numbers: Tensor, precision: torch.dtype) -> None:
    if not torch.isfinite(numbers.sum()):
        raise InputError(
            f"the network's numbers are not finite, in {str(precision)[6:]}: its weights "
            "hold NaN or infinity, or overflow on this input; check the checkpoint, or try "
            "test.precision=float32"
        )


_STATE = ("_bank", "_geometry", "_index", "_num_objects", "_numbers", "_removed")
STATE_CLASSES = [
    *(MemoryBank, StepMemory, MemoryEntry, ReliabilityLevel),
    *(accelerate.STATE_CLASSES if accelerate else ()),
]
"""What a snapshot is made of besides tensors: for `torch.load` to take it safely."""
