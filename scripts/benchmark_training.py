"""Measure what training is made of: the loader alone, the step alone, and which holds a run back.

    python scripts/make_synthetic.py datasets_synthetic --size medium
    python scripts/benchmark_training.py data.root=datasets_synthetic
    python scripts/benchmark_training.py --parts step --batch 2 --size 256 --objects 2

The step is also told in units of a plain eager float32 ResNet-50 (torchvision's, stem to layer3)
running forward and backward over the same frames, timed in turn with it: a number that machines
share. The loader is told by the clock and by the CPU time it takes: they differ where other work
shares the cores or the disk is waited for, and the first is what a run gets. A table is printed,
and the same as JSON goes to --out.
"""

from __future__ import annotations

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

import argparse
import dataclasses
import itertools
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import torch
import torchvision
from torch import Tensor, nn
from torch.amp import GradScaler

from rhmnet.config import PRECISIONS, Config, load_config
from rhmnet.data.loader import build_dataset, build_loader
from rhmnet.errors import say
from rhmnet.files.writing import write_json
from rhmnet.losses import Criterion
from rhmnet.model import build_model
from rhmnet.runtime import CommandParser, run_command, whole
from rhmnet.runtime.processes import choose_device
from rhmnet.structures import REDRAW_REASONS, Clip
from rhmnet.training import ClipLosses, build_optimizer, prepare, to_device


def main() -> None:
    args = parse_arguments()
    config = load_config(args.config, args.overrides)
    device = choose_device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    report = {"config": args.config, "device": name_of(device), "threads": torch.get_num_threads()}
    if "loader" in args.parts:
        report["loader"] = {stage: time_loader(config, stage, args.clips) for stage in args.stages}
    if "step" in args.parts:
        report["step"] = time_steps(config, args, device)
    print(format_table(report))
    write_json(args.out, report)
    say(f"wrote {args.out}")


def parse_arguments() -> argparse.Namespace:
    parser = CommandParser(settings=True, description=__doc__)
    add = parser.add_argument
    add("--config", default="video_training", help="name under configs/ or a file")
    add("--parts", nargs="+", choices=("loader", "step"), default=["loader", "step"])
    add("--stages", nargs="+", choices=("pretrain", "video"), default=["pretrain", "video"])
    add(
        "--clips", type=whole(1, 10**6), default=64, help="clips that the loader makes (default 64)"
    )
    add("--batch", type=whole(1, 4096), default=2, help="clips of a step (default 2)")
    add(
        "--size",
        type=whole(32, 4096, multiple=16),
        default=256,
        help="height and width of a step's clips (default 256)",
    )
    add("--objects", type=whole(1, 10), default=2, help="objects of a step's clips (default 2)")
    add("--precision", nargs="+", choices=PRECISIONS, default=["float32", "bfloat16"])
    add(
        "--repeats",
        type=whole(1, 10**4),
        default=5,
        help="timings, of which the median counts (default 5)",
    )
    add("--threads", type=whole(1, 1024), help="CPU threads (default: torch's choice)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--out", type=Path, default=Path("results/benchmark_training.json"))
    args = parser.parse_args()
    if args.out.is_dir():
        parser.error(f"--out {args.out}: is a folder; expected a file to write")
    return args


def time_loader(config: Config, stage: str, clips: int) -> dict[str, float]:
    """Clips that one worker makes by itself, by the clock and by CPU time, and what it hands on."""
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, num_workers=0))
    dataset = build_dataset(config, stage)
    epochs = (build_loader(config, stage, epoch=e, dataset=dataset) for e in itertools.count())
    loader = itertools.chain.from_iterable(epochs)
    made, redraws = 0, torch.zeros(len(REDRAW_REASONS), dtype=torch.int64)
    with one_thread():
        next(loader)  # the first one opens files
        start, cpu_start = time.perf_counter(), time.process_time()
        while made < clips:
            batch = next(loader)
            made += len(batch.frames)
            redraws += batch.redraws.sum(dim=0)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    return {
        "clips_per_second_and_worker": made / seconds,
        "clips_per_cpu_second": made / cpu,
        "megabytes_per_clip": sum(x.nbytes for x in batch) / len(batch.frames) / 1e6,
        "redraws_per_clip": redraws.sum().item() / made,
    }


@contextmanager
def one_thread() -> Iterator[None]:
    """OpenCV and PyTorch as in a worker: on more threads a clip would look cheaper than it is."""
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])


def time_steps(config: Config, args: argparse.Namespace, device: torch.device) -> dict:
    """Median seconds of a step and of its stages in each precision, and of the plain backbone."""
    clip = to_device(make_clip(args, config.data.clip_length), device)
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, pretrained="none"),
        data=dataclasses.replace(config.data, crop_size=(args.size, args.size)),
    )
    backbone = plain_backbone(clip.frames.flatten(0, 1).float() / 255)
    steps = {p: Step(config, p, clip) for p in args.precision}
    timed = {"backbone": backbone, **{name: step.run for name, step in steps.items()}}
    medians = medians_of(timed, args.repeats, device)
    report = {"clips": list(clip.frames.shape), "objects": args.objects}
    report["backbone_seconds"] = medians["backbone"]
    for name, step in steps.items():
        stages = [step.stages(device) for _ in range(args.repeats)]
        report[name] = {
            "seconds": medians[name],
            "backbones": medians[name] / medians["backbone"],
            "clips_per_second": args.batch / medians[name],
            "stages": {k: statistics.median(s[k] for s in stages) for k in stages[0]},
        }
    report["peak_megabytes"] = peak_megabytes(device)
    return report


