from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from release import release_state_dict
from small import small_config, small_model

import rhmnet
from rhmnet.checkpoint import read_checkpoint, read_config
from rhmnet.errors import InputError
from rhmnet.state_dict import translate_keys


def test_authors_keys_are_ours(tmp_path: Path) -> None:
    model = rhmnet.build_model(rhmnet.load_config("video_training", ["model.pretrained=none"]))
    state = release_state_dict()
    torch.save({"epoch": 69, "state_dict": state}, tmp_path / "theirs.pth.tar")
    assert rhmnet.load_checkpoint(model, tmp_path / "theirs.pth.tar") == 69
    ours = model.state_dict()
    assert torch.equal(
        ours["feature_extractor.backbone.conv1.weight"], state["backbone.layer0.0.weight"]
    )
    assert torch.equal(ours["readers.1.norm2.weight"], state["transformer.decoders.1.norm3.weight"])


@pytest.mark.parametrize(
    "wrap",
    [
        "module.{}".format,
        "_orig_mod.{}".format,
        "_orig_mod.module.{}".format,
        "module.module._orig_mod.{}".format,
        lambda key: key.replace("feature_extractor.", "feature_extractor._orig_mod."),
    ],
)
def test_names_of_wrappers_are_dropped(tmp_path: Path, wrap) -> None:
    model, path = small_model(), tmp_path / "wrapped.pth.tar"
    state = model.state_dict()
    torch.save({"epoch": 3, "state_dict": {wrap(k): v for k, v in state.items()}}, path)
    again = small_model(seed=1)
    assert rhmnet.load_checkpoint(again, path) == 3
    torch.testing.assert_close(again.state_dict(), state, rtol=0, atol=0)


def test_wrappers_names_are_dropped_from_the_authors_keys() -> None:
    weight = torch.zeros(1)
    state = {"module.bottleneck.0.bias": weight, "module.transformer.decoders.1.norm3.bias": weight}
    names = {"feature_extractor.bottleneck.0.bias", "readers.1.norm2.bias"}
    assert translate_keys(state).keys() == names
    with pytest.raises(InputError, match=r"a\.b is there twice, as 'module\.a\.b' too"):
        translate_keys({"a.b": weight, "module.a.b": weight})


def test_ours_rebuilds_its_model_from_the_file_alone(tmp_path: Path) -> None:
    config = small_config("model.refine_layers=2", "test.update_frequency=3")
    model = small_model(config)
    path = tmp_path / "deep" / "ours.pth.tar"
    rhmnet.save_checkpoint(path, model, config, epoch=5, note="kept")
    assert read_config(path) == config
    again = rhmnet.build_model(read_config(path))
    assert rhmnet.load_checkpoint(again, path) == 5
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    assert read_checkpoint(path)["note"] == "kept"
    assert os.listdir(path.parent) == ["ours.pth.tar"]


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil_was_here",)


