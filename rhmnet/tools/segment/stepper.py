"""The network as the engine uses it: a frame in, and masks and measures out.

The only module of the engine, with those below it, that loads PyTorch: strokes, finished masks and
plans are there before it.
"""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rhmnet.arithmetic import labels_at
from rhmnet.config import AUTO, PRECISIONS, Config, override, to_dict
from rhmnet.files.images import resize_image
from rhmnet.files.reading import sealed_bytes, unsealed_bytes
from rhmnet.files.writing import torch_bytes
from rhmnet.inputs import network_size, resize_strokes
from rhmnet.model import RHMNet
from rhmnet.segmentation_head import entire_target
from rhmnet.structures import FrameMaps, Geometry, Size, TrackedFrame
from rhmnet.tools.segment.plan import Plan, Told
from rhmnet.tracker import STATE_CLASSES, Tracker, settle_precision


class Stepper:
    """A tracker that sees the frames of a video, H, W, at another size.

    threshold: probability above which a region is reliable. base: stands for all that masks depend
    on besides video and strokes.
    """

    def __init__(
        self, tracker: Tracker, video: Size, size: Size, threshold: float, base: str = ""
    ) -> None:
        self.tracker, self.size, self.base = tracker, size, base
        self._video, self._threshold = video, threshold

    @classmethod
    def of(cls, model: RHMNet, config: Config, video: Size, before: tuple[str, str]) -> Stepper:
        """Of a model, on its device, as the configuration says.

        before: base and precision of what there is. Where they are of this network, and it may
        choose its precision, it chooses that one: what it measures is another one now and then.
        """
        if config.test.precision == AUTO and before[1] in PRECISIONS:
            same = cls._of(model, override(config, [f"test.precision={before[1]}"]), video)
            if same.base == before[0]:
                return same
        return cls._of(model, settle_precision(config, model.device), video)

    @classmethod
    def _of(cls, model: RHMNet, config: Config, video: Size) -> Stepper:
        size, threshold = network_size(video, config.test.short_side), config.model.refine_threshold
        base = _digest(model, config)
        return cls(Tracker(model, config), video, size, threshold[0], base)

    @property
    def precision(self) -> str:
        return self.tracker.config.precision

    def settings(self) -> dict[str, Any]:
        """How it computes: `size` H, W at which it sees frames, `device` and `precision`."""
        device = str(self.tracker.model.device)
        return {"size": self.size, "device": device, "precision": self.precision}

    def step(self, plan: Plan, frame: int, image: np.ndarray, begins: bool) -> TrackedFrame:
        """One frame through the network. image: uint8 [h, w, 3], or of the video's own size."""
        image, scribble = resize_image(image, self.size), plan.scribble(frame)
        if scribble is not None:
            scribble = resize_strokes(scribble, self.size)
        if begins:
            return self.tracker.start(image, scribble, len(plan.numbers))
        return self.tracker.step(image, scribble)

    def labels(self, maps: FrameMaps, plan: Plan) -> np.ndarray:
        """uint8 [H, W] at the video's size, with the objects' own numbers."""
        labels = labels_at(maps.entire, self._video).cpu().numpy()
        return np.array([0, *plan.numbers], np.uint8)[labels]

    def tell(
        self, plan: Plan, frame: int, forward: FrameMaps | None, backward: FrameMaps | None
    ) -> Told:
        """A frame's labels and measures from what one pass or both said of it."""
        shares = plan.shares(frame)
        if shares is None:
            maps = backward if frame < plan.first else forward
        else:
            maps = merge(to_bytes(forward), backward, shares)
        return Told(frame, self.labels(maps, plan), measure(maps, self._threshold).cpu().numpy())


