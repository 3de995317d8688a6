"""Configuration: frozen dataclasses, YAML files, `key=value` overrides.

Five groups, `model data train loss test`. The defaults are the release's values for
`video_training`; a YAML file under `configs/` states what differs, and an override on the command
line has the last word. Unknown, duplicate and ill-typed keys are refused, and values out of bounds;
help and bounds stand beside their fields, and `rhmnet config` prints them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rhmnet.config_yaml import find_config, merge, names_of, read_overrides, read_yaml
from rhmnet.errors import (
    MOST_SEED,
    InputError,
    Range,
    check_fields,
    choice,
    flag,
    number,
    numbers,
    text,
)
from rhmnet.labels import MAX_OBJECTS

BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101")
PRECISIONS = ("float32", "bfloat16", "float16")
AUTO = "auto"
"""As test.precision: the one of float32 and bfloat16 that the machine computes faster."""
SCHEDULES = ("poly", "step")
LOSS_MEANS = ("process", "batch")
STRIDE = 16
"""Pixels per token side; frames are padded to a multiple of it."""
SMALLEST_SIDE = 2 * STRIDE
"""Pixels: to which frames may be shrunk for the network."""
_PRETRAINED = "imagenet, none, or a torchvision state file"
_SHARE = Range(0, 1)
MOST_SIDE = 8192  # pixels, of frames and crops
_CROP_SIDE = Range(STRIDE, MOST_SIDE, multiple=STRIDE)


@dataclass(frozen=True)
class ModelConfig:
    """The network (docs/method.md, sections 1 to 6)."""

    backbone: str = choice("resnet50", "feature extractor", BACKBONES)
    pretrained: str = text("imagenet", "backbone weights", what=_PRETRAINED)
    hidden_dim: int = number(256, "C, features of a token", 32, 4096, multiple=32)
    num_heads: int = number(8, "attention heads; hidden_dim is a multiple of it", 1, 128)
    feedforward_dim: int = number(
        1024, "hidden features of a reading's feed-forward layer", 1, 65536
    )
    dropout: float = number(0.1, "probability, in attention and feed-forward", 0, 1, below=True)
    refine_layers: int = number(1, "entire-target steps after the reliable-region step", 1, 16)
    separate_heads: bool = flag(
        False, "one entire-target head for each of them (WITH_REFINE), or shared"
    )
    refine_threshold: tuple[float, ...] = numbers(
        (0.65, 0.95), "step k's probability, read by step k + 1", _SHARE, 1, 16
    )
    object_threshold: float = number(
        0.95, "probability below which a stored entire target is zeroed", 0, 1
    )
    use_similarity: bool = flag(True, "initial scribble spread by cosine similarity")
    local_similarity: bool = flag(False, "... within 5x5 windows instead of to the scribble's mean")
    bg_prototype: bool = flag(True, "attach the background term to memory")
    level_embedding: bool = flag(True, "one label embedding a reliability level, or one for all")
    scribble_memory_for_mask: bool = flag(
        False, "entire-target steps also read stored reliable regions"
    )
    upsample_logits: bool = flag(True, "entire target aggregated at full size, or at stride 4")
    norm: str = choice("gn", "the heads' norm: gn (8 groups) or bn", ("gn", "bn"))
    tied_matching: bool = flag(
        False, "random weights begin with equal queries and keys (not the release's)"
    )


@dataclass(frozen=True)
class DataConfig:
    """Data sets and clips (docs/method.md, sections 7 and 8)."""

    root: str = text("datasets", "folder that holds COCO, DAVIS and Youtube-VOS")
    crop_size: tuple[int, ...] = numbers(
        (384, 384), "height, width of a training clip, pixels", _CROP_SIDE, 2, 2
    )
    clip_length: int = number(3, "T, frames", 2, 1000)
    max_objects: int = number(3, "objects drawn per clip", 1, MAX_OBJECTS)
    short_side: int = number(480, "frames are resized to it before cropping, pixels", 16, MOST_SIDE)
    minimum_area: int = number(
        100, "every frame keeps more background strokes than this, pixels", 0, 10**8
    )
    object_area: int = number(
        100, "... and more object strokes; an object drawn has more, pixels", 0, 10**8
    )
    translate: int = number(15, "video frames are moved by up to this, each way, pixels", 0, 8192)
    crop_drift: int = number(
        20, "the crop moves by up to this from frame to frame, each way, pixels", 0, 8192
    )
    max_tries: int = number(20, "crops tried per draw before another draw", 1, 10**6)
    frame_draws: int = number(10, "draws of frames from one video before another video", 1, 10**6)
    max_redraws: int = number(
        500, "rejected draws in a row, once every video was tried, that are an error", 1, 10**6
    )
    youtube_weight: float = number(
        92.0, "relative share of Youtube-VOS among video clips; 0: not opened", 0, 10**9
    )
    davis_weight: float = number(8.0, "... and of DAVIS", 0, 10**9)
    samples_per_epoch: int = number(10000, "video clips an epoch, over all processes", 1, 10**9)
    max_skip: int = number(
        30, "the next frame is at most 1 + skip ahead; skip grows to this, frames", 0, 10**6
    )
    skip_every: int = number(
        1500, "iterations (optimizer steps) after which skip grows by one", 1, 10**9
    )
    temporal_flip: float = number(0.5, "probability that a video clip is reversed", 0, 1)
    on_bad_file: str = choice(
        "error", "a file that cannot be read: error, or skip (counted)", ("error", "skip")
    )
    num_workers: int = number(4, "loader processes per training process; 0: none", 0, 256)
    prefetch: int = number(2, "batches that each loader process makes ahead", 1, 1000)


@dataclass(frozen=True)
class TrainConfig:
    """Both training stages (docs/method.md, section 7)."""

    batch_size: int = number(4, "clips per process and forward pass", 1, 4096)
    accumulation: int = number(1, "forward passes per optimizer step", 1, 65536)
    loss_mean: str = choice(
        "process", "weighted means: each part's own, averaged, or the whole batch's", LOSS_MEANS
    )
    reference_batch: int = number(
        16, "clips per step that lr is made for; another number is warned of", 1, 10**6
    )
    seed: int = number(42, "of clips; the rank is added for all else", 0, MOST_SEED)
    epochs: int = number(80, "passes over the clips of an epoch", 1, 10**6)
    init_config: str | None = text(
        "pre_training", "stage 2 starts from this configuration's run ...", or_none=True
    )
    init_epoch: int = number(14, "... after this many of its epochs", 1, 10**6)
    lr: float = number(1e-4, "learning rate", 0, 100)
    backbone_lr_factor: float = number(0.5, "the backbone's share of lr", 0, 1000)
    weight_decay: float = number(1e-4, "of AdamW", 0, 100)
    warmup: int = number(0, "iterations over which lr rises to its value", 0, 10**9)
    schedule: str = choice("poly", "how lr falls", SCHEDULES)
    poly_power: float = number(
        0.9, "poly: lr x (1 - iteration / all iterations) to this power", 0, 100
    )
    poly_every: int = number(1000, "poly: iterations between updates of lr", 1, 10**9)
    step_epochs: int = number(6, "step: epochs between cuts of lr", 1, 10**6)
    step_factor: float = number(0.5, "step: what a cut multiplies lr by", 0, 100)
    precision: str = choice("float32", "of the forward pass; losses are always float32", PRECISIONS)
    channels_last: bool = flag(True, "memory format of the convolutions")
    compile: bool = flag(False, "torch.compile the feature extractor, whose shapes stay the same")
    checkpoint_activations: bool = flag(
        False, "recompute them in the backward pass: less memory, slower"
    )
    log_every: int = number(20, "iterations between log lines", 1, 10**9)
    picture_every: int = number(500, "iterations between TensorBoard pictures; 0: none", 0, 10**9)
    save_every: int = number(500, "iterations between resume states", 1, 10**9)
    keep_states: int = number(
        2, "resume states kept; every epoch's weights are kept anyway", 1, 10**6
    )
    eval_every: int = number(0, "epochs between validation scores; 0: never", 0, 10**6)


@dataclass(frozen=True)
class LossConfig:
    """Weights and constants of the four losses (docs/method.md, section 7)."""

    partial_ce_weight: float = number(1.0, "weight of the partial cross entropy", 0, 10**6)
    background_weight: float = number(
        2.0, "class weight of background in the partial cross entropy", 0, 10**6
    )
    smoothness_weight: float = number(0.3, "weight of the smoothness loss", 0, 10**6)
    smoothness_alpha: float = number(
        10.0, "how fast an image edge lifts the penalty, per grey in [0, 1]", 0, 10**6
    )
    smoothness_with_scribble: bool = flag(False, "labelled pixels count whatever the image's edges")
    reliable_focal_weight: float = number(1.0, "weight of the reliable region's loss", 0, 10**6)
    focal_alpha: float = number(0.5, "share of the labelled class in the focal loss", 0, 1)
    focal_gamma: float = number(2.0, "how much the focal loss spares what is sure", 0, 100)
    ignore_kernel: int = number(
        35,
        "side of the square that dilates a scribble to its ignore ring, pixels",
        1,
        511,
        odd=True,
    )
    consistency_weight: float = number(
        20.0, "weight of the consistency loss; 0: no backward clip is run", 0, 10**6
    )


@dataclass(frozen=True)
class TestConfig:
    """Tracking and its memory (docs/method.md, section 6)."""

    max_memory_length: int = number(
        4, "stored frames per step; the second-oldest is dropped", 1, 10000
    )
    update_frequency: int = number(6, "frames between stored entire targets", 1, 10**9)
    scribble_update_frequency: int = number(6, "frames between stored reliable regions", 1, 10**9)
    require_last: bool = flag(False, "also read the last frame's entire target")
    require_last_scribble: bool = flag(True, "also read the last frame's reliable region")
    using_initial_bg: bool = flag(True, "background term in the initial scribble's memory")
    stored_level: int = number(
        1, "level of a stored entire target: 1 the release's choice, 2 training's", 1, 2
    )
    stored_threshold: float = number(
        0.0, "stored probabilities up to it are zeroed; 0.95 as in training", 0, 1
    )
    short_side: int = number(
        0,
        "larger frames are shrunk to it for the network, pixels; 0: as they are",
        SMALLEST_SIDE,
        MOST_SIDE,
        or_zero=True,
    )
    precision: str = choice(
        "float32",
        "of the network's arithmetic; auto: bfloat16 where this machine is faster in it",
        (*PRECISIONS, AUTO),
    )
    compile: bool = flag(False, "torch.compile the feature extractor; the CPU needs a C++ compiler")
    objects_at_once: int = number(
        8, "read and segmented together: more take more memory", 1, MAX_OBJECTS
    )
    snapshot_budget: int = number(
        2 << 30,
        "bytes of the tracker's states that a session keeps to go on from; no mask depends on it",
        1 << 20,
        1 << 50,
    )


@dataclass(frozen=True)
class Config:
    """Everything a run depends on."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    test: TestConfig = field(default_factory=TestConfig)

    def __post_init__(self) -> None:
        _validate(self)


