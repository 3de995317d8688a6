#!/usr/bin/env python
"""Measure tracking speed and memory, in units that travel: of a plain backbone on this machine.

    python scripts/benchmark.py --objects 1 3                             # minutes
    python scripts/benchmark.py --full                                    # everything; hours
    python scripts/benchmark.py model.backbone=resnet101 --objects 1      # settings come first
    python scripts/benchmark.py --checkpoint small                        # what comes with it
    python scripts/benchmark.py --checkpoint model.pth.tar --compare \\
        --video dog.mp4 --scribble strokes.png --objects 1
    python scripts/benchmark.py --session                                 # a correction's cost

The unit is torchvision's ResNet (the configuration's), stem to layer3, eager, float32, on one frame
padded to multiples of 16, timed in the same process. Weights and frames are random unless they are
given; on the CPU the first step reads unmarked tokens once for all objects, and with random weights
only the strokes' are marked. Each row is measured in a process of its own, so that peak memory is
its own. `share` is the part of the measured matrix-product rate that is reached, by the operations
of a frame with the memory full. With --checkpoint the whole of segment.py is timed, too, on the
demo clip: starting, reading, tracking and writing masks.
"""

from __future__ import annotations

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

import argparse
import itertools
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

import rhmnet
import rhmnet.model as model_module
from rhmnet import structures
from rhmnet.accelerate import fastest_precision, prepare_for_tracking
from rhmnet.checkpoint import DEFAULT_CONFIG, SMALL
from rhmnet.config import AUTO, PRECISIONS, STRIDE, override
from rhmnet.errors import InputError, say
from rhmnet.evaluation.tracking import build_untrained
from rhmnet.files.source import Source
from rhmnet.files.writing import write_json
from rhmnet.inputs import network_size
from rhmnet.labels import BACKGROUND, MAX_OBJECTS
from rhmnet.runtime import CommandParser, run_command, whole
from rhmnet.tools.segment.stroke_files import StrokeFileOptions, read_strokes

MOST_FRAMES = 32
"""Of a video: enough to fill the memory, few enough to hold."""


def main() -> None:
    args = parse()
    if args.row:
        print(json.dumps(measure(args)))
        return
    if args.session:
        row = run_video("session", args, args.precision[0], "--frames", str(args.session))
        for line in describe_session(row):
            say(line)
        write_json(args.json, {"machine": describe(args.device), "session": row})
        return
    rows = []
    for size, precision, objects in itertools.product(args.size, args.precision, args.objects):
        rows.append(run_row(args, size, precision, objects))
        print(format_row(rows[-1], header=len(rows) == 1), flush=True)
    report = {"machine": describe(args.device), "frames": args.frames, "rows": rows}
    if args.checkpoint and args.device == "cpu" and not args.video:
        report["whole_command"] = [
            run_video("whole", args, precision) for precision in args.precision
        ]
        print()
        for row in report["whole_command"]:
            say(describe_whole(row))
    write_json(args.json, report)
    print()
    say(f"{report['machine']}; memory full, median of {args.repeats} runs; wrote {args.json}")