def test_code_in_a_file_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": torch.zeros(1)}, "extra": Evil()}, "evil.pth.tar")
    Path("plain.pkl").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pth.tar", "plain.pkl"):
        with pytest.raises(InputError, match=f"{name}: refused"):
            read_checkpoint(name)
    assert not Path("evil_was_here").exists()


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.pth\.tar: no such file"):
        read_checkpoint(tmp_path / "missing.pth.tar")
    config = small_config()
    path = tmp_path / "whole.pth.tar"
    rhmnet.save_checkpoint(path, small_model(config), config, epoch=1)
    whole = path.read_bytes()
    for name, content in (
        ("cut.pth.tar", whole[: len(whole) // 2]),
        ("empty.pth.tar", b""),
        ("text.pth.tar", b"not a checkpoint"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name) as error:
            read_checkpoint(tmp_path / name)
        assert "\n" not in str(error.value)
    torch.save([1, 2], tmp_path / "list.pth.tar")
    torch.save({"state_dict": {"a": 1}}, tmp_path / "values.pth.tar")
    for name in ("list.pth.tar", "values.pth.tar"):
        with pytest.raises(InputError, match="expected a dict with a state_dict of tensors"):
            read_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("model.backbone=resnet34", "another backbone"),
        ("model.refine_layers=2", "other refine layers"),
        ("model.hidden_dim=96", "another width"),
        ("model.bg_prototype=false", "model.bg_prototype"),
        ("model.level_embedding=false", "model.level_embedding"),
        ("model.norm=bn", "another norm"),
        ("data.crop_size=[96, 96]", "another crop"),
    ],
)
def test_misfit_names_the_keys_and_the_likely_reason(
    tmp_path: Path, override: str, reason: str
) -> None:
    torch.save({"state_dict": small_model().state_dict()}, tmp_path / "c.pth.tar")
    other = small_model(small_config(override))
    before = {name: weight.clone() for name, weight in other.state_dict().items()}
    with pytest.raises(InputError, match=reason) as error:
        rhmnet.load_checkpoint(other, tmp_path / "c.pth.tar")
    assert any(word in str(error.value) for word in ("missing", "unexpected", "misshapen"))
    assert all(torch.equal(before[name], weight) for name, weight in other.state_dict().items())


def test_separate_heads_reason(tmp_path: Path) -> None:
    config = small_config("model.refine_layers=2")
    torch.save({"state_dict": small_model(config).state_dict()}, tmp_path / "c.pth.tar")
    other = small_model(small_config("model.refine_layers=2", "model.separate_heads=true"))
    with pytest.raises(InputError, match="separate heads"):
        rhmnet.load_checkpoint(other, tmp_path / "c.pth.tar")


def test_a_failed_write_leaves_the_previous_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, path = small_config(), tmp_path / "c.pth.tar"
    model = small_model(config)
    rhmnet.save_checkpoint(path, model, config, epoch=1)

    def full_disk(content: object, file) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        rhmnet.save_checkpoint(path, model, config, epoch=2)
    assert read_checkpoint(path)["epoch"] == 1
    assert os.listdir(tmp_path) == ["c.pth.tar"]


def test_backbone_weights_from_a_file(tmp_path: Path) -> None:
    import torchvision

    torch.manual_seed(1)
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "r18.pth")
    source = f"model.pretrained={tmp_path / 'r18.pth'}"
    model = rhmnet.build_model(small_config(source))
    saved = torch.load(tmp_path / "r18.pth", weights_only=True)
    assert torch.equal(
        model.feature_extractor.backbone["layer2"][0].conv1.weight, saved["layer2.0.conv1.weight"]
    )
    with pytest.raises(InputError, match="expected the weights of torchvision's resnet34"):
        rhmnet.build_model(small_config(source, "model.backbone=resnet34"))
    with pytest.raises(InputError, match="no such file"):
        rhmnet.build_model(small_config("model.pretrained=nowhere.pth"))


def test_authors_files_of_other_options(tmp_path: Path) -> None:
    """Heads with batch norm, with and without its counts; a background embedding not read."""
    state = release_state_dict()
    for key in [k for k in state if "conv_in.norm.weight" in k or "x.norm.weight" in k]:
        module = key.removesuffix("weight")
        state[f"{module}running_mean"] = torch.zeros_like(state[key])
        state[f"{module}running_var"] = torch.ones_like(state[key])
    torch.save({"epoch": 1, "state_dict": state}, tmp_path / "bn.pth.tar")
    overrides = ["model.pretrained=none", "model.norm=bn", "model.bg_prototype=false"]
    model = rhmnet.build_model(rhmnet.load_config("video_training", overrides))
    assert rhmnet.load_checkpoint(model, tmp_path / "bn.pth.tar") == 1
    wanted = state["segmentors.0.conv_4x.norm.weight"]
    assert torch.equal(model.entire_heads[0].conv_s4.norm.weight, wanted)


@pytest.mark.parametrize(
    ("value", "kind"), [(float("nan"), "NaN"), (float("inf"), "infinite"), (1e300, "infinite")]
)
def test_weights_that_are_not_finite_are_refused_by_name(
    tmp_path: Path, value: float, kind: str
) -> None:
    state = small_model().state_dict()
    name = "readers.1.norm2.weight"
    state[name] = state[name].double().index_fill(0, torch.tensor([3]), value)
    torch.save({"state_dict": state}, tmp_path / "c.pth.tar")
    model = small_model(seed=1)
    before = {key: weight.clone() for key, weight in model.state_dict().items()}
    with pytest.raises(InputError, match=f"c.pth.tar: {name} holds {kind}"):
        rhmnet.load_checkpoint(model, tmp_path / "c.pth.tar")
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_half_precision_weights_are_loaded_as_float32(tmp_path: Path) -> None:
    state = {key: weight.half() for key, weight in small_model().state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "c.pth.tar")
    model = small_model(seed=1)
    rhmnet.load_checkpoint(model, tmp_path / "c.pth.tar")
    for key, weight in model.state_dict().items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, state[key].float())
