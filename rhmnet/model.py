"""RHMNet: a frame is encoded, expanded step by step from memory, and memorized.

    encode_frame      frame -> features, tokens
    initial_memory    tokens, scribble -> the memory of highest reliability, for every step
    expand            tokens, memory -> reliable region -> entire target
    memorize_...      prediction -> memory that later frames read

Training unrolls these four over a clip (`forward`), the tracker over a video.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rhmnet.config import STRIDE, Config, check_config
from rhmnet.feature_extractor import FeatureExtractor
from rhmnet.labels import one_hot, valid_objects
from rhmnet.matching import MemoryReader
from rhmnet.memory_bank import MemoryBank, MemoryEntry, ReadMemory, ReliabilityLevel
from rhmnet.memory_encoder import (
    LabelEmbedding,
    MemoryEncoder,
    local_similarity_labels,
    pool_labels,
    similarity_labels,
)
from rhmnet.position_embedding import PositionEmbedding
from rhmnet.segmentation_head import (
    HEAD_STRIDE,
    SegmentationHead,
    channel_odds,
    channel_softmax,
    entire_target,
)
from rhmnet.state_dict import load_backbone
from rhmnet.structures import (
    ClipPrediction,
    EncodedFrame,
    Expansion,
    FrameFeatures,
    Rows,
    SkipFeatures,
)


class RHMNet(nn.Module):
    """Reliability-guided hierarchical memory network (the paper's framework figure)."""

    shares_tokens = False
    """Whether banks for tracking keep once what the first step would read several times."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        check_config(config, "RHMNet")
        self.config = model = config.model
        dim, steps = model.hidden_dim, 1 + model.refine_layers
        self.feature_extractor = FeatureExtractor(model.backbone, dim)
        self.position_embedding = PositionEmbedding(
            config.data.crop_size[0] // STRIDE, config.data.crop_size[1] // STRIDE, dim
        )
        self.label_embedding = LabelEmbedding(
            1 + steps, dim, model.bg_prototype, one_per_level=model.level_embedding
        )
        self.encoders = nn.ModuleList(
            MemoryEncoder(dim, model.num_heads, model.dropout) for _ in range(steps)
        )
        self.readers = nn.ModuleList(
            MemoryReader(
                dim, model.num_heads, model.feedforward_dim, model.dropout, model.tied_matching
            )
            for _ in range(steps)
        )
        channels = self.feature_extractor.channels
        self.reliable_head = SegmentationHead(channels, dim, 1, model.norm)
        self.entire_heads = nn.ModuleList(
            SegmentationHead(channels, dim, 2, model.norm)
            for _ in range(model.refine_layers if model.separate_heads else 1)
        )
        nn.init.constant_(self.reliable_head.conv_out.bias, -math.log(99.0))

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return self.position_embedding.row_embed.device

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights, and of the images that it takes."""
        return self.position_embedding.row_embed.dtype

    def encode_frame(self, images: Tensor) -> EncodedFrame:
        """images: normalised RGB, [B, 3, H, W], H and W multiples of 16."""
        features = self.feature_extractor(images)
        position = self.position_embedding(*features.embedding.shape[-2:])
        skips = features[:3]
        return EncodedFrame(
            features,
            position,
            self.encoders[0](_flatten(features.embedding), position),
            self.reliable_head.adapt(*skips),
            tuple(head.adapt(*skips) for head in self.entire_heads),
        )

    def initial_memory(
        self, frame: EncodedFrame, scribble: Tensor, num_objects: int, background: bool = True
    ) -> list[MemoryEntry]:
        """Memory of level 0 for every step, from strokes on a frame.

        scribble: uint8 [B, H, W], 0 unlabelled, 1..O objects, 255 background.
        background: whether the background term is attached (`test.using_initial_bg`).
        """
        labels = self.scribble_labels(frame, scribble, num_objects).flatten(2)
        tokens, entries = frame.tokens, []
        for step, reader in enumerate(self.readers):
            if step > 0:
                tokens = self.encoders[step](tokens, frame.position)
            memory = self.label_embedding.attach(
                tokens + frame.position, labels, ReliabilityLevel.INITIAL, background
            )
            entries.append(MemoryEntry(*reader.project(memory)))
        return entries

    def bounded_bank(self, initial: list[MemoryEntry], max_length: int) -> MemoryBank:
        """An empty bank for tracking, which keeps max_length stored frames per step and level."""
        return MemoryBank(
            initial,
            max_length,
            1 + self.config.scribble_memory_for_mask,
            share=self.shares_tokens,
        )

    def expand(
        self,
        frame: EncodedFrame,
        bank: MemoryBank,
        valid: Tensor,
        at_once: int | None = None,
        rows: Rows | None = None,
    ) -> Expansion:
        """First the reliable region, then from it and all of the memory the entire target.

        valid: bool [B, O]; the probability of other objects is zero.
        at_once: objects read and segmented together, to bound what many of them take; for B = 1.
        rows: what the O rows stand for, where not each for an object; for B = 1.
        """
        config, position = self.config, frame.position
        num_objects, copies = (None, 1) if rows is None else (rows.num_objects, rows.copies)
        tokens = frame.tokens.repeat_interleave(valid.shape[1], dim=0)
        tokens, reliable_logits = self._read_and_segment(
            0,
            *(tokens, position, bank[0].read(), self.reliable_head, frame.reliable_skips),
            *(at_once, rows),
        )
        reliable_logits = reliable_logits.view(*valid.shape, *reliable_logits.shape[2:])
        reliable_prob = channel_softmax(
            channel_odds(reliable_logits.float().sigmoid(), valid), num_objects
        )
        reliable_memory = memory = self.label_embedding.attach(
            frame.tokens + position,
            self._soft_labels(reliable_prob, config.refine_threshold[0], HEAD_STRIDE),
            ReliabilityLevel.RELIABLE,
            background=False,
        )

        entire_probs, full_probs, entire_features = [], [], []
        for step in range(1, 1 + config.refine_layers):
            reader, step_memory = self.readers[step], bank[step]
            tokens = self.encoders[step](tokens, position)
            feature = tokens + position
            current = MemoryEntry(*reader.project(memory)) if step_memory.reads_current else None
            index = (step - 1) % len(self.entire_heads)
            head, skips = self.entire_heads[index], frame.entire_skips[index]
            tokens, logits = self._read_and_segment(
                *(step, tokens, position, step_memory.read(current), head, skips),
                *(at_once, rows),
            )
            prob, full_prob = entire_target(logits, valid, config.upsample_logits, num_objects)
            entire_probs.append(prob)
            full_probs.append(full_prob)
            entire_features.append(feature)
            if step < config.refine_layers:
                labels = self._soft_labels(prob, config.refine_threshold[step])
                memory = self.label_embedding.attach(feature, labels, step + 1, True, copies)
        return Expansion(
            *(reliable_logits, reliable_prob, entire_probs, full_probs),
            *(reliable_memory, entire_features, copies),
        )

    def _read_and_segment(
        self,
        step: int,
        tokens: Tensor,
        position: Tensor,
        memory: ReadMemory,
        head: SegmentationHead,
        skips: SkipFeatures,
        at_once: int | None,
        rows: Rows | None,
    ) -> tuple[Tensor, Tensor]:
        """Tokens [B * O, N, C] after reading, and their logits [B * O, ..., H/4, W/4].

        Logits of rows that are not live are zero; what they read is left out in the last step.
        """
        count = len(tokens)
        live = slice(None) if rows is None else rows.live
        last = step == self.config.refine_layers
        if last:
            tokens = tokens[live]
            memory = memory._replace(own=MemoryEntry(*(x[live] for x in memory.own)))
        read = []
        for some, key, value in zip(
            *(x.split(at_once or len(tokens)) for x in (tokens, *memory.own)), strict=True
        ):
            read.append(self.readers[step](some, position, key, value, memory.common))
        tokens = read[0] if len(read) == 1 else torch.cat(read)
        # a CPU segments them faster one by one: their feature maps stay small
        each = 1 if at_once and tokens.device.type == "cpu" else at_once or count
        some = tokens if last else tokens[live]
        logits = torch.cat([head(x, skips) for x in some.split(each)])
        if len(logits) < count:
            segmented, logits = logits, logits.new_zeros(count, *logits.shape[1:])
            logits[live] = segmented
        return tokens, logits

    def memorize_reliable(self, bank: MemoryBank, expansion: Expansion, store: bool) -> None:
        """Write the reliable region: stored for good, or in place of the last frame's."""
        memory = expansion.reliable_memory
        entry = MemoryEntry(*self.readers[0].project(memory))
        if not store:
            bank[0].replace_last(entry)
            return
        bank[0].store(ReliabilityLevel.RELIABLE, entry)
        if self.config.scribble_memory_for_mask:
            for step in range(1, len(self.readers)):
                entry = MemoryEntry(*self.readers[step].project(memory))
                bank[step].store(ReliabilityLevel.RELIABLE, entry)

    def memorize_entire(
        self, bank: MemoryBank, expansion: Expansion, store: bool, level: int, threshold: float
    ) -> None:
        """Write the entire target: stored for good, or in place of the last frame's.

        level: label embedding of the first entire-target step, one more for each further step.
        threshold: probabilities up to it are zeroed.
        """
        labels = self._soft_labels(expansion.entire_probs[-1], threshold)
        for step, feature in enumerate(expansion.entire_features, start=1):
            memory = self.label_embedding.attach(
                feature, labels, level + step - 1, True, expansion.copies
            )
            entry = MemoryEntry(*self.readers[step].project(memory))
            if store:
                bank[step].store(ReliabilityLevel.ENTIRE, entry)
            else:
                bank[step].replace_last(entry)

    def forward(
        self,
        frames: Tensor,
        first_scribble: Tensor,
        num_objects: Tensor,
        last_scribble: Tensor | None = None,
    ) -> ClipPrediction:
        """Track through clips as in training, where every frame is stored.

        frames: uint8 [B, T, 3, H, W], RGB, H and W multiples of 16.
        first_scribble, last_scribble: uint8 [B, H, W] of the first and the last frame. With the
        latter the clip is also run backwards, without gradients, for the consistency loss.
        num_objects: int64 [B]; keep it on the CPU, its largest value is needed here.
        """
        images = self.feature_extractor.normalize(frames.flatten(0, 1))
        encoded = self.encode_frame(images)
        valid = valid_objects(num_objects.to(frames.device), int(num_objects.max()))
        steps = self._unroll(encoded, first_scribble, valid)
        backward_prob = None
        if last_scribble is not None:
            with torch.no_grad():
                # features and skips have no dropout in them; the tokens do, so they are drawn anew
                tokens = _flatten(encoded.features.embedding)
                encoded = encoded._replace(tokens=self.encoders[0](tokens, encoded.position))
                backward = self._unroll(encoded, last_scribble, valid, reverse=True)
                backward_prob = _entire_prob_of(backward)
        return ClipPrediction(
            torch.stack([step.reliable_logits_s4 for step in steps], dim=1),
            torch.stack([step.reliable_prob_s4 for step in steps], dim=1),
            _entire_prob_of(steps),
            backward_prob,
            valid,
        )

    def _unroll(
        self, encoded: EncodedFrame, scribble: Tensor, valid: Tensor, reverse: bool = False
    ) -> list[Expansion]:
        """Expansions of a clip's frames in time order. encoded: of all B * T frames."""
        clip = _split_time(encoded, len(valid))
        if reverse:
            clip = clip[::-1]
        bank = MemoryBank(self.initial_memory(clip[0], scribble, valid.shape[1]))
        expansions = []
        for t, frame in enumerate(clip):
            expansion = self.expand(frame, bank, valid)
            expansions.append(expansion)
            if t == len(clip) - 1:  # nothing reads what the last frame would store
                break
            self.memorize_reliable(bank, expansion, store=True)
            self.memorize_entire(
                bank,
                expansion,
                store=True,
                level=ReliabilityLevel.ENTIRE,
                threshold=self.config.object_threshold,
            )
        return expansions[::-1] if reverse else expansions

    def scribble_labels(self, frame: EncodedFrame, scribble: Tensor, num_objects: int) -> Tensor:
        """Soft labels [B, O + 1, h, w] of an initial scribble, uint8 [B, H, W]: its similarity map.

        In [-1, 1] with similarity, the share of each cell under the stroke without.
        """
        embedding = frame.features.embedding
        ratio = pool_labels(one_hot(scribble, num_objects), STRIDE)
        if self.config.local_similarity:
            return local_similarity_labels(ratio, embedding)
        if self.config.use_similarity:
            return similarity_labels(ratio, embedding)
        return ratio

    def _soft_labels(self, prob: Tensor, threshold: float, stride: int | None = None) -> Tensor:
        """Soft labels [B, O + 1, N] of a prediction, zeroed up to the threshold.

        stride: pixels per cell of the prediction; by default that of the entire target's.
        """
        if stride is None:
            stride = 1 if self.config.upsample_logits else HEAD_STRIDE
        kept = torch.where(prob > threshold, prob, 0) if threshold > 0 else prob
        return pool_labels(kept, STRIDE // stride).flatten(2)


def build_model(config: Config) -> RHMNet:
    """A network with the configuration's backbone weights and everything else random."""
    model = RHMNet(config)
    if config.model.pretrained != "none":
        load_backbone(model.feature_extractor, config.model.backbone, config.model.pretrained)
    return model


def _entire_prob_of(steps: list[Expansion]) -> Tensor:
    """[B, T, R, O + 1, H, W]."""
    return torch.stack([torch.stack(step.full_probs, dim=1) for step in steps], dim=1)


def _flatten(maps: Tensor) -> Tensor:
    """[B, C, h, w] -> tokens [B, N, C]."""
    return maps.flatten(2).transpose(1, 2)


def _split_time(encoded: EncodedFrame, batch: int) -> list[EncodedFrame]:
    """One EncodedFrame of B clips per time step, from one of B * T frames."""

    def at(t: int, x: Tensor) -> Tensor:
        return x.view(batch, -1, *x.shape[1:])[:, t]

    def skips_at(t: int, skips: SkipFeatures) -> SkipFeatures:
        return SkipFeatures(*(at(t, x) for x in skips))

    return [
        EncodedFrame(
            FrameFeatures(*(at(t, x) for x in encoded.features)),
            encoded.position,
            at(t, encoded.tokens),
            skips_at(t, encoded.reliable_skips),
            tuple(skips_at(t, skips) for skips in encoded.entire_skips),
        )
        for t in range(len(encoded.tokens) // batch)
    ]
