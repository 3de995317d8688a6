"""Arithmetic that the boxes share: float32 where it matters, attention, dropout."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

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
