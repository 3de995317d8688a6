"""Fixtures that several rooms' tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from rhmnet.tools.synthetic import write_trees

settings.register_profile("suite", deadline=None)  # a busy machine is no failure
settings.load_profile("suite")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and parity files beside the project; skips where there is none."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "parity").is_dir():
        pytest.skip("no ../shared beside the project")
    return folder


@pytest.fixture(scope="session")
def tiny_trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic COCO, DAVIS and Youtube-VOS trees (size tiny, seed 0), which no test changes."""
    out = tmp_path_factory.mktemp("synthetic") / "data"
    write_trees(out, seed=0, size="tiny")
    return out


@pytest.fixture(scope="session")
def release_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the authors' form, with weights by the parity cases' rule."""
    import torch  # most tests need no network
    from release import release_state_dict

    path = tmp_path_factory.mktemp("release") / "pretrain_checkpoint_78.pth.tar"
    torch.save({"epoch": 78, "state_dict": release_state_dict()}, path)
    return path
