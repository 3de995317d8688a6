from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from rhmnet.config import Config, from_dict, load_config, to_dict
from rhmnet.config_yaml import listing
from rhmnet.errors import InputError
from rhmnet.labels import MAX_OBJECTS

ROOT = Path(__file__).resolve().parents[1]


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_video_training_holds_the_releases_values() -> None:
    config = load_config("video_training")
    assert config.model.refine_threshold == (0.65, 0.95)
    assert config.data.crop_size == (384, 384)
    assert (config.test.max_memory_length, config.test.update_frequency) == (4, 6)
    assert config.test.scribble_update_frequency == 6
    assert (config.loss.background_weight, config.loss.focal_alpha) == (2.0, 0.5)
    assert (config.train.lr, config.train.epochs, config.train.schedule) == (1e-4, 80, "poly")


def test_pre_training_holds_the_releases_values() -> None:
    config = load_config("pre_training")
    test, loss, train = config.test, config.loss, config.train
    assert (test.max_memory_length, test.update_frequency) == (20, 6)
    assert test.scribble_update_frequency == 2
    assert (loss.background_weight, loss.focal_alpha, loss.consistency_weight) == (1, 0.35, 0)
    assert (train.lr, train.epochs, train.schedule) == (5e-5, 18, "step")


def test_overrides_have_the_last_word(tmp_path: Path) -> None:
    path = write(tmp_path, "train:\n  lr: 1e-3\n")
    assert load_config(path).train.lr == 1e-3
    config = load_config(path, ["train.lr=2e-5", "model.backbone=resnet101"])
    assert (config.train.lr, config.model.backbone) == (2e-5, "resnet101")


