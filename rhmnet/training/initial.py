"""What a new run starts from: another one's weights, fitted to its crop."""

from __future__ import annotations

from pathlib import Path

from rhmnet.checkpoint import SMALL, epoch_path, fill, find_checkpoint, read_checkpoint, run_folder
from rhmnet.config import Config
from rhmnet.errors import InputError
from rhmnet.model import RHMNet
from rhmnet.state_dict import resize_positions
from rhmnet.training.options import Options
from rhmnet.training.state import refuse_other_heads


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
        folder = run_folder(options.checkpoints, train.init_config)
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
    content["state_dict"], resized = resize_positions(content["state_dict"], model.state_dict())
    fill(model, content, path)
    told = [line for line in changed if not (resized and line.startswith("data.crop_size"))]
    return [
        f"starts from {path}",
        *([resized] if resized else []),
        *(f"of the weights it starts from, {line}" for line in told),
    ]
