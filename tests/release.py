"""The release's numbers: weights made by its rule, and the cases that it was run on.

The rule and the cases' form are those of the parity files: each tensor is drawn from a generator
seeded by its own key, so that no weights need to be kept.
"""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import rhmnet
from rhmnet.model import RHMNet

CASES = Path(__file__).parent / "parity"
HEAD_COPIES = ("transformer.segmentors.", "transformer.scribble_predictor.")


def release_state_dict() -> dict[str, Tensor]:
    """Every key of the authors' state dict with weights by the rule."""
    state = {}
    for line in (CASES / "release_state_dict.tsv").read_text().splitlines():
        key, dims = line.split("\t")
        short = key.removeprefix("transformer.") if key.startswith(HEAD_COPIES) else key
        state[key] = torch.from_numpy(_weight(short, tuple(map(int, dims.split("x")))))
    return state


def _weight(key: str, shape: tuple[int, ...]) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    n = generator.standard_normal(shape).astype(np.float32)
    if key.startswith("hr_embed_obj"):
        n = 1 + 0.1 * n
    elif key.startswith("hr_embed_bg"):
        n = -1 + 0.1 * n
    elif key.endswith("running_mean"):
        n = 0.1 * n
    elif key.endswith("running_var"):
        n = 1 + 0.1 * np.abs(n)
    elif key.endswith("bias"):
        n = 0.05 * n
    elif len(shape) == 1:
        n = (0.2 if key.endswith("bn3.weight") else 1) + 0.02 * n
    else:
        n = n * math.sqrt(2 / math.prod(shape[1:]))
    return n.astype(np.float32)


def release_model(meta: dict, checkpoint: Path) -> tuple[RHMNet, rhmnet.Config]:
    """The case's network with the rule's weights, loaded from a file in the authors' form."""
    overrides = [f"{key}={json.dumps(value)}" for key, value in meta["over"].items()]
    config = rhmnet.load_config(meta["config"], ["model.pretrained=none", *overrides])
    model = rhmnet.build_model(config).eval()
    rhmnet.load_checkpoint(model, checkpoint)
    return model, config


def read_case(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """A case's description and its arrays."""
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    return json.loads(str(arrays.pop("meta"))), arrays
