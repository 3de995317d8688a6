"""AdamW with a slower backbone, and learning rates as pure functions of the iteration."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import AdamW

from rhmnet.config import TrainConfig

BACKBONE = "feature_extractor.backbone."
"""Parameters whose name begins so learn at `backbone_lr_factor` x lr."""


def build_optimizer(model: nn.Module, config: TrainConfig) -> AdamW:
    """AdamW over two named groups, `backbone` and `rest`; frozen parameters are left out.

    The update is fused into one kernel where the device has one.
    """
    backbone, rest = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (backbone if name.startswith(BACKBONE) else rest).append(parameter)
    groups = [
        {"name": "backbone", "params": backbone, "lr_factor": config.backbone_lr_factor},
        {"name": "rest", "params": rest, "lr_factor": 1.0},
    ]
    groups = [group for group in groups if group["params"]]
    fused = all(p.device.type in ("cpu", "cuda") for group in groups for p in group["params"])
    return AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=fused)


def learning_rate(config: TrainConfig, iteration: int, iterations_per_epoch: int) -> float:
    """The learning rate of an iteration, counted from 0 over the run; docs/method.md, section 7.

    Nothing but the iteration goes in, so that a resumed run goes on exactly where it was.
    """
    lr = config.lr * min(1.0, (iteration + 1) / max(1, config.warmup))
    if config.schedule == "step":
        cuts = iteration // iterations_per_epoch // config.step_epochs
        return lr * config.step_factor**cuts
    updated = iteration - iteration % config.poly_every
    return lr * (1 - updated / (config.epochs * iterations_per_epoch)) ** config.poly_power


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give each parameter group its share of lr."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]
