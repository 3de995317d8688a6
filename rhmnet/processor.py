"""What the machine computes fast."""

from __future__ import annotations

import time
from functools import cache

import torch
from torch.nn import functional

_CLEARLY = 0.8
"""Share of float32's time below which bfloat16 counts as faster, far from what was seen: a
seventh with AMX, twice the time on the same processor without."""


def cpu_has(feature: str) -> bool:
    """Whether torch says that the processor has a feature, as `amx_tile` or `avx512_bf16`."""
    ask = getattr(torch.cpu, f"_is_{feature}_supported", None)
    return ask is not None and ask()


@cache
def fastest_precision(device: torch.device) -> str:
    """`bfloat16` where this process computes it faster than float32, else `float32`.

    On the CPU a convolution is measured, once in a process: that a processor has such products does
    not say that they are fast.
    """
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float32"
    if device.type != "cpu" or not (cpu_has("avx512_bf16") or cpu_has("amx_tile")):
        return "float32"
    seconds = {}
    for precision in ("float32", "bfloat16") * 4:  # in turn, so that both see the same machine
        spent = _convolution_seconds(getattr(torch, precision))
        seconds[precision] = min(spent, seconds.get(precision, spent))
    return "bfloat16" if seconds["bfloat16"] < _CLEARLY * seconds["float32"] else "float32"


def _convolution_seconds(dtype: torch.dtype) -> float:
    """Of one like those of the heads, the faster of two."""
    generator = torch.Generator().manual_seed(0)
    image, weight = (
        torch.randn(shape, generator=generator).to(dtype, memory_format=torch.channels_last)
        for shape in ((1, 64, 40, 72), (64, 64, 3, 3))
    )
    spent = []
    for _ in range(2):
        began = time.perf_counter()
        functional.conv2d(image, weight, padding=1)
        spent.append(time.perf_counter() - began)
    return min(spent)
