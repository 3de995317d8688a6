"""RHMNet: scribble-supervised video object segmentation.

model, config = rhmnet.load_model()  # the small network that comes with the project; or a file's
tracker = rhmnet.Tracker(model, config)
first = tracker.start(image, scribble)
later = tracker.step(image)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rhmnet.checkpoint import load_checkpoint, load_model, save_checkpoint
    from rhmnet.config import Config, load_config
    from rhmnet.errors import InputError
    from rhmnet.files.scribble_file import read_scribble
    from rhmnet.model import RHMNet, build_model
    from rhmnet.tracker import Tracker

__version__ = "0.2.0"

__all__ = [
    "Config",
    "InputError",
    "RHMNet",
    "Tracker",
    "build_model",
    "load_checkpoint",
    "load_config",
    "load_model",
    "read_scribble",
    "save_checkpoint",
]

# Imported on first use: scoring, scribbles and loader processes need no PyTorch network.
_ROOMS = {
    "Config": "config",
    "InputError": "errors",
    "RHMNet": "model",
    "Tracker": "tracker",
    "build_model": "model",
    "load_checkpoint": "checkpoint",
    "load_config": "config",
    "load_model": "checkpoint",
    "read_scribble": "files.scribble_file",
    "save_checkpoint": "checkpoint",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'rhmnet' has no attribute {name!r}")
    return getattr(import_module(f"rhmnet.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
