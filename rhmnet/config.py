"""Configuration: frozen dataclasses, YAML files, `key=value` overrides.

Five groups, `model data train loss test`. The defaults are the release's values for
`video_training`; a YAML file under `configs/` states what differs, and an override on the command
line has the last word. Unknown, duplicate and ill-typed keys are refused.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rhmnet.errors import InputError

BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101")
PRECISIONS = ("float32", "bfloat16", "float16")
SCHEDULES = ("poly", "step")
LOSS_MEANS = ("process", "batch")
STRIDE = 16
"""Pixels per token side; frames are padded to a multiple of it."""
SMALLEST_SIDE = 2 * STRIDE
"""Pixels: to which frames may be shrunk for the network."""


@dataclass(frozen=True)
class ModelConfig:
    """The network (specification, sections 1 to 6)."""

    backbone: str = "resnet50"  # one of BACKBONES
    pretrained: str = "imagenet"  # backbone weights: imagenet, none, or a torchvision state file
    hidden_dim: int = 256  # C, features of a token
    num_heads: int = 8  # attention heads
    feedforward_dim: int = 1024  # hidden features of a reading's feed-forward layer
    dropout: float = 0.1  # probability, in attention and feed-forward
    refine_layers: int = 1  # entire-target steps after the reliable-region step
    separate_heads: bool = False  # one entire-target head for each of them (WITH_REFINE), or shared
    refine_threshold: tuple[float, ...] = (0.65, 0.95)  # step k's probability, read by step k + 1
    object_threshold: float = 0.95  # probability below which a stored entire target is zeroed
    use_similarity: bool = True  # initial scribble spread by cosine similarity
    local_similarity: bool = False  # ... within 5x5 windows instead of to the scribble's mean
    bg_prototype: bool = True  # attach the background term to memory
    level_embedding: bool = True  # one label embedding a reliability level, or one for all
    scribble_memory_for_mask: bool = False  # entire-target steps also read stored reliable regions
    upsample_logits: bool = True  # entire target aggregated at full size, or at stride 4
    norm: str = "gn"  # the heads' norm: gn (8 groups) or bn
    tied_matching: bool = False  # random weights begin with equal queries and keys (not release)


@dataclass(frozen=True)
class DataConfig:
    """Data sets and clips (specification, sections 7 and 8)."""

    root: str = "datasets"  # folder that holds COCO, DAVIS and Youtube-VOS
    crop_size: tuple[int, ...] = (384, 384)  # height, width of a training clip, pixels
    clip_length: int = 3  # T, frames
    max_objects: int = 3  # objects drawn per clip
    short_side: int = 480  # frames are resized to it before cropping, pixels
    minimum_area: int = 100  # every frame keeps more background strokes than this, pixels
    object_area: int = 100  # ... and more object strokes; an object drawn has more, pixels
    translate: int = 15  # video frames are moved by up to this, each way, pixels
    crop_drift: int = 20  # the crop moves by up to this from frame to frame, each way, pixels
    max_tries: int = 20  # crops tried per draw before another draw
    frame_draws: int = 10  # draws of frames from one video before another video
    max_redraws: int = 500  # rejected draws in a row, once every video was tried, that are an error
    youtube_weight: float = 92.0  # relative share of Youtube-VOS among video clips; 0: not opened
    davis_weight: float = 8.0  # ... and of DAVIS
    samples_per_epoch: int = 10000  # video clips an epoch, over all processes
    max_skip: int = 30  # the next frame is at most 1 + skip ahead; skip grows to this, frames
    skip_every: int = 1500  # iterations (optimizer steps) after which skip grows by one
    temporal_flip: float = 0.5  # probability that a video clip is reversed
    on_bad_file: str = "error"  # a file that cannot be read: error, or skip (counted)
    num_workers: int = 4  # loader processes per training process; 0: none
    prefetch: int = 2  # batches that each loader process makes ahead


@dataclass(frozen=True)
class TrainConfig:
    """Both training stages (specification, section 7)."""

    batch_size: int = 4  # clips per process and forward pass
    accumulation: int = 1  # forward passes per optimizer step
    loss_mean: str = "process"  # weighted means: each part's own, averaged, or the whole batch's
    reference_batch: int = 16  # clips per step that lr is made for; another number is warned of
    seed: int = 42  # of clips; the rank is added for all else
    epochs: int = 80
    init_config: str | None = "pre_training"  # stage 2 starts from this configuration's run ...
    init_epoch: int = 14  # ... after this many of its epochs
    lr: float = 1e-4
    backbone_lr_factor: float = 0.5  # the backbone's share of lr
    weight_decay: float = 1e-4
    warmup: int = 0  # iterations over which lr rises to its value
    schedule: str = "poly"  # one of SCHEDULES
    poly_power: float = 0.9  # poly: lr x (1 - iteration / all iterations) to this power
    poly_every: int = 1000  # poly: iterations between updates of lr
    step_epochs: int = 6  # step: epochs between cuts of lr
    step_factor: float = 0.5  # step: what a cut multiplies lr by
    precision: str = "float32"  # one of PRECISIONS; losses are always float32
    channels_last: bool = True  # memory format of the convolutions
    compile: bool = False  # torch.compile the feature extractor, whose shapes stay the same
    checkpoint_activations: bool = False  # recompute them in the backward pass: less memory, slower
    log_every: int = 20  # iterations between log lines
    picture_every: int = 500  # iterations between TensorBoard pictures; 0: none
    save_every: int = 500  # iterations between resume states
    keep_states: int = 2  # resume states kept; every epoch's weights are kept anyway
    eval_every: int = 0  # epochs between validation scores; 0: never


@dataclass(frozen=True)
class LossConfig:
    """Weights and constants of the four losses (specification, section 7)."""

    partial_ce_weight: float = 1.0
    background_weight: float = 2.0  # class weight of background in the partial cross entropy
    smoothness_weight: float = 0.3
    smoothness_alpha: float = 10.0  # how fast an image edge lifts the penalty, per grey in [0, 1]
    smoothness_with_scribble: bool = False  # labelled pixels count whatever the image's edges
    reliable_focal_weight: float = 1.0
    focal_alpha: float = 0.5
    focal_gamma: float = 2.0
    ignore_kernel: int = 35  # side of the square that dilates a scribble to its ignore ring, pixels
    consistency_weight: float = 20.0  # 0: no backward clip is run


@dataclass(frozen=True)
class TestConfig:
    """Tracking and its memory (specification, section 6)."""

    max_memory_length: int = 4  # stored frames per step; the second-oldest is dropped
    update_frequency: int = 6  # frames between stored entire targets
    scribble_update_frequency: int = 6  # frames between stored reliable regions
    require_last: bool = False  # also read the last frame's entire target
    require_last_scribble: bool = True  # also read the last frame's reliable region
    using_initial_bg: bool = True  # background term in the initial scribble's memory
    stored_level: int = 1  # level of a stored entire target: 1 the release's choice, 2 training's
    stored_threshold: float = 0.0  # stored probabilities up to it are zeroed; 0.95 as in training
    short_side: int = 0  # larger frames are shrunk to it for the network, pixels; 0: as they are
    precision: str = "float32"  # one of PRECISIONS
    compile: bool = False  # torch.compile the feature extractor; the CPU needs a C++ compiler
    objects_at_once: int = 8  # read and segmented together: more take more memory


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


def load_config(name_or_path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a configuration by name (a file under `configs/`) or path, then apply overrides.

    overrides: `group.field=value` strings, the value in YAML.
    Raises InputError that names the file and the key.
    """
    path = _find(name_or_path)
    try:
        with path.open() as file:  # a named stream, so that errors name it
            tree = yaml.load(file, Loader=_UniqueKeyLoader) or {}
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise InputError(f"{path}: expected groups {_names(Config)}, found {type(tree).__name__}")
    config = from_dict(tree, source=str(path))
    return override(config, overrides)