def measure(args: argparse.Namespace) -> dict:
    """One row: a video of random frames with the memory full, and its parts."""
    device = torch.device(args.device)
    (precision,) = args.precision
    precision = fastest_precision(device) if precision == AUTO else precision
    if args.checkpoint:
        model, config = rhmnet.load_model(args.checkpoint, args.overrides, args.config)
    else:
        config = rhmnet.load_config(args.config or DEFAULT_CONFIG, args.overrides)
        config = override(config, ["model.pretrained=none"])
        model = build_untrained(config)
    config = override(config, [f"test.precision={precision}"])
    model.to(device)
    if args.video:
        frames, scribble = read_video(args.video, args.scribble, *args.objects)
    else:
        frames, scribble = random_video(*args.size[0], *args.objects)
    (height, width), objects = scribble.shape, int(scribble[scribble != BACKGROUND].max())
    tracker = rhmnet.Tracker(model, config)
    video = itertools.cycle(frames)
    tracker.start(next(video), scribble)

    def step() -> Tensor:
        return tracker.step(next(video)).labels

    fill = config.test.update_frequency * config.test.max_memory_length
    for _ in range(fill + 1):
        step()
    grown = growth(step, args.growth - fill - 2, device)
    peak = memory_mb(device)  # of the tracker alone, without the unit
    size = network_size((height, width), config.test.short_side)
    unit = plain_backbone(config.model.backbone, *size, device)
    runs, units = [], []
    for _ in range(args.repeats):  # one after the other, so that both see the same machine
        units.append(clock(unit, 3, device))
        runs.append(clock(step, args.frames, device))
    row = {
        "size": f"{height}x{width}",
        "precision": precision,
        "objects": objects,
        "seconds": statistics.median(runs),
        "backbone_seconds": statistics.median(units),
        "backbones": statistics.median(r / u for r, u in zip(runs, units, strict=True)),
    }
    row["frames_per_second"] = 1 / row["seconds"]
    row["parts"] = time_parts(tracker, step, device)
    row["peak_mb"] = peak
    row["attention"] = attention_kernels(step)
    row["growth_mb"] = grown
    row["gflop"] = count_operations(model, config, frames, scribble)
    row["matmul_gflops"] = matmul_rate(device, precision)
    row["share"] = row["gflop"] / row["seconds"] / row["matmul_gflops"]
    if args.compare:
        row |= compare(model, config, frames, scribble)
    return row


