"""Multi-head attention whose projections are separate steps, so that memory is projected once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from rhmnet.processor import cpu_has


class MultiHeadAttention(nn.Module):
    """`nn.MultiheadAttention` taken apart: project a query, project a memory, attend.

    A stored memory never changes, so its keys and values are projected when it is written and not
    on every frame that reads it.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def project(self, tokens: Tensor, first: int, last: int) -> tuple[Tensor, ...]:
        """Projections first..last - 1 of (query, key, value), each [B, heads, N, C / heads].

        tokens: [B, N, C].
        """
        dim = tokens.shape[-1]
        rows = slice(first * dim, last * dim)
        out = functional.linear(tokens, self.in_proj_weight[rows], self.in_proj_bias[rows])
        out = out.unflatten(-1, (last - first, self.num_heads, -1))  # [B, N, parts, heads, d]
        return out.permute(2, 0, 3, 1, 4).unbind(0)

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Scaled dot-product attention and output projection, [B, N, C].

        query [B, heads, N, d]; key and value [B, heads, M, d].
        """
        dropout = self.dropout if self.training else 0.0
        if dropout > 0 and query.device.type == "cpu":
            # with dropout, torch's CPU attention makes the whole matrix too, and draws it slower
            scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
            weights = scores.softmax(-1).to(value.dtype)
            out = drop(weights, dropout) @ value
        elif _attends_by_rows(query):
            out = _attend_by_rows(query, key, value)
        else:
            out = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return self.out_proj(out.transpose(1, 2).flatten(2))

    def attend_in_parts(
        self, query: Tensor, parts: Sequence[tuple[Tensor, Tensor, int]], batch: int
    ) -> Tensor:
        """As `attend` to all tokens of several parts, [batch, N, C]; where `attends_in_parts`.

        query [1, heads, N, d]. parts: key and value, [1 or batch, heads, M, d], and how often each
        of their tokens is there; a part may be empty, not all of them.
        """
        out = log_sum = None
        for key, value, times in parts:
            if key.shape[2] == 0:  # no softmax over nothing
                continue
            read, read_sum = _attend_with_sum(query.expand(len(key), -1, -1, -1), key, value)
            read, read_sum = read.float(), read_sum + math.log(times)
            if out is None:
                out, log_sum = read, read_sum
                continue
            out = read + torch.sigmoid(log_sum - read_sum).unsqueeze(-1) * (out - read)
            log_sum = torch.logaddexp(log_sum, read_sum)
        out = out.to(query.dtype).expand(batch, -1, -1, -1)
        return self.out_proj(out.transpose(1, 2).flatten(2))


def attends_in_parts(device: torch.device) -> bool:
    """Whether this build of PyTorch hands out what attention to parts is put together by."""
    return device.type == "cpu" and hasattr(torch.ops.aten, _FLASH_ON_CPU)


_FLASH_ON_CPU = "_scaled_dot_product_flash_attention_for_cpu"


def _attend_with_sum(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Attention [B, heads, N, d], and the log of each softmax's denominator, [B, heads, N]."""
    return getattr(torch.ops.aten, _FLASH_ON_CPU)(query, key, value)


ROWS = 256
"""Queries at a time: their scores stay near the processor."""


def _attends_by_rows(query: Tensor) -> bool:
    """Whether this processor multiplies bfloat16 fast in large products alone.

    torch's CPU attention makes small ones, which are fast with AMX.
    """
    if query.device.type != "cpu" or query.dtype != torch.bfloat16 or query.requires_grad:
        return False
    return cpu_has("avx512_bf16") and not cpu_has("amx_tile")


def _attend_by_rows(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Scaled dot-product attention, some queries of a head at a time, without gradients."""
    query = query * query.shape[-1] ** -0.5
    batch, heads, count, depth = query.shape
    out = query.new_empty(batch, count, heads, depth).transpose(1, 2)
    scores = query.new_empty(min(ROWS, count), key.shape[2])
    for b, h in itertools.product(range(batch), range(heads)):
        transposed, read = key[b, h].t(), value[b, h]
        for some, result in zip(query[b, h].split(ROWS), out[b, h].split(ROWS), strict=True):
            weights = torch.mm(some, transposed, out=scores[: len(some)])
            torch.mm(torch.softmax(weights, -1, out=weights), read, out=result)
    return out


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
