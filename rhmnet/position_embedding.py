"""Learned position embedding: one vector a row, one a column."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class PositionEmbedding(nn.Module):
    """P of docs/method.md, section 1: rows x columns as trained, resized where tokens are more.

    rows, columns: tokens of a training crop's sides (24 for 384 pixels). dim: C.
    """

    def __init__(self, rows: int, columns: int, dim: int) -> None:
        super().__init__()
        self.row_embed = nn.Parameter(torch.rand(rows, dim // 2))
        self.col_embed = nn.Parameter(torch.rand(columns, dim // 2))

    def forward(self, height: int, width: int) -> Tensor:
        """[height * width, C], the column's embedding first."""
        rows, columns = self.row_embed, self.col_embed
        fits = height <= len(rows) and width <= len(columns)
        if fits:
            rows, columns = rows[:height], columns[:width]
        grid = torch.cat(
            [
                columns[None].expand(len(rows), -1, -1),
                rows[:, None].expand(-1, len(columns), -1),
            ],
            dim=-1,
        )
        if not fits:
            grid = functional.interpolate(
                grid.permute(2, 0, 1)[None], (height, width), mode="bilinear", align_corners=True
            )[0].permute(1, 2, 0)
        return grid.flatten(0, 1)
