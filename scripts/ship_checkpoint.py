#!/usr/bin/env python
"""Make the file that is given to others from a training checkpoint: weights and configuration.

    python scripts/ship_checkpoint.py \\
        checkpoints/pretrain_weights_small_video/pretrain_checkpoint_1.pth.tar \\
        checkpoints/rhmnet_small.pth.tar

Weights are halved (loaded, they are float32 again), the optimizer and all else that only training
needs are left out, and paths of this machine are taken out of the configuration. Prints size and
SHA-256, which belong into checkpoints/README.md. The same input gives the same bytes.
"""

from __future__ import annotations

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

import dataclasses
import hashlib
from pathlib import Path

import torch

from rhmnet.checkpoint import load_checkpoint, read_config, save_checkpoint
from rhmnet.config import Config, override
from rhmnet.errors import InputError, say
from rhmnet.model import RHMNet
from rhmnet.runtime import CommandParser, run_command


def main() -> None:
    parser = CommandParser(settings=True, description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="written by train_video.py")
    parser.add_argument("out", type=Path, help="file to write, OUT.pth.tar")
    args = parser.parse_args()
    digest = ship(args.checkpoint, args.out, args.overrides)
    say(f"wrote {args.out}: {args.out.stat().st_size:,} bytes")
    print(f"SHA-256 {digest}")


def ship(checkpoint: Path, out: Path, overrides: list[str]) -> str:
    """Write `out`; returns its SHA-256. Raises InputError for weights that halves cannot hold."""
    if foreign := [item for item in overrides if not item.startswith("test.")]:
        raise InputError(f"{foreign[0]}: expected test.field=value; the rest is as it was trained")
    config = cleaned(override(read_config(checkpoint), overrides))
    model = RHMNet(config)
    epoch = load_checkpoint(model, checkpoint)
    model.half()
    for name, weight in model.state_dict().items():
        if not torch.isfinite(weight).all():
            raise InputError(f"{checkpoint}: {name} holds values that half precision cannot hold")
    save_checkpoint(out, model, config, epoch)
    return hashlib.sha256(out.read_bytes()).hexdigest()


def cleaned(config: Config) -> Config:
    """The configuration without paths and names of the machine that trained."""
    model = dataclasses.replace(config.model, pretrained="none")
    data = dataclasses.replace(config.data, root=Config().data.root)
    init = config.train.init_config
    train = dataclasses.replace(config.train, init_config=init and Path(init).stem)
    return dataclasses.replace(config, model=model, data=data, train=train)


if __name__ == "__main__":
    run_command(main)
