"""Tiny training runs on made-up clips, in this process or in others that may be killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from davis_files import load_script
from torch.utils.data import Dataset

from rhmnet.config import Config, from_dict
from rhmnet.data import SampleKey, sample_rng
from rhmnet.structures import REDRAW_REASONS, Clip
from rhmnet.training.run import Options, Validate

SIDE, FRAMES, SAMPLES = 32, 2, 6
train_video = load_script("train_video.py")

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["rhmnet.training.run", "torch.utils.tensorboard"])


class MadeUpClips(Dataset):
    """A square that moves over noise: each clip a pure function of its key."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, key: SampleKey) -> Clip:
        rng = sample_rng(0, key)
        frames = torch.from_numpy(rng.integers(0, 100, (1, FRAMES, 3, SIDE, SIDE), "uint8"))
        scribbles = torch.zeros(1, FRAMES, SIDE, SIDE, dtype=torch.uint8)
        num_objects = 1 + key.index % 2
        for t in range(FRAMES):
            scribbles[0, t, :4] = 255
            for n in range(num_objects):
                x, y = int(rng.integers(4, SIDE - 12)), 6 + 12 * n
                frames[0, t, n, y : y + 10, x : x + 10] = 220
                scribbles[0, t, y : y + 8, x : x + 8] = n + 1
        return Clip(
            frames,
            scribbles,
            scribbles[:, 0],
            scribbles[:, -1],
            torch.tensor([num_objects]),
            torch.tensor([True]),
            torch.tensor([[key.index, 0, 1]])[:, : len(REDRAW_REASONS)],
        )


def tiny_config(**train: Any) -> Config:
    """Three iterations an epoch with two clips a step; dropout on, resume states often."""
    small = {"batch_size": 2, "reference_batch": 2, "epochs": 2, "init_config": None, "lr": 1e-3}
    often = {"log_every": 1, "save_every": 1, "picture_every": 2}
    return from_dict(
        {
            "model": {
                **{"backbone": "resnet18", "pretrained": "none"},
                **{"hidden_dim": 32, "num_heads": 2, "feedforward_dim": 32, "dropout": 0.1},
            },
            "data": {"crop_size": [SIDE, SIDE], "clip_length": FRAMES, "num_workers": 0},
            "train": {**small, **often, **train},
            "loss": {"ignore_kernel": 5},
        }
    )


def tiny_options(folder: Path, config: Config, resume: str = "auto") -> Options:
    """Options of a run that keeps everything in one folder."""
    return Options(config, "tiny", resume, None, folder / "checkpoints", folder / "runs", "cpu")


def train_tiny(options: Options, validate: Validate | None = None) -> int:
    """`train` on made-up clips; returns its exit code."""
    torch.set_num_threads(1)
    real = train_video.build_dataset
    train_video.build_dataset = lambda config, stage: MadeUpClips()
    try:
        return train_video.train(options, validate)
    finally:
        train_video.build_dataset = real


def losses_of(options: Options) -> list[tuple[int, dict[str, float]]]:
    """The loss curve in metrics.jsonl, without what a clock says."""
    lines = [json.loads(x) for x in (options.log_folder / "metrics.jsonl").read_text().splitlines()]
    clock = ("clips_per_second", "data_wait")
    return [(x["iteration"], {k: v for k, v in x.items() if k not in clock}) for x in lines]


def weights_of(options: Options, epoch: int = 2) -> dict[str, torch.Tensor]:
    """The state dict after an epoch."""
    path = options.checkpoint_folder / f"pretrain_checkpoint_{epoch}.pth.tar"
    return torch.load(path, weights_only=True)["state_dict"]


def run_processes(count: int, target: Callable[..., Any], *args: Any) -> list[int]:
    """Call `target(*args)` in `count` processes that can find each other; their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(count):
        environment = {
            **{"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count},
            **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
        }
        process = _CONTEXT.Process(target=_call, args=(environment, target, *args))
        process.start()
        processes.append(process)
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def train_and_die(options: Options, signal_number: int, after: float) -> None:
    """Train, and get a signal `after` seconds from the start of it."""
    timer = threading.Timer(after, os.kill, (os.getpid(), signal_number))
    timer.daemon = True
    timer.start()
    os._exit(train_tiny(options))


def _call(environment: dict[str, Any], target: Callable[..., Any], *args: Any) -> None:
    os.environ.update({key: str(value) for key, value in environment.items()})
    torch.set_num_threads(1)
    target(*args)
