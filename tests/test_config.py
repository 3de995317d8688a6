from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from rhmnet.config import Config, from_dict, load_config, to_dict
from rhmnet.errors import InputError

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
        ("data:\n  crop_size: [100, 384]\n", "multiples of 16"),
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
        ("train.warmup=-1", "train.warmup=-1: expected at least 0"),
        ("train.step_factor=-0.5", "train.step_factor=-0.5: expected at least 0"),
        ("train.lr=.nan", "train.lr=nan: expected a finite number"),
        ("train.lr=1" + "0" * 400, "train.lr: expected float"),
        ("data.youtube_weight=.inf", "data.youtube_weight=inf: expected a finite number"),
        ("model.refine_threshold=[0.65, .nan]", "model.refine_threshold=[0.65, nan]: expected a"),
        ("model.num_heads=0", "model.num_heads=0: expected at least 1"),
        ("model.hidden_dim=0", "model.hidden_dim=0: expected at least 1"),
        ("model.hidden_dim=-32", "model.hidden_dim=-32: expected at least 1"),
        ("model.feedforward_dim=0", "model.feedforward_dim=0: expected at least 1"),
        ("loss.ignore_kernel=4", "loss.ignore_kernel=4: expected an odd number"),
        ("loss.ignore_kernel=-1", "loss.ignore_kernel=-1: expected an odd number"),
        ("loss.partial_ce_weight=-1", "loss.partial_ce_weight=-1.0: expected at least 0"),
        ("loss.background_weight=-1", "loss.background_weight=-1.0: expected at least 0"),
        ("loss.smoothness_weight=-1", "loss.smoothness_weight=-1.0: expected at least 0"),
        ("loss.smoothness_alpha=-1", "loss.smoothness_alpha=-1.0: expected at least 0"),
        ("loss.reliable_focal_weight=-1", "loss.reliable_focal_weight=-1.0: expected at least 0"),
        ("loss.consistency_weight=-1", "loss.consistency_weight=-1.0: expected at least 0"),
        ("loss.consistency_weight=.nan", "loss.consistency_weight=nan: expected a finite number"),
        ("loss.focal_gamma=-1", "loss.focal_gamma=-1.0: expected at least 0"),
        ("loss.focal_alpha=1.5", "loss.focal_alpha=1.5: expected a share, 0 to 1"),
    ],
)
def test_values_that_would_fail_later_are_refused_at_once(override: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as error:
        load_config("video_training", [override])
    assert "\n" not in str(error.value)


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
