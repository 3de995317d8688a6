"""What a tensor of a file must be to be a weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn

COUNT = "num_batches_tracked"  # of batch norm: the one integer; evaluation never reads it
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def unusable(key: str, value: Tensor) -> str | None:
    """What keeps a tensor from being a weight; None where nothing does."""
    if value.is_sparse or value.layout != torch.strided:
        return "sparse"
    for name in ("is_quantized", "is_nested", "is_meta", "is_complex"):
        found = getattr(value, name)
        if found() if callable(found) else found:
            return name.removeprefix("is_")
    if type(value) not in (Tensor, nn.Parameter):
        return f"a {type(value).__name__}"
    counts = key.endswith(COUNT) and value.dtype == torch.int64
    if value.dtype not in _FLOATS and not counts:
        return str(value.dtype).removeprefix("torch.")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return "a view that repeats its values"
    return None


def not_finite(value: Tensor, dtype: torch.dtype = torch.float32) -> str | None:
    """What a tensor holds that is no number in `dtype`; None where all are."""
    if not value.is_floating_point() or value.to(dtype).isfinite().all():
        return None
    return "NaN" if value.isnan().any() else "infinite values"