def test_round_trip_through_plain_values() -> None:
    config = load_config("video_training", ["data.crop_size=[96, 160]", "test.require_last=true"])
    assert from_dict(to_dict(config)) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle:\n  backbone: resnet50\n", "unknown key modle; did you mean model?"),
        ("model:\n  bakcbone: resnet50\n", "unknown key model.bakcbone; did you mean model.back"),
        ("train:\n  lr: 1\n  lr: 2\n", "line 3: key 'lr' is given twice"),
        ("model:\n  hidden_dim: wide\n", "model.hidden_dim: expected int, found 'wide'"),
        ("model:\n  use_similarity: 1\n", "model.use_similarity: expected bool, found 1"),
        ("model:\n  refine_layers: true\n", "model.refine_layers: expected int, found True"),
        ("model:\n  backbone: vgg16\n", "model.backbone='vgg16': expected one of resnet18"),
        ("model:\n  refine_layers: 3\n", "model.refine_layers=3: expected at least 1, and one"),
        ("data:\n  crop_size: 384\n", "data.crop_size: expected a list, found 384"),
        ("data:\n  crop_size: [100, 384]\n", "a multiple of 16"),
        ("model\n", "expected groups"),
        ("model: [1]\n", "model must hold"),
        ("model: {\n", "not valid YAML"),
    ],
)
def test_mistakes_are_named_with_their_file(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=re.escape(message)) as error:
        load_config(path)
    assert "mine.yaml" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.backbone"], "expected group.field=value"),
        (["backbone=resnet50"], "expected group.field=value"),
        (["train.lr=1", "train.lr=2"], "given twice"),
        (["train.learning=1"], "unknown key train.learning"),
    ],
)
def test_bad_overrides(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        load_config("video_training", overrides)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.seed=-1", "train.seed=-1: expected 0 to"),
        (f"train.seed={2**63}", "expected 0 to"),
        ("train.warmup=-1", "train.warmup=-1: expected 0 to"),
        ("train.step_factor=-0.5", "train.step_factor=-0.5: expected 0 to"),
        ("train.lr=.nan", "train.lr=nan: expected 0 to"),
        ("train.lr=1" + "0" * 400, "train.lr: expected float"),
        ("data.youtube_weight=.inf", "data.youtube_weight=inf: expected 0 to"),
        (
            "model.refine_threshold=[0.65, .nan]",
            "model.refine_threshold=[0.65, nan]: expected a list of",
        ),
        ("model.num_heads=0", "model.num_heads=0: expected 1 to"),
        ("model.hidden_dim=0", "model.hidden_dim=0: expected a multiple of 32, 32 to"),
        ("model.hidden_dim=-32", "model.hidden_dim=-32: expected a multiple of 32, 32 to"),
        ("model.feedforward_dim=0", "model.feedforward_dim=0: expected 1 to"),
        ("loss.ignore_kernel=4", "loss.ignore_kernel=4: expected an odd number"),
        ("loss.ignore_kernel=-1", "loss.ignore_kernel=-1: expected an odd number"),
        ("loss.partial_ce_weight=-1", "loss.partial_ce_weight=-1.0: expected 0 to"),
        ("loss.background_weight=-1", "loss.background_weight=-1.0: expected 0 to"),
        ("loss.smoothness_weight=-1", "loss.smoothness_weight=-1.0: expected 0 to"),
        ("loss.smoothness_alpha=-1", "loss.smoothness_alpha=-1.0: expected 0 to"),
        ("loss.reliable_focal_weight=-1", "loss.reliable_focal_weight=-1.0: expected 0 to"),
        ("loss.consistency_weight=-1", "loss.consistency_weight=-1.0: expected 0 to"),
        ("loss.consistency_weight=.nan", "loss.consistency_weight=nan: expected 0 to"),
        ("loss.focal_gamma=-1", "loss.focal_gamma=-1.0: expected 0 to"),
        ("test.stored_level=3", "test.stored_level=3: expected 1 to 2"),
        ("test.max_memory_length=1000000000", "expected 1 to 10000"),
        ("test.stored_threshold=5", "test.stored_threshold=5.0: expected 0 to 1"),
        ("test.short_side=7", "test.short_side=7: expected 0, or 32 to 8192"),
        ("model.refine_threshold=[-5, 7]", "refine_threshold=[-5.0, 7.0]: expected a list of"),
        ("model.object_threshold=2", "model.object_threshold=2.0: expected 0 to 1"),
        ("model.dropout=1", "model.dropout=1.0: expected 0 to below 1"),
        ("loss.ignore_kernel=1000001", "expected an odd number, 1 to 511"),
        ("data.num_workers=100000", "data.num_workers=100000: expected 0 to 256"),
        ("data.crop_size=[64, 64, 64]", "expected a list of 2, each a multiple of 16"),
        ("data.root=''", "data.root='': expected a name or a path"),
        ("loss.focal_alpha=1.5", "loss.focal_alpha=1.5: expected 0 to 1"),
    ],
)
def test_values_that_would_fail_later_are_refused_at_once(override: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as error:
        load_config("video_training", [override])
    assert "\n" not in str(error.value)


ANCHORS = "".join(f"  - &b{i} [{', '.join([f'*b{i - 1}'] * 10)}]\n" for i in range(1, 9))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"model:\n  norm:\n  - &b0 [x, x]\n{ANCHORS}", "references (*name) are not read"),
        ("base: &a {norm: gn}\nmodel: *a\n", "line 2: references"),
        ("? [a, b]\n: 1\n", "line 1: a key must be a name"),
        ("? {a: b}\n: 1\n", "line 1: a key must be a name"),
        ("model: " + "[" * 3000 + "]" * 3000, "nested more than 20 deep"),
        ("model: " + "[" * 15 + "x, " * 9000 + "]" * 15, "model must hold"),
        ("train: {seed: " + "9" * 5000 + "}\n", "mine.yaml: "),
        ("train: {seed: 0x" + "f" * 5000 + "}\n", "seed=a number of 20000 bits: expected 0 to"),
        ("model: {norm: " + "x" * 5000 + "}\n", "model.norm='xxx"),
        ("x" * 900 + ": {}\n", "unknown key xxx"),
        ("data: {root: !!binary aGk=}\n", "could not determine a constructor"),
        ("data: {root: !!timestamp x}\n", "could not determine a constructor"),
        ("data: {max_skip: !!int x}\n", "cannot be read"),
        ("data: {max_skip: !!int ''}\n", "cannot be read"),
        ("model: {separate_heads: !!bool x}\n", "cannot be read"),
        ("model: gn\n--- {}\n", "not valid YAML"),
        ("1: {}\n", "unknown key 1"),
        ("false\n", "expected groups"),
        ("# " + "x" * 300_000, "no configuration is so long"),
    ],
    ids=[
        "bomb",
        "alias",
        "list-key",
        "map-key",
        "deep",
        "wide",
        "digits",
        "hex",
        "value",
        "key",
        "binary",
        "timestamp",
        "int",
        "no-int",
        "bool",
        "documents",
        "number-key",
        "false",
        "long",
    ],
)
def test_yaml_from_anywhere_ends_in_one_short_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=re.escape(message)) as error:
        load_config(path)
    told = str(error.value).replace(str(path), "mine.yaml")
    assert told.startswith("mine.yaml") and "\n" not in told and len(told) < 300


