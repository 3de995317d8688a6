"""Memory reading: the current frame's tokens attend to what the bank lets them see."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from rhmnet.arithmetic import Dropout
from rhmnet.attention import MultiHeadAttention
from rhmnet.structures import MemoryEntry


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

    def project(self, memory: Tensor) -> MemoryEntry:
        """What the bank keeps of labelled memory [B * O, N, C]: its key and value."""
        return MemoryEntry(*self.cross_attn.project(memory, 1, 3))

    def forward(self, tokens: Tensor, position: Tensor, memory: MemoryEntry) -> Tensor:
        """tokens [B * O, N, C], position [N, C], memory of some frames -> tokens [B * O, N, C]."""
        tokens = tokens + position
        tokens = self.norm1(tokens + self.dropout(self.read(tokens, memory)))
        hidden = self.dropout(functional.relu(self.linear1(tokens), inplace=True))
        return self.norm2(tokens + self.dropout(self.linear2(hidden)))

    def read(self, tokens: Tensor, memory: MemoryEntry) -> Tensor:
        """Cross-attention of tokens [B * O, N, C] to memory, [B * O, N, C]."""
        (query,) = self.cross_attn.project(tokens, 0, 1)
        return self.cross_attn.attend(query, memory.key, memory.value)
