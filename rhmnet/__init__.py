"""RHMNet: scribble-supervised video object segmentation.

config = rhmnet.load_config("video_training")
model = rhmnet.build_model(config)
rhmnet.load_checkpoint(model, "checkpoint.pth.tar")
tracker = rhmnet.Tracker(model, config)
first = tracker.start(image, scribble)
later = tracker.step(image)
"""

from rhmnet.checkpoint import load_checkpoint, save_checkpoint
from rhmnet.config import Config, load_config
from rhmnet.errors import InputError
from rhmnet.model import RHMNet, build_model
from rhmnet.tracker import Tracker

__all__ = [
    "Config",
    "InputError",
    "RHMNet",
    "Tracker",
    "build_model",
    "load_checkpoint",
    "load_config",
    "save_checkpoint",
]
