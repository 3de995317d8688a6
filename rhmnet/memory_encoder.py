"""Memory encoding: self-attention over a frame's tokens, soft labels, label embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from rhmnet.arithmetic import Dropout, in_float32
from rhmnet.attention import MultiHeadAttention
from rhmnet.labels import LEAST_RATIO

CERTAIN_RATIO = 0.211  # share of a cell under the stroke from which it joins the stroke's mean
WINDOW = 5  # cells, side of the neighbourhood of the local similarity


class MemoryEncoder(nn.Module):
    """Self-attention of one expanding step (docs/method.md, section 2)."""

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = MultiHeadAttention(dim, num_heads, dropout)
        self.norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        """tokens [B, N, C], position [N, C] -> [B, N, C]."""
        query, key = self.self_attn.project(tokens + position, 0, 2)
        (value,) = self.self_attn.project(tokens, 2, 3)
        return self.norm(tokens + self.dropout(self.self_attn.attend(query, key, value)))


class LabelEmbedding(nn.Module):
    """Learned vectors that mark memory as target or background, one row a reliability level."""

    def __init__(self, levels: int, dim: int, use_background: bool, one_per_level: bool) -> None:
        super().__init__()
        rows = levels if one_per_level else 1
        self.one_per_level = one_per_level
        self.target = nn.Parameter(torch.ones(rows, dim))
        self.background = nn.Parameter(-torch.ones(rows, dim)) if use_background else None

    def attach(
        self, memory: Tensor, labels: Tensor, level: int, background: bool, absent: int = 0
    ) -> Tensor:
        """Mark a frame's memory feature with soft labels, object by object: [B * O, N, C].

        memory: m, [B, N, C] or [B * O, N, C]. labels: S, [B, O + 1, N], background last.
        background: whether other objects and background are marked too.
        absent: further objects, of which nothing is seen, that the last one stands for.
        """
        row = level if self.one_per_level else 0
        objects = labels[:, :-1]
        others = labels.sum(1, keepdim=True) - objects
        if absent:
            others = others + absent * objects[:, -1:]
        # the weights' precision: that of the memory, but float32 under autocast
        objects, others = objects.to(self.target.dtype), others.to(self.target.dtype)
        memory = memory.view(labels.shape[0], -1, *memory.shape[1:])
        memory = memory + objects.unsqueeze(-1) * self.target[row]
        if background and self.background is not None:
            memory = memory + others.unsqueeze(-1) * self.background[row]
        return memory.flatten(0, 1)


def pool_labels(labels: Tensor, stride: int) -> Tensor:
    """Average soft labels [B, L, H, W] over cells of `stride` pixels: [B, L, h, w]."""
    return functional.avg_pool2d(labels, stride)


@torch.no_grad()
@in_float32
def similarity_labels(ratio: Tensor, embedding: Tensor) -> Tensor:
    """Labels of an initial scribble: cosine of each cell to the scribble's mean feature.

    ratio: share of each cell under the stroke, [B, L, h, w]; embedding: F, [B, C, h, w].
    Returns [B, L, h, w] in [-1, 1]; docs/method.md, section 2, `use_similarity`.
    """
    weight = torch.where(ratio >= CERTAIN_RATIO, ratio, 0)
    weight = torch.where(_any(weight), weight, torch.where(_is_largest(ratio), ratio, 0))
    mean = torch.einsum("blhw,bchw->blc", weight, embedding)
    mean = mean / (weight.sum((2, 3))[..., None] + 1e-8)
    dot = torch.einsum("blc,bchw->blhw", mean, embedding)
    norms = mean.norm(dim=2)[..., None, None] * embedding.norm(dim=1, keepdim=True)
    cosine = dot / norms.clamp(min=1e-8)
    return torch.where(ratio >= LEAST_RATIO, cosine, 0)


@torch.no_grad()
@in_float32
def local_similarity_labels(ratio: Tensor, embedding: Tensor) -> Tensor:
    """Labels of an initial scribble: largest cosine to another stroke cell within 5 x 5 cells.

    Arguments and result as `similarity_labels`; docs/method.md, section 2, `local_similarity`.
    """
    kept = ratio > LEAST_RATIO
    kept = torch.where(_any(kept), kept, _is_largest(ratio) & (ratio != 0)).float()
    unit = functional.normalize(embedding, dim=1)
    half, (height, width) = WINDOW // 2, ratio.shape[2:]
    around_unit = functional.pad(unit, [half] * 4)
    around_kept = functional.pad(kept, [half] * 4)
    best = torch.full_like(kept, -1.0)
    for dy in range(WINDOW):
        for dx in range(WINDOW):
            if (dy, dx) == (half, half):
                continue
            window = (..., slice(dy, dy + height), slice(dx, dx + width))
            cosine = (unit * around_unit[window]).sum(1, keepdim=True)
            best = torch.maximum(best, cosine * kept * around_kept[window])
    return best


def _any(maps: Tensor) -> Tensor:
    return (maps != 0).flatten(2).any(-1)[..., None, None]


def _is_largest(maps: Tensor) -> Tensor:
    return maps == maps.amax((2, 3), keepdim=True)
