"""What the machine computes fast."""

from __future__ import annotations

import os

import torch

_WITHOUT_BFLOAT16 = (
    *("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"),
)
"""Values of ONEDNN_MAX_CPU_ISA that keep oneDNN from products in bfloat16."""


def cpu_has(feature: str) -> bool:
    """Whether torch says that the processor has a feature, as `amx_tile` or `avx512_bf16`."""
    ask = getattr(torch.cpu, f"_is_{feature}_supported", None)
    return ask is not None and ask()


def fastest_precision(device: torch.device) -> str:
    """`bfloat16` where its products are known to be faster than float32's, else `float32`.

    By what the processor is, not by a measurement: the same machine always answers the same,
    however busy it is, so that a run that goes on computes as it began.
    """
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float32"
    if device.type != "cpu" or os.environ.get("ONEDNN_MAX_CPU_ISA", "") in _WITHOUT_BFLOAT16:
        return "float32"
    return "bfloat16" if cpu_has("avx512_bf16") or cpu_has("amx_tile") else "float32"