def load_config(
    name_or_path: str | Path, overrides: Iterable[str] = (), base: Config | None = None
) -> Config:
    """Read a configuration by name (a file under `configs/`) or path, then apply overrides.

    overrides: `group.field=value` strings, the value in YAML. base: has what the file leaves out of
    `test.*`, and of all where it states nothing of `model.*`.
    Raises InputError that names the file and the key.
    """
    path = find_config(name_or_path)
    tree = read_yaml(path)
    tree = {} if tree is None else tree  # nothing but comments
    if not isinstance(tree, dict):
        raise InputError(f"{path}: expected groups {names_of(Config)}, found {type(tree).__name__}")
    base = base or Config()
    if tree.get("model"):  # a network, whose other fields are the defaults
        base = Config(test=base.test)
    return override(merge(base, tree, source=str(path)), overrides)


def override(config: Config, overrides: Iterable[str]) -> Config:
    """Return the configuration with `group.field=value` strings applied."""
    check_config(config, "override")
    return merge(config, read_overrides(overrides), source="command line")


def check_config(config: Any, call: str) -> None:
    """Raise InputError that names the call unless it was given a configuration."""
    if not isinstance(config, Config):
        kind = type(config).__name__
        raise InputError(f"{call}: {kind} in place of what rhmnet.load_config returns")


