"""What a new run starts from: another one's weights, fitted to its crop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import functional

from rhmnet.checkpoint import SMALL, fill, find_checkpoint, read_checkpoint
from rhmnet.checkpoint_keys import unwrapped
from rhmnet.config import STRIDE, Config
from rhmnet.errors import InputError
from rhmnet.model import RHMNet
from rhmnet.training.options import Options, checkpoint_folder
from rhmnet.training.state import epoch_path, refuse_other_heads

_POSITIONS = ("position_embedding.row_embed", "position_embedding.col_embed")


def initial_weights(options: Options) -> Path | None:
    """The file that a new run starts from; None for the backbone's weights alone.

    Raises InputError where it is missing, with the command that makes it.
    """
    train = options.config.train
    if options.init == "none" or (options.init is None and train.init_config is None):
        return None
    if options.init == SMALL:
        return find_checkpoint(SMALL)
    if options.init is not None:
        path, remedy = Path(options.init), "name a checkpoint, or --init none"
    else:
        folder = checkpoint_folder(options.checkpoints, train.init_config)
        path = epoch_path(folder, train.init_epoch)
        remedy = (
            f"`python train_pretrain.py --config {train.init_config}` makes it (train_video.py, "
            "where it is of videos); --init FILE starts from other weights, --init none from the "
            "backbone's alone"
        )
    if not path.is_file():
        raise InputError(f"initial weights {path}: no such file; {remedy}")
    return path


def load_initial_weights(model: RHMNet, config: Config, path: Path) -> list[str]:
    """Begin with a file's weights; returns notes.

    Of weights that were trained on crops of another size, the position embedding is resized.
    Raises InputError where they do not fit, or are of another number of heads.
    """
    content = read_checkpoint(path)
    changed = refuse_other_heads(path, content, config)
    resized = _fit_positions(model, content, path)
    fill(model, content, path)
    told = [line for line in changed if not (resized and line.startswith("data.crop_size"))]
    return [
        f"starts from {path}",
        *resized,
        *(f"of the weights it starts from, {line}" for line in told),
    ]


def _fit_positions(model: RHMNet, content: dict[str, Any], path: Path) -> list[str]:
    """Resize the position embedding of a `read_checkpoint` where only its length differs.

    The first and the last vector stay the first and the last. Returns a note where it was done.
    """
    state = dict(content["state_dict"])
    keys = {unwrapped(key).removesuffix(".weight"): key for key in state}  # the authors' have one
    wanted = model.state_dict()
    sides = []
    for name in _POSITIONS:
        table = state.get(keys.get(name))
        if table is None or table.dim() != 2 or not len(table):
            return []  # `fill` says what is wrong
        sides.append((len(table), len(wanted[name])))
        state[keys[name]] = _resized(table, len(wanted[name]))
    if all(old == new for old, new in sides):
        return []
    content["state_dict"] = state
    was, now = ("x".join(str(side[i] * STRIDE) for side in sides) for i in (0, 1))
    return [f"its position embedding is resized: from crops of {was} to {now} (height x width)"]


def _resized(table: Tensor, length: int) -> Tensor:
    """[length, C] of [L, C], linear between neighbours, in float32."""
    if len(table) == length:
        return table
    columns = table.float().T[None]
    fitted = functional.interpolate(columns, length, mode="linear", align_corners=True)
    return fitted[0].T.contiguous()
