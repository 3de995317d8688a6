"""Tracking as docs/method.md says it, section by section, in as many steps as it takes.

An independent reading to compare the network with: no shared banks, no projections kept, all K
channels made. Of the network it takes the layers with learned weights alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rhmnet.config import Config
from rhmnet.model import RHMNet

BACKGROUND = 255


class Frame(NamedTuple):
    """Section 1."""

    embedding: Tensor
    """F, [C, h, w]."""
    position: Tensor
    """P, [N, C]."""
    skips: tuple[Tensor, ...]
    """layer1, layer2, layer3, [1, C, H / s, W / s]."""


class Predicted(NamedTuple):
    """Sections 4 and 5: all that one frame leads to. Channels: objects, background last."""

    reliable: Tensor
    """[O + 1, H / 4, W / 4]."""
    entire: list[Tensor]
    """[O + 1, H, W] of each entire-target step."""
    pooled: list[Tensor]
    """What of them is pooled into memory: at stride 4 without `upsample_logits`."""
    marked_reliable: Tensor
    """The reliable region's memory, [O, N, C]."""
    features: list[Tensor]
    """m of each entire-target step, [O, N, C]."""


class Bank:
    """Section 3: what one step may read, by name. Lists of [O, N, C]."""

    def __init__(self, initial: Tensor, limit: int | None) -> None:
        self.initial, self.limit = initial, limit
        self.reliable: list[Tensor] = []
        self.entire: list[Tensor] = []
        self.last: Tensor | None = None

    def keep(self, entries: list[Tensor], new: Tensor) -> None:
        entries.append(new)
        if self.limit is not None and len(entries) > self.limit:
            del entries[1]

    def everything(self, current: Tensor | None) -> Tensor:
        parts = [self.initial, *self.reliable, *self.entire]
        if current is not None and self.entire:
            parts.append(current)
        if self.last is not None:
            parts.append(self.last)
        return torch.cat(parts, dim=1)


