"""The authors' release's numbers: probabilities to 1e-4, labels, losses, gradient norms."""

from __future__ import annotations

from pathlib import Path

import pytest
from release import CASES, check_track, check_train, read_case


@pytest.mark.parametrize("name", ["track_two_objects", "track_odd_size_large"])
def test_tracking_gives_the_release_numbers(name: str, release_checkpoint: Path) -> None:
    check_track(CASES / f"{name}.npz", release_checkpoint)


def test_training_step_gives_the_release_numbers(release_checkpoint: Path) -> None:
    check_train(CASES / "train_step.npz", release_checkpoint)


def test_every_shared_case(shared: Path, release_checkpoint: Path) -> None:
    paths = sorted((shared / "parity").glob("*.npz"))
    assert paths
    for path in paths:
        check = check_train if read_case(path)[0]["kind"] == "train" else check_track
        check(path, release_checkpoint)
