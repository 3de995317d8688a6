"""Which weights to track with, and their configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rhmnet.checkpoint import read_checkpoint
from rhmnet.config import Config, from_dict, load_config, override
from rhmnet.errors import InputError

FOLDER = Path("checkpoints")
DEFAULT_CONFIG = "video_training"  # of files that carry none, as the authors'
_STATES = "state_"  # a training run's resume states begin with this; its weights lie beside them
_HOW = (
    "the authors announce theirs in the README of github.com/mkg1204/RHMNet-for-SSVOS, behind "
    "file-sharing links; train_video.py makes your own, scripts/quickstart.sh a small one"
)


def find_checkpoint(given: Path | None, folder: Path = FOLDER) -> Path:
    """The file that was named, or the one under `folder` that was written last.

    Raises InputError that says where to get weights, if there are none.
    """
    if given is not None:
        if not given.is_file():
            raise InputError(f"--checkpoint {given}: no such file; {_HOW}")
        return given
    found = [p for p in folder.rglob("*.pth*") if p.is_file() and not p.name.startswith(_STATES)]
    found = [p for p in found if p.name.endswith((".pth", ".pth.tar"))]
    if not found:
        raise InputError(f"{folder}/: holds no checkpoint, and no --checkpoint is given: {_HOW}")
    return max(found, key=lambda path: path.stat().st_mtime)


def choose_config(
    checkpoint: Path, name: str | None = None, overrides: Sequence[str] = ()
) -> Config:
    """The configuration that a checkpoint is of.

    name: a configuration instead of the one that the file carries; files that carry none are of
    `video_training`. overrides: `group.field=value`, as test.precision=bfloat16.
    """
    content = {} if name else read_checkpoint(checkpoint)
    if "config" not in content:
        return load_config(name or DEFAULT_CONFIG, overrides)
    return override(from_dict(content["config"], source=str(checkpoint)), overrides)
