"""Multi-head attention whose projections are separate steps, so that memory is projected once."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from rhmnet.arithmetic import scaled_attention


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
        return self.join_heads(scaled_attention(query, key, value, dropout))

    def join_heads(self, values: Tensor) -> Tensor:
        """[B, heads, N, C / heads] -> [B, N, C], by the output projection."""
        return self.out_proj(values.transpose(1, 2).flatten(2))
