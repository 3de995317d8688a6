"""Memory reading: the current frame's tokens attend to what the bank lets them see."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from rhmnet.attention import Dropout, MultiHeadAttention


class MemoryReader(nn.Module):
    """Cross-attention and feed-forward of one expanding step (docs/method.md, section 4).

    tied: begin with the same random projection for queries and keys, twice as large, so that tokens
    attend to memory that looks like them from the first iteration on. Training from random weights
    on little data gets nowhere for long without it; with ImageNet's backbone nobody has tried it.
    """

    def __init__(
        self, dim: int, num_heads: int, feedforward_dim: int, dropout: float, tied: bool
    ) -> None:
        super().__init__()
        self.cross_attn = MultiHeadAttention(dim, num_heads, dropout)
        if tied:
            weight = self.cross_attn.in_proj_weight.data
            weight[:dim] *= 2
            weight[dim : 2 * dim] = weight[:dim]
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def project(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Key and value, each [B * O, heads, M, C / heads], of labelled memory [B * O, M, C]."""
        key, value = self.cross_attn.project(memory, 1, 3)
        return key, value

    def forward(
        self,
        tokens: Tensor,
        position: Tensor,
        key: Tensor,
        value: Tensor,
        common: Sequence[tuple[Tensor, Tensor, int]] = (),
    ) -> Tensor:
        """tokens [B * O, N, C], position [N, C], key and value as projected -> [B * O, N, C].

        common: further keys and values, [1, heads, M, C / heads], that all objects read, and how
        often; only where the tokens of all objects are the same.
        """
        tokens = tokens + position
        if common:
            (query,) = self.cross_attn.project(tokens[:1], 0, 1)
            parts = [*common, (key, value, 1)]
            read = self.cross_attn.attend_in_parts(query, parts, len(tokens))
        else:
            (query,) = self.cross_attn.project(tokens, 0, 1)
            read = self.cross_attn.attend(query, key, value)
        tokens = self.norm1(tokens + self.dropout(read))
        hidden = self.dropout(functional.relu(self.linear1(tokens), inplace=True))
        return self.norm2(tokens + self.dropout(self.linear2(hidden)))
