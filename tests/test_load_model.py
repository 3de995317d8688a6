"""One way from a file to a network: what the file carries holds, and what is asked for is told."""

from __future__ import annotations

import hashlib
import pickletools
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small import OVERRIDES, made_up_video, small_config, small_model

import rhmnet
from rhmnet.checkpoint import find_checkpoint, read_checkpoint
from rhmnet.config import load_config, to_dict
from rhmnet.config_yaml import read_yaml
from rhmnet.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
OTHERS = {  # of every field that makes the network: a value that small_config does not have
    "backbone": "resnet34",
    "hidden_dim": 96,
    "num_heads": 8,
    "feedforward_dim": 128,
    "dropout": 0.2,
    "refine_layers": 2,
    "separate_heads": True,
    "refine_threshold": [0.2, 0.9],
    "object_threshold": 0.5,
    "use_similarity": False,
    "local_similarity": True,
    "bg_prototype": False,
    "level_embedding": False,
    "scribble_memory_for_mask": True,
    "upsample_logits": False,
    "norm": "bn",
    "tied_matching": True,
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that carries a configuration."""
    config = small_config("test.update_frequency=3", "test.max_memory_length=2")
    path = tmp_path_factory.mktemp("weights") / "ours.pth.tar"
    rhmnet.save_checkpoint(path, small_model(config), config, epoch=5)
    return path


@pytest.fixture(scope="module")
def bare(file: Path) -> Path:
    """The same weights without a configuration, as the authors' files are."""
    path = file.with_name("bare.pth.tar")
    torch.save({"epoch": 5, "state_dict": read_checkpoint(file)["state_dict"]}, path)
    return path


def shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_every_field_of_the_network_is_listed() -> None:
    assert {*OTHERS, "pretrained"} == to_dict(small_config())["model"].keys()


def test_the_file_brings_its_network_and_options(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", None)  # nothing is downloaded
    model, config = rhmnet.load_model(file, ["model.pretrained=imagenet"])
    wanted = small_model()
    torch.testing.assert_close(model.state_dict(), wanted.state_dict(), rtol=0, atol=0)
    assert not model.training
    assert (config.model.hidden_dim, config.test.update_frequency) == (64, 3)
    assert capsys.readouterr() == ("", "")


def test_tracking_options_come_from_overrides_then_configuration_then_file(file: Path) -> None:
    def options(*args) -> tuple[int, int]:
        test = rhmnet.load_model(file, *args)[1].test
        return test.update_frequency, test.max_memory_length

    given = small_config("test.update_frequency=9", "test.max_memory_length=8")
    assert options() == (3, 2)
    assert options(["test.update_frequency=7"]) == (7, 2)
    assert options((), given) == (9, 8)
    assert options(["test.update_frequency=7"], given) == (7, 8)


def test_what_a_yaml_file_does_not_state_is_the_files(file: Path, tmp_path: Path) -> None:
    yaml = tmp_path / "mine.yaml"
    yaml.write_text("test: {update_frequency: 9}\ndata: {root: elsewhere}\n")
    model, config = rhmnet.load_model(file, ["test.require_last=true"], yaml)
    test = config.test
    assert (test.update_frequency, test.max_memory_length, test.require_last) == (9, 2, True)
    assert (model.config.hidden_dim, config.data.crop_size) == (64, (64, 64))
    assert config.data.root == "elsewhere"
    yaml.write_text("model: {num_heads: 8}\ntest:\n")  # a network: the rest of it is the default
    with pytest.raises(InputError) as error:
        rhmnet.load_model(file, (), yaml)
    assert "model.num_heads is 4 in the file, 8 here" in str(error.value)
    assert "model.backbone is resnet18 in the file, resnet50 here" in str(error.value)
    yaml.write_text("data: {crop_size: [96, 128]}\n")
    with pytest.raises(InputError, match=r"data\.crop_size is \[64, 64\] in the file, \[96, 128\]"):
        rhmnet.load_model(file, (), yaml)


def test_the_releases_configurations_state_how_to_track() -> None:
    """So that they track as the release did, whatever a checkpoint carries."""
    for name in ("pre_training", "video_training"):
        stated = read_yaml(ROOT / "configs" / f"{name}.yaml")["test"]
        open_fields = to_dict(load_config(name))["test"].keys() - stated.keys()
        assert open_fields == {"compile", "objects_at_once", "snapshot_budget"}  # change no mask


@pytest.mark.parametrize("name", OTHERS)
def test_another_network_is_refused_with_both_values(file: Path, name: str) -> None:
    value = OTHERS[name]
    before = to_dict(small_config())["model"][name]
    told = f"ours.pth.tar: .*model.{name} is {re.escape(shown(before))} in the file, "
    told += f"{re.escape(shown(value))} here"
    override = f"model.{name}={shown(value)}"
    for args in (([override],), ((), small_config(override))):
        with pytest.raises(InputError, match=told):
            rhmnet.load_model(file, *args)
    model = small_model(small_config(override))
    kept = {key: weight.clone() for key, weight in model.state_dict().items()}
    with pytest.raises(InputError, match=told):
        rhmnet.load_checkpoint(model, file)
    torch.testing.assert_close(model.state_dict(), kept, rtol=0, atol=0)


def test_another_crop_is_refused_with_both_values(file: Path) -> None:
    told = re.escape("data.crop_size is [64, 64] in the file, [96, 128] here")
    override = "data.crop_size=[96, 128]"
    with pytest.raises(InputError, match=told):
        rhmnet.load_model(file, [override])
    with pytest.raises(InputError, match=r"is \[320, 320\] in the file, \[640, 512\] here"):
        rhmnet.load_model("small", ["data.crop_size=[640, 512]"])  # above its data.short_side
    with pytest.raises(InputError, match=told):
        rhmnet.load_checkpoint(small_model(small_config(override)), file)


def test_equal_values_and_other_data_are_no_difference(file: Path) -> None:
    overrides = ["model.num_heads=4", "data.crop_size=[64, 64]", "data.root=elsewhere"]
    _, config = rhmnet.load_model(file, overrides)
    assert config.data.root == "elsewhere"


def test_files_without_a_configuration_take_the_one_that_is_given(bare: Path) -> None:
    model, config = rhmnet.load_model(bare, ["model.num_heads=8"], small_config())
    assert (model.config.num_heads, config.test.update_frequency) == (8, 6)
    _, config = rhmnet.load_model(bare, OVERRIDES)
    assert config == small_config()
    with pytest.raises(InputError, match=r"bare.pth.tar: does not fit.*model\.(backbone|hidden)"):
        rhmnet.load_model(bare)  # video_training, of another size


def test_what_a_file_does_not_state_is_open(file: Path, tmp_path: Path) -> None:
    content = torch.load(file, weights_only=True)
    stated = {"num_heads": 4, "backbone": "resnet18"}
    torch.save({**content, "config": {"model": stated, "test": None}}, tmp_path / "part.pth.tar")
    model, _ = rhmnet.load_model(tmp_path / "part.pth.tar", (), small_config("model.norm=gn"))
    assert model.config.num_heads == 4
    with pytest.raises(InputError, match=r"model\.num_heads is 4 in the file, 8 here"):
        rhmnet.load_model(tmp_path / "part.pth.tar", (), small_config("model.num_heads=8"))


@pytest.mark.parametrize("config", [None, "text", 3, [1], {"model": torch.zeros(1)}, {1: 2}])
def test_a_configuration_that_is_none(file: Path, tmp_path: Path, config: object) -> None:
    torch.save({**torch.load(file, weights_only=True), "config": config}, tmp_path / "c.pth.tar")
    with pytest.raises(InputError, match=r"c\.pth\.tar: .*configuration is no mapping"):
        rhmnet.load_model(tmp_path / "c.pth.tar")


def test_a_giant_network_is_refused_before_it_is_made(file: Path, tmp_path: Path) -> None:
    content = torch.load(file, weights_only=True)
    content["config"]["model"]["feedforward_dim"] = 10**9
    torch.save(content, tmp_path / "giant.pth.tar")
    with pytest.raises(InputError, match=r"giant\.pth\.tar: "):
        rhmnet.load_model(tmp_path / "giant.pth.tar")


def test_the_small_network_comes_with_the_project(capsys: pytest.CaptureFixture) -> None:
    model, config = rhmnet.load_model()
    said = capsys.readouterr().err
    assert said.startswith("network: small, which comes with the project, at ")
    assert "load_model(FILE) names another" in said and said.count("\n") == 1
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    again, _ = rhmnet.load_model("small", ["test.precision=float32"])
    assert capsys.readouterr().err == ""
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert config.model.pretrained == "none"
    images, scribble = made_up_video(2, 48, 64, 2)
    tracker = rhmnet.Tracker(again, rhmnet.load_model("small", ["test.precision=float32"])[1])
    tracker.start(images[0], scribble)
    assert tracker.step(images[1]).labels.shape == (48, 64)


def test_the_small_networks_configuration_is_the_one_that_trains_it() -> None:
    _, config = rhmnet.load_model("small", ["train.epochs=1"], "small_video")
    carried = rhmnet.load_model("small")[1]
    assert (config.model, config.data.crop_size) == (carried.model, carried.data.crop_size)
    assert config.test == carried.test


def test_the_small_networks_file_is_the_one_on_its_card() -> None:
    path = find_checkpoint("small")
    card = (ROOT / "checkpoints" / "README.md").read_text()
    assert hashlib.sha256(path.read_bytes()).hexdigest() in card
    assert path.stat().st_size <= 10_000_000
    assert f"{path.stat().st_size:,} bytes" in card
    with zipfile.ZipFile(path) as archive:
        (pickle,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
        globals_ = [
            argument
            for opcode, argument, _ in pickletools.genops(archive.read(pickle))
            if opcode.name in ("GLOBAL", "STACK_GLOBAL", "INST")
        ]
    allowed = {"torch._utils _rebuild_tensor_v2", "collections OrderedDict"}
    allowed |= {"torch HalfStorage", "torch LongStorage"}
    assert set(globals_) <= allowed
    content = torch.load(path, weights_only=True)
    assert content.keys() == {"epoch", "state_dict", "config"}
    assert content["config"]["data"]["root"] == "datasets"


@pytest.mark.parametrize("path", ["", "no/such/file", "x" * 5000, "nul\0byte", 5, b"small"])
def test_a_path_that_is_none(path: object) -> None:
    with pytest.raises(InputError, match=r"checkpoint .*'small' names the network"):
        rhmnet.load_model(path)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda f: rhmnet.load_model(f, None), "overrides None: expected a list of texts"),
        (lambda f: rhmnet.load_model(f, "test.precision=auto"), "overrides .*: expected a list"),
        (lambda f: rhmnet.load_model(f, {"test.precision": "auto"}), "expected a list of texts"),
        (lambda f: rhmnet.load_model(f, [3]), r"overrides \[3\]: expected a list of texts"),
        (lambda f: rhmnet.load_model(f, small_config()), "overrides Config.*: expected a list"),
        (lambda f: rhmnet.load_model(f, config={"test": {}}), "configuration .*: expected a name"),
        (lambda f: rhmnet.load_config(None), "configuration None: expected a name"),
        (lambda f: rhmnet.build_model("video_training"), "str in place of what rhmnet.load_config"),
        (lambda f: rhmnet.load_checkpoint(f, small_model()), "PosixPath in place of a network"),
        (lambda f: rhmnet.load_checkpoint(torch.nn.Linear(1, 1), f), "Linear in place of a net"),
        (lambda f: rhmnet.save_checkpoint(f, small_model(), None, 1), "NoneType in place of what"),
        (lambda f: rhmnet.save_checkpoint(f, "m", small_config(), 1), "str in place of a network"),
        (lambda f: rhmnet.save_checkpoint(f, small_model(), small_config(), "a"), "epoch is 'a'"),
    ],
)
def test_arguments_of_another_kind_are_told(file: Path, call: Callable, told: str) -> None:
    before = file.read_bytes()
    with pytest.raises(InputError, match=told):
        call(file)
    assert file.read_bytes() == before