def random_video(height: int, width: int, objects: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames [8, H, W, 3], and a stroke of each object on the first."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (8, height, width, 3), dtype=np.uint8)
    scribble = np.zeros((height, width), dtype=np.uint8)
    for i, left in enumerate(np.linspace(0, width - 20, objects).astype(int), start=1):
        scribble[height // 3 : height // 2, left : left + 12] = i
    return frames, scribble


def read_video(path: str, scribble: Path, objects: int) -> tuple[np.ndarray, np.ndarray]:
    """The first frames of a video, [T, H, W, 3], and the strokes on the very first."""
    source = Source(path)
    strokes = read_strokes([scribble], source, StrokeFileOptions(frame=0, num_objects=objects))
    frames = itertools.islice(source.forward(0, source.size), MOST_FRAMES)
    return np.stack(list(frames)), strokes.maps[0]


class PlainTracker(rhmnet.Tracker):
    """Tracks with the network as it is: float32, and nothing of `rhmnet.accelerate`."""

    def _use_current_weights(self) -> None:
        self._net = self.model


def attention_kernels(step: Callable) -> list[str]:
    """Which of PyTorch's attention kernels a frame runs; one that makes the matrix is an error."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        step()
    prefix = "aten::_scaled_dot_product_"
    names = {e.key.removeprefix(prefix) for e in seen.key_averages() if e.key.startswith(prefix)}
    if not names or any("math" in name for name in names):
        raise InputError(f"attention without a fused kernel: {sorted(names) or 'none seen'}")
    return sorted(names)


def growth(step: Callable, frames: int, device: torch.device) -> float | None:
    """MB held after so many further frames that were not before; None where there are none.

    What is held now, not the peak: an earlier peak would hide growth below it.
    """
    if frames <= 0:
        return None
    before = held_mb(device)
    for _ in range(frames):
        step()
    return held_mb(device) - before


def held_mb(device: torch.device) -> float:
    """Memory in use now: of the GPU, or the process's resident set (on Linux; else its peak)."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated() / 2**20
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return memory_mb(device)
    return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**20


def count_operations(
    model: nn.Module, config: rhmnet.Config, frames: np.ndarray, scribble: np.ndarray
) -> float:
    """GFLOP of a frame with the memory full, as PyTorch counts them without fused operators.

    Tokens are shared as in tracking. Every frame is stored here, so that the memory fills up soon;
    its size is what counts.
    """
    test = config.test
    config = override(config, ["test.update_frequency=1", "test.scribble_update_frequency=1"])
    with mock.patch("rhmnet.accelerate.has_fused_operators", return_value=False):
        tracker = PlainTracker(prepare_for_tracking(model, "float32"), config)
    tracker.start(frames[0], scribble)
    for index in range(test.max_memory_length):
        tracker.step(frames[index % len(frames)])
    on_cpu = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
    uncounted = {} if on_cpu is None else {on_cpu: count_attention}
    with FlopCounterMode(display=False, custom_mapping=uncounted) as counter:
        tracker.step(frames[0])
    return counter.get_total_flops() / 1e9


def count_attention(
    query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: object
) -> int:
    """Operations of one attention by its shapes, which PyTorch does not count on the CPU."""
    return sdpa_flop_count(query, key, value)


def compare(
    model: nn.Module, config: rhmnet.Config, frames: np.ndarray, scribble: np.ndarray
) -> dict:
    """The tracker against the plain float32 network, unfolded: largest difference, equal labels."""
    plain, fast = PlainTracker(model.eval(), config), rhmnet.Tracker(model, config)
    worst, equal = 0.0, []
    for t, frame in enumerate(frames):
        one, other = (x.step(frame) if t else x.start(frame, scribble) for x in (plain, fast))
        worst = max(worst, (one.probabilities - other.probabilities).abs().max().item())
        equal.append((one.labels == other.labels).float().mean().item())
    return {"largest_difference": worst, "equal_labels": statistics.mean(equal)}


def time_parts(tracker: rhmnet.Tracker, step: Callable, device: torch.device) -> dict:
    """Mean seconds per frame of the tracker's parts, by hooks around the modules."""
    net, spent = tracker._net, {}

    def watch(module: nn.Module, part: str) -> list:
        began = []

        def before(*_: object) -> None:
            synchronize(device)
            began.append(time.perf_counter())

        def after(*_: object) -> None:
            synchronize(device)
            spent[part] = spent.get(part, 0.0) + time.perf_counter() - began.pop()

        return [module.register_forward_pre_hook(before), module.register_forward_hook(after)]

    def timed(function: Callable, part: str) -> Callable:
        def run(*args: object) -> Tensor:
            synchronize(device)
            start = time.perf_counter()
            result = function(*args)
            synchronize(device)
            spent[part] = spent.get(part, 0.0) + time.perf_counter() - start
            return result

        return run

    watched = [
        (net.feature_extractor.backbone[s], "backbone") for s in ("layer1", "layer2", "layer3")
    ]
    watched += [(m, "encode") for m in net.encoders] + [(m, "read") for m in net.readers]
    watched += [(m, "heads") for m in (net.reliable_head, *net.entire_heads)]
    handles = [handle for module, part in watched for handle in watch(module, part)]
    count, places = (
        5,
        (
            (model_module, "entire_target", "aggregate"),
            (tracker, "_memorize", "memory"),
            (structures, "labels_at", "labels"),
        ),
    )
    with ExitStack() as restore:
        for place, name, part in places:
            restore.enter_context(mock.patch.object(place, name, timed(getattr(place, name), part)))
        total = clock(step, count, device, mean=True)
    for handle in handles:
        handle.remove()
    parts = {part: seconds / count for part, seconds in spent.items()}
    return {**parts, "rest": total - sum(parts.values())}


def plain_backbone(name: str, height: int, width: int, device: torch.device) -> Callable:
    """torchvision's ResNet from stem to layer3 on one padded frame: the unit."""
    resnet = torchvision.models.get_model(name).eval().to(device)
    layers = list(resnet.children())[:7]
    network = nn.Sequential(*layers)
    image = torch.randn(1, 3, *(-(-side // 16) * 16 for side in (height, width)), device=device)

    def run() -> Tensor:
        with torch.inference_mode():
            return network(image)

    run()
    return run


def clock(run: Callable, count: int, device: torch.device, mean: bool = False) -> float:
    """Median (or mean) seconds of a call."""
    seconds = []
    for _ in range(count):
        synchronize(device)
        start = time.perf_counter()
        run()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return statistics.fmean(seconds) if mean else statistics.median(seconds)


def matmul_rate(device: torch.device, precision: str) -> float:
    """GFLOP/s of a large matrix product: what the machine can do."""
    side = 2048
    dtype = getattr(torch, precision)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    a @ b
    return 2 * side**3 / clock(lambda: a @ b, 5, device) / 1e9


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def memory_mb(device: torch.device) -> float:
    """Peak memory: of the GPU, or the process's resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def run_row(args: argparse.Namespace, size: tuple[int, int], precision: str, objects: int) -> dict:
    command = [sys.executable, __file__, "--row"]
    command += ["--device", args.device, "--size", f"{size[0]}x{size[1]}", "--precision", precision]
    command += ["--objects", str(objects), "--frames", str(args.frames)]
    command += ["--repeats", str(args.repeats), "--growth", str(args.growth)]
    for option in ("config", "checkpoint", "video", "scribble"):
        if (value := getattr(args, option)) is not None:
            command += [f"--{option}", str(value)]
    command += ["--compare"] * args.compare + args.overrides
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1].removeprefix("error: ")
        raise InputError(f"{size[0]}x{size[1]}, {precision}, {objects} objects: {reason}")
    return json.loads(done.stdout)


def run_video(what: str, args: argparse.Namespace, precision: str, *more: str) -> dict:
    """What `benchmark_video.py` finds."""
    command = [sys.executable, str(Path(__file__).with_name("benchmark_video.py")), what]
    command += [args.checkpoint or SMALL, precision, "--device", args.device, *more]
    done = subprocess.run([*command, *args.overrides], capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"{what}: {done.stderr.strip().splitlines()[-1].removeprefix('error: ')}")
    return json.loads(done.stdout.splitlines()[-1])


def describe_whole(row: dict) -> str:
    """One line of what `whole_command` found."""
    return (
        f"whole command, {row['precision']}: {row['frames_per_second']:.1f} frames/s, "
        f"{row['seconds']:.1f} s ({row['cpu_seconds']:.1f} s of processors), peak "
        f"{row['peak_mb']:.0f} MB; beside tracking, in threads: reading {1000 * row['read']:.1f} "
        f"ms, writing {1000 * row['write']:.1f} ms a frame"
    )


def describe_session(row: dict) -> list[str]:
    """What a correction took, in lines."""
    return [
        f"full run of {row['frames']} frames: {row['full_steps']} steps, "
        f"{row['full_seconds']:.1f} s",
        f"a stroke in the middle: {row['steps']} steps, {row['seconds']:.1f} s",
        f"its preview after {row['preview_seconds']:.2f} s; the run's first step after "
        f"{row['start_seconds']:.2f} s, its frame's final mask after {row['first_seconds']:.2f} s",
        f"kept on disk: {row['disk_mb']:.0f} MB",
    ]


def format_row(row: dict, header: bool) -> str:
    columns = {
        "size": row["size"],
        "precision": row["precision"],
        "objects": str(row["objects"]),
        "s/frame": f"{row['seconds']:.3f}",
        "backbones": f"{row['backbones']:.2f}",
        "peak MB": f"{row['peak_mb']:.0f}",
        "growth MB": "-" if row["growth_mb"] is None else f"{row['growth_mb']:.0f}",
        **{part: f"{seconds:.3f}" for part, seconds in row["parts"].items()},
        "GFLOP": f"{row['gflop']:.0f}",
        "GFLOP/s": f"{row['matmul_gflops']:.0f}",
        "share": f"{row['share']:.0%}",
    }
    if "equal_labels" in row:
        columns["max diff"] = f"{row['largest_difference']:.1e}"
        columns["equal labels"] = f"{row['equal_labels']:.2%}"
    lines = ["  ".join(f"{v:>{max(9, len(k))}}" for k, v in columns.items())]
    if header:
        lines.insert(0, "  ".join(f"{k:>9}" for k in columns))
    return "\n".join(lines)


def describe(device: str) -> str:
    name = platform.processor() or platform.machine()
    if device.startswith("cuda"):
        name = torch.cuda.get_device_name()
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def parse() -> argparse.Namespace:
    parser = CommandParser(settings=True, description=__doc__)
    parser.add_argument("--config", help="(default: the checkpoint's, else video_training)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ... (default: cpu)")
    parser.add_argument("--size", nargs="+", type=parse_size, metavar="HxW", help=_SIZE)
    parser.add_argument("--objects", nargs="+", type=whole(1, MAX_OBJECTS), help=_OBJECTS)
    parser.add_argument("--checkpoint", metavar="FILE", help="or `small` (default: random weights)")
    parser.add_argument(
        "--video",
        help=f"use the first {MOST_FRAMES} frames of a video file, a folder or 'a/*.jpg', over and "
        "over, at its size; with --objects N, the number of its objects",
    )
    parser.add_argument("--scribble", type=Path, metavar="FILE", help="strokes on its first frame")
    parser.add_argument("--precision", nargs="+", choices=(AUTO, *PRECISIONS))
    parser.add_argument(
        "--frames", type=whole(1, 10**6), default=7, help="frames a run (default: 7)"
    )
    parser.add_argument("--repeats", type=whole(1, 10**4), default=3, help="runs (default: 3)")
    parser.add_argument(
        "--growth",
        type=whole(0, 10**6),
        default=0,
        help="measure growth to this frame, from when memory is full",
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="480x854 and 720x1280, 1, 3 and 8 objects, float32 and bfloat16, --growth 200, "
        "--compare",
    )
    parser.add_argument(
        "--session",
        nargs="?",
        type=whole(4, 10**6),
        const=1000,
        metavar="N",
        help="instead: a stroke in the middle of N frames (1000) against a full run",
    )
    parser.add_argument("--compare", action="store_true", help="check against the plain network")
    parser.add_argument("--json", default="benchmark.json", metavar="FILE")
    parser.add_argument("--row", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    small = args.checkpoint == SMALL
    args.size = args.size or [(360, 640) if small else (480, 854)]
    args.objects = args.objects or ([3] if small else [1, 3, 8])
    args.precision = args.precision or (["float32", "bfloat16"] if small else ["float32"])
    if args.full:
        args.size, args.objects = [(480, 854), (720, 1280)], [1, 3, 8]
        args.precision, args.growth, args.compare = ["float32", "bfloat16"], 200, True
    if (args.video is None) != (args.scribble is None):
        parser.error("--video and --scribble: expected both or neither")
    if args.video and len(args.objects) > 1:
        parser.error("--video: expected --objects N, those in --scribble, and no --full")
    if Path(args.json).is_dir():
        parser.error(f"--json {args.json}: is a folder; expected a file to write")
    if any(item.startswith("test.precision=") for item in args.overrides):
        parser.error("test.precision: each of --precision is measured; give it there")
    if args.video:
        args.size = args.size[:1]  # the video's counts
    return args


_SIZE = "of random frames (default: 480x854; of `small` 360x640)"
_OBJECTS = "(default: 1 3 8; of `small` 3)"


def parse_size(text: str) -> tuple[int, int]:
    try:
        height, width = map(int, text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected HEIGHTxWIDTH, as in 480x854"
        ) from None
    if not all(STRIDE <= side <= 8192 for side in (height, width)):
        raise argparse.ArgumentTypeError(f"{text!r}: expected sides of {STRIDE} to 8192 pixels")
    return height, width


if __name__ == "__main__":
    run_command(main)