class TensorFiles:
    """Tensors to bytes with a check sum, and back, onto a device.

    upsample: `model.upsample_logits`.
    """

    def __init__(self, device: torch.device, upsample: bool) -> None:
        self._device, self._upsample = device, upsample

    def pack(self, content: dict[str, Any]) -> bytes:
        """Tensors and plain values."""
        return sealed_bytes(torch_bytes(content))

    def unpack(self, data: bytes) -> dict[str, Any] | None:
        """What `pack` was given; None of what is damaged."""
        body = unsealed_bytes(data)
        if body is None:
            return None
        with torch.serialization.safe_globals(STATE_CLASSES):
            return torch.load(io.BytesIO(body), map_location=self._device, weights_only=True)

    def pack_frame(self, tracked: TrackedFrame) -> bytes:
        """What makes probabilities anew, to the bit: strides stay, they choose kernels."""
        parts = tracked.parts()
        tensors = {n: x.clone() for n, x in parts.items() if isinstance(x, torch.Tensor)}
        return self.pack(parts | tensors)

    def unpack_frame(self, data: bytes) -> FrameMaps | None:
        """The probabilities of a frame that `pack_frame` packed; None of what is damaged."""
        parts = self.unpack(data)
        if parts is None:
            return None
        geometry = Geometry(*map(tuple, parts["geometry"]))
        entire = parts.get("entire")
        if entire is None:
            valid, absent = parts["valid"], parts["absent"]
            entire = entire_target(parts["logits_s4"], valid, self._upsample, absent)[1]
        return TrackedFrame(entire, parts["reliable"], parts["channels"], geometry).maps

    def bytes_of(self, state: dict[str, Any]) -> int:
        """Bytes of all tensors in a tracker's state."""
        return _bytes_of(state)


def _bytes_of(state: Any) -> int:
    if isinstance(state, torch.Tensor):
        return state.nbytes
    if not isinstance(state, (list, tuple)):
        state = (state if isinstance(state, dict) else getattr(state, "__dict__", {})).values()
    return sum(map(_bytes_of, state))


def to_bytes(maps: FrameMaps) -> np.ndarray:
    """The objects' probabilities in 8 bits, uint8 [2 * O, h, w]: entire targets, then regions."""
    objects = torch.cat([maps.entire[:-1], maps.reliable[:-1]])
    return (objects * 255).round().to(torch.uint8).cpu().numpy()


def from_bytes(data: np.ndarray) -> FrameMaps:
    """What `to_bytes` made, as far as it tells: background is left out (zeros)."""
    halves = (torch.from_numpy(data).float() / 255).chunk(2)
    return FrameMaps(*(torch.cat([x, torch.zeros_like(x[:1])]) for x in halves))


def merge(forward: np.ndarray, backward: FrameMaps, shares: np.ndarray) -> FrameMaps:
    """The weighted mean of both passes, per object; background is what no object is.

    forward: as `to_bytes` made it. shares: float32 [O], of the forward pass. Background is the
    product of 1 - p over the objects; then all channels are divided by their sum (as in the
    docs/method.md's soft aggregation, which gives background the same product).
    """
    device = backward.entire.device
    share = torch.from_numpy(shares).to(device)[:, None, None]
    halves = (torch.from_numpy(forward).to(device).float() / 255).chunk(2)
    return FrameMaps(*(_merge(f, b, share) for f, b in zip(halves, backward, strict=True)))


def measure(maps: FrameMaps, threshold: float) -> Tensor:
    """float32 [2, O]: mean probability and reliability of each object, NaN without a pixel.

    With M the pixels where the object is the likeliest, p its probability and r that of its
    reliable region: mean probability = sum_M p / |M|, and reliability = the sum of p over M where
    r > threshold, divided by the sum of p over all of M.
    threshold: `model.refine_threshold[0]`, above which the memory takes the region as reliable.
    """
    objects, reliable = maps.entire[:-1], maps.reliable[:-1]
    likeliest = maps.entire.argmax(0)
    own = likeliest == torch.arange(len(objects), device=likeliest.device)[:, None, None]
    inside = objects * own
    pixels, mass = own.sum((1, 2)), inside.sum((1, 2))
    carried = (inside * (reliable > threshold)).sum((1, 2))
    return torch.stack([mass / pixels, carried / mass])


def _merge(forward: Tensor, backward: Tensor, share: Tensor) -> Tensor:
    """[O, h, w] and [O + 1, h, w] -> [O + 1, h, w]."""
    objects = share * forward + (1 - share) * backward[:-1]
    prob = torch.cat([objects, (1 - objects).prod(0, keepdim=True)])
    return prob / prob.sum(0)


def _digest(model: RHMNet, config: Config) -> str:
    """Stands for all but video and strokes that masks depend on."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    groups: dict[str, Any] = to_dict(config)
    del groups["test"]["snapshot_budget"]
    what = [groups["model"], groups["data"]["crop_size"], groups["test"], model.device.type]
    return hashlib.sha256(f"{digest.hexdigest()} {json.dumps(what)}".encode()).hexdigest()
