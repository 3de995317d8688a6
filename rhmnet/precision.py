"""Functions that compute in float32 whatever their inputs' precision, under autocast too."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

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


def _without_autocast(device: torch.device) -> AbstractContextManager:
    if not torch.amp.is_autocast_available(device.type):  # MPS before PyTorch 2.5
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def _widen(x: T) -> T:
    return x.float() if isinstance(x, Tensor) and x.is_floating_point() else x
