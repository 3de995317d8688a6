"""Arithmetic on tensors that rooms share: float32 where it matters, attention, dropout, labels."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from rhmnet.labels import BACKGROUND

P = ParamSpec("P")
T = TypeVar("T")


def in_float32(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function whose first argument is a tensor: no autocast inside, no half precision.

    Autocast rounds the inputs of every matrix product and convolution, and what is small arithmetic
    on probabilities, cosines or losses loses three digits to gain nothing.
    """

    @functools.wraps(function)
    def wrapped(first: Tensor, *args: P.args, **kwargs: P.kwargs) -> T:
        with _without_autocast(first.device):
            args = (_widen(x) for x in args)
            return function(_widen(first), *args, **{k: _widen(x) for k, x in kwargs.items()})

    return wrapped


def scaled_attention(query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
    """softmax(q k / sqrt(d)) v, [B, heads, N, d], of query [.., N, d], key and value [.., M, d]."""
    if dropout > 0 and query.device.type == "cpu":
        # with dropout, torch's CPU attention makes the whole matrix too, and draws it slower
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        weights = scores.softmax(-1).to(value.dtype)
        return drop(weights, dropout) @ value
    return functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)


class Dropout(nn.Module):
    """`nn.Dropout`, with masks that the CPU draws in a fraction of the time."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """x of any shape; unchanged in evaluation."""
        return drop(x, self.probability) if self.training and self.probability > 0 else x


def drop(x: Tensor, probability: float) -> Tensor:
    """Zero each number with a probability (to 1 / 65536), and scale the others up to its mean."""
    if x.device.type != "cpu":
        return functional.dropout(x, probability)
    # four masks from each number drawn: 16 random bits are enough for one
    drawn = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = drawn.view(torch.int16)[: x.numel()].view(x.shape)
    keep = bits >= round(probability * 65536) - 32768
    return x * keep.to(x.dtype).mul_(1 / (1 - probability))


def _without_autocast(device: torch.device) -> AbstractContextManager:
    if not torch.amp.is_autocast_available(device.type):  # MPS before PyTorch 2.5
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def _widen(x: T) -> T:
    return x.float() if isinstance(x, Tensor) and x.is_floating_point() else x


def one_hot(labels: Tensor, num_objects: int) -> Tensor:
    """float32 [..., O + 1, H, W] from a uint8 label map [..., H, W]: objects 1..O, background.

    Unlabelled pixels are zero in every channel.
    """
    values = [*range(1, num_objects + 1), BACKGROUND]
    values = torch.tensor(values, dtype=torch.uint8, device=labels.device)
    return (labels.unsqueeze(-3) == values[:, None, None]).float()


def valid_objects(num_objects: Tensor, max_objects: int) -> Tensor:
    """bool [B, O]: True for the objects that a clip has, False for those that pad the batch."""
    return torch.arange(1, max_objects + 1, device=num_objects.device) <= num_objects[:, None]


def relabelled(labels: Tensor, values: dict[int, int]) -> Tensor:
    """A label map uint8 [H, W] with other values; those that are not named become 0."""
    table = torch.zeros(BACKGROUND + 1, dtype=torch.uint8)
    for value, other in values.items():
        table[value] = other
    return table.to(labels.device)[labels.int()]


def strokes_of(labels: Tensor, numbers: Iterable[int]) -> Tensor:
    """The strokes of some objects alone, without background: uint8 [H, W]."""
    return relabelled(labels, {number: number for number in numbers})


def labels_at(prob: Tensor, size: tuple[int, int]) -> Tensor:
    """Labels of the likeliest channel after resizing probabilities, bilinear, to H, W.

    prob: [O + 1, h, w], background last. Returns uint8 [H, W], 0 background; the first channel
    where several are equal. One channel at a time: memory does not grow with the number of objects,
    and torch's argmax over the leading dimension takes as long as a stage of the backbone (CPU).
    """
    best, labels = None, None
    for channel, single in enumerate(prob):
        if single.shape != size:
            single = enlarge(single[None], size)[0]
        label = (channel + 1) % len(prob)
        if best is None:
            best, labels = single, torch.full_like(single, label, dtype=torch.uint8)
            continue
        labels.masked_fill_(single > best, label)
        best = torch.maximum(best, single)
    return labels


def enlarge(prob: Tensor, size: tuple[int, int]) -> Tensor:
    """Probabilities [L, h, w] at the frame's size, bilinear: [L, H, W]."""
    return functional.interpolate(prob[None], size, mode="bilinear", align_corners=False)[0]