def from_dict(tree: Mapping[str, Any], source: str = "configuration") -> Config:
    """Build a configuration from nested plain values; what is left out keeps its default."""
    return merge(Config(), tree, source)


def to_dict(config: Config) -> dict[str, dict[str, Any]]:
    """Nested plain values (tuples as lists), which `from_dict` takes back."""
    tree = dataclasses.asdict(config)
    return {
        group: {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}
        for group, fields in tree.items()
    }


def _validate(config: Config) -> None:
    """Each field by its bounds, then what fields must be to each other."""
    check_fields(config)
    model, data = config.model, config.data
    _check(
        model.hidden_dim % model.num_heads == 0,
        f"model.hidden_dim={model.hidden_dim}: expected a multiple of 32 and of model.num_heads",
    )
    _check(
        model.refine_layers <= len(model.refine_threshold),
        f"model.refine_layers={model.refine_layers}: expected at least 1, and one value of "
        f"model.refine_threshold for each (there are {len(model.refine_threshold)})",
    )
    _check(
        data.short_side >= max(data.crop_size),
        f"data.short_side={data.short_side}: expected at least {max(data.crop_size)}, as "
        "data.crop_size",
    )
    weights = (data.youtube_weight, data.davis_weight)
    _check(
        sum(weights) > 0,
        f"data.youtube_weight={weights[0]}, data.davis_weight={weights[1]}: expected shares of at "
        "least 0, one of them above it",
    )


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)