def override(config: Config, overrides: Iterable[str]) -> Config:
    """Return the configuration with `group.field=value` strings applied."""
    tree: dict[str, dict[str, Any]] = {}
    for item in overrides:
        key, equals, text = item.partition("=")
        group, dot, name = key.strip().partition(".")
        if not (equals and dot):
            raise InputError(f"override {item!r}: expected group.field=value, as in data.root=PATH")
        if name in tree.get(group, {}):
            raise InputError(f"override {key}: given twice; keep one")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(f"override {item!r}: {text!r} is not a valid YAML value") from None
        tree.setdefault(group, {})[name] = value
    return _merge(config, tree, source="command line")


def from_dict(tree: Mapping[str, Any], source: str = "configuration") -> Config:
    """Build a configuration from nested plain values; what is left out keeps its default."""
    return _merge(Config(), tree, source)


def to_dict(config: Config) -> dict[str, dict[str, Any]]:
    """Nested plain values (tuples as lists), which `from_dict` takes back."""
    tree = dataclasses.asdict(config)
    return {
        group: {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}
        for group, fields in tree.items()
    }


def _merge(config: Config, tree: Mapping[str, Any], source: str) -> Config:
    groups = {}
    for group, fields in tree.items():
        _known(group, Config, source, prefix="")
        if fields is None:
            continue
        if not isinstance(fields, Mapping):
            raise InputError(f"{source}: {group} must hold `field: value` lines, found {fields!r}")
        current = getattr(config, group)
        hints = typing.get_type_hints(type(current))
        values = {}
        for name, value in fields.items():
            _known(name, type(current), source, prefix=f"{group}.")
            values[name] = _coerce(value, hints[name], f"{source}: {group}.{name}")
        groups[group] = dataclasses.replace(current, **values)
    try:
        return dataclasses.replace(config, **groups)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def _coerce(value: Any, hint: Any, where: str) -> Any:
    """Check a plain value against a field's type; int passes as float, a list as a tuple."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        options = typing.get_args(hint)
        if value is None and type(None) in options:
            return None
        return _coerce(value, next(o for o in options if o is not type(None)), where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise InputError(f"{where}: expected a list, found {value!r}")
        inner = typing.get_args(hint)[0]
        return tuple(_coerce(item, inner, where) for item in value)
    if hint is float and not isinstance(value, bool):
        try:  # YAML reads 1e-4 as a string
            return float(value)
        except (TypeError, ValueError, OverflowError):
            pass
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise InputError(f"{where}: expected {hint.__name__}, found {value!r}")


def _known(name: Any, owner: type, source: str, prefix: str) -> None:
    names = _names(owner)
    if name in names:
        return
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {prefix}{near[0]}?" if near else f"expected one of {', '.join(names)}"
    raise InputError(f"{source}: unknown key {prefix}{name}; {hint}")


def _names(owner: type) -> list[str]:
    return [f.name for f in dataclasses.fields(owner)]


def _find(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path
        raise InputError(f"configuration {path}: no such file")
    folders = [Path(__file__).resolve().parents[1] / "configs", Path("configs")]
    for folder in folders:
        if (folder / f"{path}.yaml").is_file():
            return folder / f"{path}.yaml"
    names = sorted({p.stem for folder in folders for p in folder.glob("*.yaml")})
    near = difflib.get_close_matches(str(path), names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names)}"
    raise InputError(f"configuration {str(path)!r}: not found under configs/; {hint}")


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, which YAML itself would let pass."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise InputError(f"{self.name}: line {line}: key {key!r} is given twice; keep one")
            seen.add(key)
        return super().construct_mapping(node, deep)


_COUNTS_OF_TRAINING = (
    *("batch_size", "accumulation", "reference_batch", "epochs", "init_epoch", "poly_every"),
    *("step_epochs", "log_every", "save_every", "keep_states"),
)
_NOT_NEGATIVE_IN_TRAINING = (
    *("picture_every", "eval_every", "lr", "weight_decay", "backbone_lr_factor", "warmup"),
    *("poly_power", "step_factor"),
)
_NOT_NEGATIVE_IN_LOSS = (
    *("partial_ce_weight", "background_weight", "smoothness_weight", "smoothness_alpha"),
    *("reliable_focal_weight", "focal_gamma", "consistency_weight"),
)
_SEEDS = 2**63
"""PyTorch's generators take no larger ones, and NumPy's no negative ones."""


def _validate(config: Config) -> None:
    model, data, train = config.model, config.data, config.train
    loss, test = config.loss, config.test
    _check_finite(config)  # first: NaN passes comparisons, or fails them, as they happen to be put
    _one_of("model.backbone", model.backbone, BACKBONES)
    _one_of("model.norm", model.norm, ("gn", "bn"))
    _one_of("test.precision", test.precision, PRECISIONS)
    for name in ("num_heads", "hidden_dim", "feedforward_dim"):
        _at_least(f"model.{name}", getattr(model, name), 1)
    _check(
        model.hidden_dim % 32 == 0 and model.hidden_dim % model.num_heads == 0,
        f"model.hidden_dim={model.hidden_dim}: expected a multiple of 32 and of model.num_heads",
    )
    _check(0 <= model.dropout < 1, f"model.dropout={model.dropout}: expected 0 <= p < 1")
    _check(
        1 <= model.refine_layers <= len(model.refine_threshold),
        f"model.refine_layers={model.refine_layers}: expected at least 1, and one value of "
        f"model.refine_threshold for each (there are {len(model.refine_threshold)})",
    )
    _check(
        len(data.crop_size) == 2 and all(s > 0 and s % STRIDE == 0 for s in data.crop_size),
        f"data.crop_size={list(data.crop_size)}: expected [height, width], multiples of {STRIDE}",
    )
    _at_least("data.clip_length", data.clip_length, 2)
    _at_least("data.max_objects", data.max_objects, 1)
    _at_least("data.short_side", data.short_side, max(data.crop_size))
    for name in ("max_tries", "frame_draws", "max_redraws", "samples_per_epoch", "skip_every"):
        _at_least(f"data.{name}", getattr(data, name), 1)
    for name in ("minimum_area", "object_area", "translate", "crop_drift", "max_skip"):
        _at_least(f"data.{name}", getattr(data, name), 0)
    _at_least("data.num_workers", data.num_workers, 0)
    _at_least("data.prefetch", data.prefetch, 1)
    _one_of("data.on_bad_file", data.on_bad_file, ("error", "skip"))
    _check(
        0 <= data.temporal_flip <= 1,
        f"data.temporal_flip={data.temporal_flip}: expected a probability, 0 to 1",
    )
    weights = (data.youtube_weight, data.davis_weight)
    _check(
        min(weights) >= 0 and sum(weights) > 0,
        f"data.youtube_weight={weights[0]}, data.davis_weight={weights[1]}: expected shares of at "
        "least 0, one of them above it",
    )
    _one_of("train.precision", train.precision, PRECISIONS)
    _one_of("train.schedule", train.schedule, SCHEDULES)
    _one_of("train.loss_mean", train.loss_mean, LOSS_MEANS)
    for name in _COUNTS_OF_TRAINING:
        _at_least(f"train.{name}", getattr(train, name), 1)
    for name in _NOT_NEGATIVE_IN_TRAINING:
        _at_least(f"train.{name}", getattr(train, name), 0)
    _check(0 <= train.seed < _SEEDS, f"train.seed={train.seed}: expected 0 to {_SEEDS - 1}")
    for name in _NOT_NEGATIVE_IN_LOSS:
        _at_least(f"loss.{name}", getattr(loss, name), 0)
    _check(
        0 <= loss.focal_alpha <= 1,
        f"loss.focal_alpha={loss.focal_alpha}: expected a share, 0 to 1",
    )
    _check(
        loss.ignore_kernel >= 1 and loss.ignore_kernel % 2 == 1,
        f"loss.ignore_kernel={loss.ignore_kernel}: expected an odd number of at least 1, so that "
        "the square has a middle",
    )
    _check(
        test.short_side == 0 or test.short_side >= SMALLEST_SIDE,
        f"test.short_side={test.short_side}: expected 0 (frames as they are) or at least "
        f"{SMALLEST_SIDE} pixels",
    )
    _at_least("test.max_memory_length", test.max_memory_length, 1)
    _at_least("test.update_frequency", test.update_frequency, 1)
    _at_least("test.scribble_update_frequency", test.scribble_update_frequency, 1)
    _at_least("test.objects_at_once", test.objects_at_once, 1)
    _check(
        test.stored_level in (1, 2),
        f"test.stored_level={test.stored_level}: expected 1 (the release) or 2 (as in training)",
    )


def _check_finite(config: Config) -> None:
    for group, fields in to_dict(config).items():
        for name, value in fields.items():
            numbers = value if isinstance(value, list) else [value]
            _check(
                all(math.isfinite(n) for n in numbers if isinstance(n, float)),
                f"{group}.{name}={value}: expected a finite number",
            )


def _one_of(key: str, value: str, options: tuple[str, ...]) -> None:
    _check(value in options, f"{key}={value!r}: expected one of {', '.join(options)}")


def _at_least(key: str, value: float, least: int) -> None:
    _check(value >= least, f"{key}={value}: expected at least {least}")


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)
