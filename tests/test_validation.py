"""Validation while training: what it needs is looked at before training, not after an epoch."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from davis_files import make_davis
from small import small_config, small_model

import rhmnet
from rhmnet.errors import InputError
from rhmnet.evaluation.benchmarks import davis_validation
from rhmnet.runtime.processes import Processes


def config_of(root: Path, eval_every: int = 1) -> rhmnet.Config:
    return small_config(f"data.root={root}", f"train.eval_every={eval_every}")


def test_score_of_a_whole_tree(tmp_path: Path) -> None:
    make_davis(tmp_path / "DAVIS", 2017)
    validate = davis_validation(config_of(tmp_path), tmp_path / "validation")
    score = validate(small_model(), Processes(0, 1, torch.device("cpu"), None))
    assert 0 <= score <= 1
    assert (tmp_path / "validation_g0" / "bee" / "00004.png").is_file()


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("ImageSets", "not a DAVIS folder"),
        ("ImageSets/2017/val.txt", "no such file; there is no list at all"),
        ("JPEGImages/480p/bee", "no such folder; expected the video's .jpg, .jpeg, .png files"),
        ("Annotations/480p/bee", "no such folder; expected the video's .png files"),
        ("Annotations/480p/bee/00002.png", "video bee: 5 frames"),
        ("valid_scribbles0", "no scribble of ant"),
        ("valid_scribbles0/bee.bmp", "no scribble of bee"),
    ],
)
def test_what_is_missing_is_named_before_training(tmp_path: Path, gone: str, message: str) -> None:
    path = make_davis(tmp_path / "DAVIS", 2017) / gone
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    remedy = "; data.root is the folder that holds DAVIS, or set train.eval_every=0"
    expected = f"^validation: .*{re.escape(message)}.*{re.escape(remedy)}"
    with pytest.raises(InputError, match=expected) as caught:
        davis_validation(config_of(tmp_path), tmp_path / "validation")
    assert not re.search(r"--data-root|--set|--year|\n", str(caught.value))


def test_nothing_is_looked_at_where_there_is_no_validation(tmp_path: Path) -> None:
    config = config_of(tmp_path / "nowhere", eval_every=0)
    assert davis_validation(config, tmp_path / "validation") is None