class Book:
    """One network, read out of the book."""

    def __init__(self, model: RHMNet, config: Config) -> None:
        self.net, self.model, self.test = model, config.model, config.test
        self.steps = 1 + config.model.refine_layers

    # sections 1 and 2

    def frame(self, image: Tensor) -> Frame:
        """image: normalised [3, H, W], padded."""
        s4, s8, s16, embedding = self.net.feature_extractor(image[None])
        rows = self.net.position_embedding.row_embed
        columns = self.net.position_embedding.col_embed
        height, width = embedding.shape[2:]
        grid = torch.empty(len(rows), len(columns), 2 * rows.shape[1])
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                grid[i, j] = torch.cat([column, row])
        if height <= len(rows) and width <= len(columns):
            grid = grid[:height, :width]
        else:
            size = (height, width)
            grid = grid.permute(2, 0, 1)[None]
            grid = F.interpolate(grid, size, mode="bilinear", align_corners=True)[0].permute(
                1, 2, 0
            )
        return Frame(embedding[0], grid.reshape(height * width, -1), (s4, s8, s16))

    def encode(self, step: int, x: Tensor, position: Tensor) -> Tensor:
        encoder = self.net.encoders[step]
        return encoder.norm(x + attend(encoder.self_attn, x + position, x + position, x))

    def first_tokens(self, frame: Frame) -> Tensor:
        """x after step 0's encoding, [1, N, C]."""
        return self.encode(0, frame.embedding.flatten(1).T[None], frame.position)

    def mark(self, m: Tensor, labels: Tensor, level: int, background: bool) -> Tensor:
        """m [1 or O, N, C], labels [O + 1, N] -> [O, N, C]."""
        embedding = self.net.label_embedding
        row = level if self.model.level_embedding else 0
        marked = []
        for i in range(len(labels) - 1):
            memory = m[min(i, len(m) - 1)] + labels[i][:, None] * embedding.target[row]
            if background and self.model.bg_prototype:
                rest = sum(labels[j] for j in range(len(labels)) if j != i)
                memory = memory + rest[:, None] * embedding.background[row]
            marked.append(memory)
        return torch.stack(marked)

    def scribble_labels(self, frame: Frame, scribble: Tensor, num_objects: int) -> Tensor:
        """[O + 1, N]."""
        values = [*range(1, num_objects + 1), BACKGROUND]
        ratios = F.avg_pool2d(torch.stack([(scribble == v).float() for v in values])[None], 16)[0]
        if self.model.local_similarity:
            return torch.stack([local(r, frame.embedding) for r in ratios]).flatten(1)
        if self.model.use_similarity:
            return torch.stack([similar(r, frame.embedding) for r in ratios]).flatten(1)
        return ratios.flatten(1)

    def initial(self, frame: Frame, scribble: Tensor, num_objects: int, bg: bool) -> list[Tensor]:
        labels = self.scribble_labels(frame, scribble, num_objects)
        x, memories = self.first_tokens(frame), []
        for step in range(self.steps):
            if step:
                x = self.encode(step, x, frame.position)
            memories.append(self.mark(x + frame.position, labels, 0, bg))
        return memories

    # sections 4 to 6

    def read(self, step: int, x: Tensor, position: Tensor, memory: Tensor) -> Tensor:
        reader = self.net.readers[step]
        x = x + position
        x = reader.norm1(x + attend(reader.cross_attn, x, memory, memory))
        return reader.norm2(x + reader.linear2(F.relu(reader.linear1(x))))

    def head(self, head: nn.Module, x: Tensor, frame: Frame) -> Tensor:
        """[O, channels, H / 4, W / 4]."""
        s4, s8, s16 = frame.skips
        y = x.transpose(1, 2).unflatten(2, s16.shape[2:])
        y = F.relu(head.conv_in.norm(head.conv_in.conv(y))) + head.adapter_s16(s16)
        for conv, adapter, skip in (
            (head.conv_s16, head.adapter_s8, s8),
            (head.conv_s8, head.adapter_s4, s4),
        ):
            y = F.relu(conv.norm(conv.conv(y)))
            y = enlarge(y, skip.shape[2:]) + adapter(skip)
        return head.conv_out(F.relu(head.conv_s4.norm(head.conv_s4.conv(y))))

    def logits(self, prob: Tensor, valid: list[bool]) -> Tensor:
        """Soft aggregation up to the softmax: [O, H, W] -> K channels."""
        num_objects = len(prob)
        channels = torch.zeros(max(12, num_objects + 2), *prob.shape[1:])
        channels[1 : num_objects + 1] = prob * torch.tensor(valid)[:, None, None]
        channels[-1] = (1 - channels[1 : num_objects + 1]).prod(0)
        channels = channels.clamp(1e-7, 1 - 1e-7)
        return (channels / (1 - channels)).log()

    def expand(self, frame: Frame, banks: list[Bank], valid: list[bool]) -> Predicted:
        model, num_objects, position = self.model, len(valid), frame.position
        x = self.first_tokens(frame)
        m = x + position
        x = self.read(0, x.repeat(num_objects, 1, 1), position, banks[0].everything(None))
        prob = self.head(self.net.reliable_head, x, frame)[:, 0].sigmoid()
        reliable = channels_of(self.logits(prob, valid), num_objects)
        labels = self.pool(reliable, model.refine_threshold[0], 4)
        marked = current = self.mark(m, labels, 1, background=False)
        entire, pooled, features = [], [], []
        for k in range(1, self.steps):
            x = self.encode(k, x, position)
            features.append(x + position)
            x = self.read(k, x, position, banks[k].everything(current))
            heads = self.net.entire_heads
            two = self.head(heads[k - 1] if model.separate_heads else heads[0], x, frame)
            size = (4 * two.shape[2], 4 * two.shape[3])
            if model.upsample_logits:
                two = enlarge(two, size)
            logits = self.logits(two.softmax(1)[:, 0], valid)
            pooled.append(channels_of(logits, num_objects))
            entire.append(channels_of(enlarge(logits[None], size)[0], num_objects))
            if k + 1 < self.steps:
                labels = self.pool(pooled[-1], model.refine_threshold[k], self.stride)
                current = self.mark(features[-1], labels, k + 1, background=True)
        return Predicted(reliable, entire, pooled, marked, features)

    @property
    def stride(self) -> int:
        return 1 if self.model.upsample_logits else 4

    def pool(self, prob: Tensor, threshold: float, stride: int) -> Tensor:
        kept = prob.clone()
        kept[prob <= threshold] = 0
        return F.avg_pool2d(kept[None], 16 // stride)[0].flatten(1)

    def store_reliable(self, banks: list[Bank], out: Predicted) -> None:
        banks[0].keep(banks[0].reliable, out.marked_reliable)
        if self.model.scribble_memory_for_mask:
            for bank in banks[1:]:
                bank.keep(bank.reliable, out.marked_reliable)

    def marked_entire(self, out: Predicted, level: int, threshold: float) -> list[Tensor]:
        labels = self.pool(out.pooled[-1], threshold, self.stride)
        return [self.mark(m, labels, level + k, True) for k, m in enumerate(out.features)]

    # whole videos

    @torch.no_grad()
    def track(
        self, video: np.ndarray, strokes: dict[int, np.ndarray], num_objects: int
    ) -> list[tuple[Tensor, Tensor]]:
        """Inference: the entire target and the reliable region of each frame, [O + 1, H, W].

        strokes: {index of a frame: scribble}, the first on frame 0, later ones of new objects.
        """
        test, found, banks = self.test, [], []
        valid = [bool((strokes[0] == n).any()) for n in range(1, num_objects + 1)]
        height, width = video.shape[1:3]
        top, left = (-height % 16) // 2, (-width % 16) // 2
        margins = (left, -width % 16 - left, top, -height % 16 - top)
        for t, image in enumerate(video):
            frame = self.frame(F.pad(normal(image), margins))
            scribble = F.pad(torch.from_numpy(strokes.get(t, strokes[0] * 0)), margins)
            if t == 0:
                first = self.initial(frame, scribble, num_objects, test.using_initial_bg)
                banks = [Bank(memory, test.max_memory_length) for memory in first]
            elif t in strokes:
                scribble[scribble == BACKGROUND] = 0
                new = self.initial(frame, scribble, num_objects, test.using_initial_bg)
                for n in range(1, num_objects + 1):
                    if (scribble == n).any():
                        valid[n - 1] = True
                        for bank, memory in zip(banks, new, strict=True):
                            bank.initial = bank.initial.clone()
                            bank.initial[n - 1] = memory[n - 1]
            out = self.expand(frame, banks, valid)
            if t % test.scribble_update_frequency == 0:
                self.store_reliable(banks, out)
            elif test.require_last_scribble:
                banks[0].last = out.marked_reliable
            marked = self.marked_entire(out, test.stored_level, test.stored_threshold)
            for bank, memory in zip(banks[1:], marked, strict=True):
                if t % test.update_frequency == 0:
                    bank.keep(bank.entire, memory)
                elif test.require_last:
                    bank.last = memory
            size = (height + sum(margins[2:]), width + sum(margins[:2]))
            rows, columns = slice(top, top + height), slice(left, left + width)
            reliable = enlarge(out.reliable[None], size)[0]
            found.append((out.entire[-1][:, rows, columns], reliable[:, rows, columns]))
        return found

    @torch.no_grad()
    def train(self, frames: Tensor, scribble: Tensor, num_objects: int) -> list[Predicted]:
        """A clip as in training: uint8 [T, 3, H, W], every frame stored."""
        encoded = [self.frame(normal(image.permute(1, 2, 0).numpy())) for image in frames]
        banks = [Bank(m, None) for m in self.initial(encoded[0], scribble, num_objects, True)]
        found = []
        for frame in encoded:
            found.append(self.expand(frame, banks, [True] * num_objects))
            self.store_reliable(banks, found[-1])
            marked = self.marked_entire(found[-1], 2, self.model.object_threshold)
            for bank, memory in zip(banks[1:], marked, strict=True):
                bank.keep(bank.entire, memory)
        return found


def normal(image: np.ndarray) -> Tensor:
    """uint8 RGB [H, W, 3] -> [3, H, W] with ImageNet's statistics."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((torch.from_numpy(image.copy()) / 255 - mean) / std).permute(2, 0, 1)


def attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    theirs = nn.MultiheadAttention(query.shape[-1], module.num_heads, batch_first=True)
    theirs.load_state_dict(module.state_dict())
    return theirs(query, key, value, need_weights=False)[0]


def enlarge(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=True)


def channels_of(logits: Tensor, num_objects: int) -> Tensor:
    """Softmax over K channels; those of objects, then background."""
    prob = logits.softmax(0)
    return torch.cat([prob[1 : num_objects + 1], prob[-1:]])


def similar(ratio: Tensor, embedding: Tensor) -> Tensor:
    """`use_similarity`, one channel: ratio [h, w], embedding [C, h, w]."""
    weight = torch.where(ratio >= 0.211, ratio, 0)
    if not weight.any():
        weight = torch.where(ratio == ratio.max(), ratio, 0)
    mean = (weight * embedding).sum((1, 2)) / (weight.sum() + 1e-8)
    cosine = F.cosine_similarity(mean[:, None, None], embedding, dim=0)
    return torch.where((ratio > 0) & (ratio >= 0.15), cosine, 0)


def local(ratio: Tensor, embedding: Tensor) -> Tensor:
    """`local_similarity`, one channel."""
    kept = ratio > 0.15
    if not kept.any():
        kept = (ratio == ratio.max()) & (ratio != 0)
    height, width = ratio.shape
    found = torch.zeros_like(ratio)
    for y in range(height):
        for x in range(width):
            best = []
            for dy in range(-2, 3):
                for dx in range(-2, 3):
                    i, j = y + dy, x + dx
                    inside = 0 <= i < height and 0 <= j < width
                    if (dy, dx) == (0, 0):
                        continue
                    if not (inside and kept[y, x] and kept[i, j]):
                        best.append(torch.zeros(()))
                        continue
                    best.append(F.cosine_similarity(embedding[:, y, x], embedding[:, i, j], dim=0))
            found[y, x] = max(best)
    return found
