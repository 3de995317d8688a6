"""Fixtures that several rooms' tests share."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from rhmnet.files import writing
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


@pytest.fixture
def fill_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """fill_disk(room): the one writer takes `room` bytes more, the last by a short write.

    code: of the error that follows. under: of files in this folder alone. Returns a list of what
    room is left.
    """
    real = writing._Raw.write

    def arrange(room: int, code: int = errno.ENOSPC, under: Path | None = None) -> list[int]:
        left = [room]

        def write(self, data):
            if under is not None and not Path(self.name).is_relative_to(under):
                return real(self, data)
            data = memoryview(data).cast("B")[: left[0]]
            if not data:
                self.failed = OSError(code, os.strerror(code))
                raise self.failed
            left[0] -= len(data)
            return os.write(self.fileno(), data)

        monkeypatch.setattr(writing._Raw, "write", write)
        return left

    return arrange


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type:
    """`rhmnet.Tracker` knows the answers, and remembers what it was given: a `FakeTracker`."""
    from davis_files import FakeTracker

    import rhmnet  # as above

    monkeypatch.setattr(rhmnet, "Tracker", FakeTracker)
    monkeypatch.setattr(FakeTracker, "started", [])
    monkeypatch.setattr(FakeTracker, "frames", 0)
    return FakeTracker
