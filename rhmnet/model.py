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

from rhmnet.arithmetic import one_hot, valid_objects
from rhmnet.config import STRIDE, Config, check_config
from rhmnet.feature_extractor import FeatureExtractor
from rhmnet.matching import MemoryReader
from rhmnet.memory_bank import MemoryBank, ReliabilityLevel
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
    entire_target,
    reliable_region,
)
from rhmnet.state_dict import load_backbone
from rhmnet.structures import (
    ClipPrediction,
    EncodedFrame,
    Expansion,
    FrameFeatures,
    MemoryEntry,
    Objects,
    SkipFeatures,
)


class RHMNet(nn.Module):
    """Reliability-guided hierarchical memory network (the paper's framework figure)."""

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

    def set_precision(self, dtype: torch.dtype) -> None:
        """Keep weights in a precision, in place; pixels are normalised in float32 all the same."""
        extractor = self.feature_extractor
        mean, std = extractor.mean, extractor.std
        self.to(dtype)
        extractor.mean, extractor.std = mean, std

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
            entries.append(reader.project(memory))
        return entries

    def new_bank(self, initial: list[MemoryEntry], max_length: int | None = None) -> MemoryBank:
        """A bank that holds the initial memory. max_length: stored frames kept a step and level."""
        return MemoryBank(initial, max_length)

    def expand(self, frame: EncodedFrame, bank: MemoryBank, objects: Objects) -> Expansion:
        """First the reliable region, then from it and all of the memory the entire target."""
        config, position = self.config, frame.position
        valid, absent = objects.valid, objects.absent
        tokens = frame.tokens.repeat_interleave(valid.shape[1], dim=0)
        tokens, logits = self.read_and_segment(0, tokens, frame, bank[0].read(), objects)
        reliable_logits = logits.view(*valid.shape, *logits.shape[2:])
        reliable_prob = reliable_region(reliable_logits, valid, absent)
        reliable_memory = memory = self.label_embedding.attach(
            frame.tokens + position,
            self._soft_labels(reliable_prob, config.refine_threshold[0], HEAD_STRIDE),
            ReliabilityLevel.RELIABLE,
            background=False,
        )

        entire_probs, full_probs, entire_features = [], [], []
        for step in range(1, 1 + config.refine_layers):
            tokens = self.encoders[step](tokens, position)
            feature = tokens + position
            current = self.readers[step].project(memory) if bank[step].reads_current else None
            tokens, logits = self.read_and_segment(
                step, tokens, frame, bank[step].read(current), objects
            )
            prob, full_prob = entire_target(logits, valid, config.upsample_logits, absent)
            entire_probs.append(prob)
            full_probs.append(full_prob)
            entire_features.append(feature)
            if step < config.refine_layers:  # what the next step reads of this one
                labels = self._soft_labels(prob, config.refine_threshold[step])
                memory = self.label_embedding.attach(feature, labels, step + 1, True, absent)
        return Expansion(
            *(reliable_logits, reliable_prob, entire_probs, full_probs),
            *(reliable_memory, entire_features, absent, logits),
        )

    def read_and_segment(
        self, step: int, tokens: Tensor, frame: EncodedFrame, memory: MemoryEntry, objects: Objects
    ) -> tuple[Tensor, Tensor]:
        """Tokens [B * O, N, C] after a step's reading, and their logits [B * O, ..., H/4, W/4]."""
        tokens = self.readers[step](tokens, frame.position, memory)
        head, skips = self.head(step, frame)
        return tokens, head(tokens, skips)

    def head(self, step: int, frame: EncodedFrame) -> tuple[SegmentationHead, SkipFeatures]:
        """A step's head, and the frame's features as it takes them."""
        if step == 0:
            return self.reliable_head, frame.reliable_skips
        index = (step - 1) % len(self.entire_heads)
        return self.entire_heads[index], frame.entire_skips[index]

    def memorize_reliable(self, bank: MemoryBank, expansion: Expansion, store: bool) -> None:
        """Write the reliable region: stored for good, or in place of the last frame's."""
        memory = expansion.reliable_memory
        entry = self.readers[0].project(memory)
        if not store:
            bank[0].replace_last(entry)
            return
        bank[0].store(ReliabilityLevel.RELIABLE, entry)
        if self.config.scribble_memory_for_mask:
            for step in range(1, len(self.readers)):
                entry = self.readers[step].project(memory)
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
                feature, labels, level + step - 1, True, expansion.absent
            )
            entry = self.readers[step].project(memory)
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
        bank = self.new_bank(self.initial_memory(clip[0], scribble, valid.shape[1]))
        expansions = []
        for t, frame in enumerate(clip):
            expansion = self.expand(frame, bank, Objects(valid))
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