class Step:
    """A training step of one precision, whole or stage by stage."""

    def __init__(self, config: Config, precision: str, clip: Clip) -> None:
        train = dataclasses.replace(config.train, precision=precision)
        device = clip.frames.device
        self.clip, self.config = clip, config
        self.model = build_model(config).to(device).train()
        prepare(self.model, train)
        self.criterion = Criterion(config.loss)
        self.losses = ClipLosses(self.model, self.criterion, train)
        self.optimizer = build_optimizer(self.model, train)
        self.scaler = GradScaler(device.type, enabled=precision == "float16")

    def run(self) -> None:
        self.scaler.scale(self.losses(self.clip)["total"]).backward()
        self.update()

    def update(self) -> None:
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def stages(self, device: torch.device) -> dict[str, float]:
        """Seconds of each stage; the device is waited for between them."""
        losses = self.losses
        run_backward, losses.run_backward = losses.run_backward, False
        seconds, start = {}, now(device)
        prediction = losses.predict(self.clip)
        seconds["forward"] = (lap := now(device)) - start
        if run_backward:  # what a second pass takes longer, when it runs the clip both ways
            losses.run_backward, start = True, lap
            prediction = losses.predict(self.clip)
            seconds["backward clip"] = (lap := now(device)) - start - seconds["forward"]
        start = lap
        total = self.criterion(self.clip, prediction)["total"]
        seconds["losses"] = (lap := now(device)) - start
        start = lap
        self.scaler.scale(total).backward()
        seconds["gradients"] = (lap := now(device)) - start
        start = lap
        self.update()
        seconds["optimizer"] = now(device) - start
        return seconds


def plain_backbone(images: Tensor) -> Callable[[], None]:
    """Forward and backward of torchvision's ResNet-50, stem to layer3, as it comes."""
    resnet = torchvision.models.resnet50(weights=None)
    network = nn.Sequential(*list(resnet.children())[:7]).to(images.device)

    def run() -> None:
        network(images).mean().backward()
        network.zero_grad(set_to_none=True)

    return run


def make_clip(args: argparse.Namespace, frames: int) -> Clip:
    """Random frames with a stroke for every object, and background strokes."""
    size, shape = args.size, (args.batch, frames, args.size, args.size)
    scribbles = torch.zeros(shape, dtype=torch.uint8)
    scribbles[:, :, : size // 16] = 255
    for n in range(args.objects):
        top = size // 8 + n * (size * 3 // 4) // args.objects
        scribbles[:, :, top : top + size // 16, size // 4 : size * 3 // 4] = n + 1
    return Clip(
        torch.randint(0, 256, (args.batch, frames, 3, size, size), dtype=torch.uint8),
        scribbles,
        scribbles[:, 0],
        scribbles[:, -1],
        torch.full((args.batch,), args.objects),
        torch.ones(args.batch, dtype=torch.bool),
        torch.zeros(args.batch, len(REDRAW_REASONS), dtype=torch.int64),
    )


def medians_of(
    timed: dict[str, Callable[[], None]], repeats: int, device: torch.device
) -> dict[str, float]:
    """Median seconds of each, run in turn, so that a busy machine slows all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for repeat in range(repeats + 1):
        for name, call in timed.items():
            start = now(device)
            call()
            if repeat > 0:  # the first one warms up
                seconds[name].append(now(device) - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def now(device: torch.device) -> float:
    """The clock, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


def peak_megabytes(device: torch.device) -> float:
    """Of the device's memory, or of this process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def format_table(report: dict) -> str:
    lines = [f"{report['config']} on {report['device']}, {report['threads']} CPU threads"]
    for stage, found in report.get("loader", {}).items():
        lines.append(
            f"loader, {stage:8}  {found['clips_per_second_and_worker']:7.1f} clips/s per worker, "
            f"{found['clips_per_cpu_second']:.1f} per second of CPU  "
            f"{found['megabytes_per_clip']:.2f} MB a clip  "
            f"{found['redraws_per_clip']:.2f} redraws a clip"
        )
    step = report.get("step")
    if step is None:
        return "\n".join(lines)
    shape = " x ".join(map(str, step["clips"]))
    lines.append(f"step over {shape}, {step['objects']} objects")
    lines.append(f"  plain backbone  {step['backbone_seconds']:8.3f} s")
    for name in PRECISIONS:
        if name not in step:
            continue
        found = step[name]
        lines.append(
            f"  {name:14}  {found['seconds']:8.3f} s  = {found['backbones']:.2f} backbones, "
            f"{found['clips_per_second']:.2f} clips/s"
        )
        lines += [f"    {stage:12}  {s:8.3f} s" for stage, s in found["stages"].items()]
    lines.append(f"  peak memory  {step['peak_megabytes']:.0f} MB")
    if "loader" in report:
        fastest = max(step[name]["clips_per_second"] for name in PRECISIONS if name in step)
        for stage, found in report["loader"].items():
            need = fastest / found["clips_per_second_and_worker"]
            lines.append(f"{stage}: {need:.2f} workers keep up with the fastest step above")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main, keep_memory=True)