@pytest.mark.parametrize(
    "content", [b"model: {norm: gn}\n# caf\xe9\n", "model: {}".encode("utf-16")]
)
def test_other_encodings_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"mine\.yaml: line \d is not UTF-8"):
        load_config(path)


def test_a_byte_order_mark_and_comments_alone_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeff# nothing but this\n")
    assert load_config(path) == Config()


def test_a_date_is_a_name() -> None:
    assert load_config("video_training", ["data.root=2024-13-45"]).data.root == "2024-13-45"


def test_a_configuration_written_out_is_read_back(tmp_path: Path) -> None:
    overrides = ["train.init_config=null", "data.root=null", "model.refine_threshold=[0.1, 0.2]"]
    with pytest.raises(InputError, match="expected str"):
        load_config("pre_training", overrides)
    config = load_config("pre_training", [*overrides[::2], "data.root='a: b # c'", "train.lr=1e-7"])
    text = listing(config)
    assert load_config(write(tmp_path, text)) == config
    assert "(a multiple of 32, 32 to 4096; default 256)" in text
    assert max(map(len, text.splitlines())) <= 100


def test_every_field_has_help_and_bounds_that_hold_its_default() -> None:
    for group in dataclasses.fields(Config):
        for field in dataclasses.fields(getattr(Config(), group.name)):
            assert field.metadata["help"] and field.metadata["rule"].holds(field.default)


def test_objects_are_as_many_as_labels_hold() -> None:
    load_config("video_training", [f"data.max_objects={MAX_OBJECTS}"])
    with pytest.raises(InputError, match="max_objects"):
        load_config("video_training", [f"data.max_objects={MAX_OBJECTS + 1}"])


@pytest.mark.parametrize("value", [True, "x", None, [1]])
def test_a_number_of_another_type_is_refused_in_python_too(value: object) -> None:
    with pytest.raises(InputError, match="update_frequency="):
        Config(test=dataclasses.replace(Config().test, update_frequency=value))


def test_unknown_configuration_suggests_a_name() -> None:
    with pytest.raises(InputError, match="did you mean video_training"):
        load_config("video_trainig")
    with pytest.raises(InputError, match=r"nowhere\.yaml: no such file"):
        load_config("nowhere.yaml")


def test_every_field_is_read_somewhere() -> None:
    files = [*ROOT.glob("*.py"), *(ROOT / "rhmnet").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]
    code = "\n".join(p.read_text() for p in files if p.name != "config.py")
    for group in dataclasses.fields(Config):
        for field in dataclasses.fields(getattr(Config(), group.name)):
            assert re.search(rf"\.{field.name}\b", code), f"{group.name}.{field.name} is not read"
