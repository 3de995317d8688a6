"""Segment your own video: strokes on one frame or several give masks of all frames.

    %(prog)s dog.mp4 --scribble strokes.png --overlay --summary
    %(prog)s frames/ --scribble 00040.png --checkpoint model.pth.tar --objects
    %(prog)s 'shots/*.jpg' --scribble 0.png 90.png --out results/shots --resume

Tracks forwards and backwards from the frames with strokes. Masks go to OUT/masks/<frame>.png, at
the video's size. Ctrl-C leaves those that are finished; the same command with --resume goes on.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

import rhmnet
from rhmnet.checkpoint import open_model
from rhmnet.config import MOST_SIDE, SMALLEST_SIDE, STRIDE
from rhmnet.errors import InputError, say
from rhmnet.evaluation.manifest import made_by
from rhmnet.files.source import Source
from rhmnet.inputs import network_size
from rhmnet.labels import MAX_OBJECTS
from rhmnet.runtime import CommandParser, StopRequest, real, whole
from rhmnet.runtime.processes import choose_device
from rhmnet.tools.segment.exports import (
    CODECS,
    rle_functions,
    write_outputs,
)
from rhmnet.tools.segment.plan import PASSES, StrokedFrame
from rhmnet.tools.segment.propagation import Propagation
from rhmnet.tools.segment.results import Results, ResultsStore
from rhmnet.tools.segment.stepper import Stepper
from rhmnet.tools.segment.stroke_files import StrokeFileOptions, Strokes, describe, read_strokes
from rhmnet.tracker import settle_precision

FEW_PIXELS = 128
"""A shorter side below it is few cells: objects were lost that an enlarged video shows."""


def main(argv: Sequence[str] | None = None, prog: str = "rhmnet segment") -> int:
    """Read the command line and segment; returns the exit code."""
    args = parse(__doc__, argv, prog)
    check_outputs(args)
    source = Source(args.video, args.fps)
    options = StrokeFileOptions(
        frame=args.frame,
        num_objects=args.num_objects,
        thickness=args.thickness,
        resize=args.resize_scribble,
        background_color=args.background_color,
    )
    strokes = read_strokes(args.scribble, source, options)
    network = open_model(args.checkpoint, args.overrides, args.config)
    config = network.config
    device = choose_device(args.device)
    config = settle_precision(config, device)
    size = network_size(source.size, config.test.short_side)
    own = source.name if source.name.strip(".") else "video"  # of ../*.png it is ..
    results = Results(args.out or Path("results") / own)
    what = manifest(source, strokes, size, made_by(config, network.path))
    with results.alone():
        results.prepare(what, args.resume, args.overwrite)
        where = f"at {size[1]}x{size[0]} pixels on {device} in {config.test.precision}"
        for line in describe(strokes):
            say(line)
        say(network.describe(where, "--checkpoint FILE"))
        if min(size) < FEW_PIXELS:
            say(
                f"warning: frames of {size[1]}x{size[0]} are few cells of {STRIDE} pixels for the "
                f"network; masks are better of a video enlarged to {2 * FEW_PIXELS} or more a side"
            )
        tracker = rhmnet.Tracker(network.model.to(device), config)
        threshold = config.model.refine_threshold[0]
        with StopRequest(patient=False) as stop:

            def stopped() -> int:
                return stop.exit_code

            whole = track(tracker, source, strokes, results, size, threshold, stopped)
            whole = whole and write_outputs(
                args, results.folder, source, strokes, results.masks, results.statistics, stopped
            )
    if source.note:
        say(f"warning: {source.note}")
    if whole:
        say(f"wrote {results.folder}")
        return 0
    say(
        f"stopped with {results.count_masks()} finished masks in {results.masks}; give the same "
        "command with --resume to go on"
    )
    return stop.exit_code


def track(
    tracker: rhmnet.Tracker,
    source: Source,
    strokes: Strokes,
    results: Results,
    size: tuple[int, int],
    threshold: float,
    stopped: Callable[[], object],
    save_every: int = 100,
) -> bool:
    """Track whatever is not there yet; False if `stopped`, asked after each frame, said to stop.

    size: H, W at which the network sees the frames. threshold: probability above which a region is
    reliable. save_every: frames between two states. Raises InputError for frames that cannot be
    used.
    """
    state = results.load_state(tracker.model.device)
    if state is not None and state.stage == "done":
        return True
    store = ResultsStore(results, strokes, source, save_every)
    engine = Propagation(source, store, Stepper(tracker, source.size, size, threshold))
    engine.set_strokes({f: StrokedFrame.of(labels) for f, labels in strokes.maps.items()})
    if state is not None:
        store.go_on(engine, state)
    done = 0 if state is None else engine.whole() - engine.left()
    bar = tqdm(total=None if source.count() is None else engine.whole(), initial=done, unit="frame")
    with bar, closing(engine.work()) as steps:
        for step in steps:
            bar.set_description(PASSES[step.way], refresh=False)
            bar.update()
            if stopped():
                return False
    results.finish(source.count_exactly())
    return True


def check_outputs(args: argparse.Namespace) -> None:
    """Raise InputError now, not after hours of tracking, for a kind that cannot be made here."""
    if args.coco:
        rle_functions()


def parse(description: str, argv: Sequence[str] | None, prog: str) -> argparse.Namespace:
    """Read the command line; None: the process's own."""
    parser = CommandParser(prog, settings=True, description=description)
    add = parser.add_argument
    add("video", help="video file, folder of images, or a quoted pattern such as 'a/*.png'")
    strokes = parser.add_argument_group("strokes")
    add = strokes.add_argument
    add("--scribble", nargs="+", type=Path, required=True, metavar="FILE", help=_SCRIBBLE)
    add(
        "--frame",
        type=whole(0, 10**9),
        metavar="N",
        help="frame of a single map, from 0 (default: its name, else 0)",
    )
    add(
        "--num-objects",
        type=whole(1, MAX_OBJECTS),
        metavar="N",
        help="then N + 1 in a map is background, like 255",
    )
    add("--thickness", type=real(0.1, 1000), default=5.0, metavar="PIXELS", help=_THICKNESS)
    add("--resize-scribble", action="store_true", help="fit maps of another size to the video")
    add("--background-color", metavar="COLOR", help=_BACKGROUND_COLOR)
    network = parser.add_argument_group("network")
    add = network.add_argument
    add("--checkpoint", metavar="FILE", help=_CHECKPOINT)
    add("--config", help=_CONFIG)
    add("--device", default="auto", help="auto (CUDA, else MPS, else CPU), cpu, cuda, cuda:N, mps")
    add("--size", type=whole(SMALLEST_SIDE, MOST_SIDE, or_zero=True), metavar="PIXELS", help=_SIZE)
    results = parser.add_argument_group("results, beside OUT/masks/<frame>.png (palette)")
    add = results.add_argument
    add("--out", type=Path, help="folder (default: results/<name of the video>)")
    add("--overlay", nargs="?", const="mp4", choices=sorted(CODECS), help=_OVERLAY)
    add("--objects", action="store_true", help="OUT/objects/<object>/<frame>.png, 0 and 255")
    add("--cutouts", action="store_true", help="OUT/cutouts/<object>/<frame>.png, RGBA")
    add("--coco", action="store_true", help="OUT/coco.json, with RLE (needs pycocotools)")
    add("--summary", action="store_true", help="OUT/summary.json: areas, reliability, best stroke")
    add("--fps", type=real(0.01, 1000), help="of the overlay (default: the video's; images: 25)")
    add("--resume", action="store_true", help="go on where a run with the same options stopped")
    add("--overwrite", action="store_true", help="remove the masks in OUT and begin anew")
    args = parser.parse_args(argv)
    if args.size is not None:
        if any(setting.startswith("test.short_side=") for setting in args.overrides):
            raise InputError("--size and test.short_side: expected one of them")
        args.overrides.append(f"test.short_side={args.size}")
    if args.resume and args.overwrite:
        raise InputError("--resume and --overwrite: expected one of them")
    return args


_CHECKPOINT = "weights (default: `small`, the network that comes with the project)"
_CONFIG = (
    "name under configs/, or a YAML file: holds test.*, and all else where weights carry no "
    "configuration (default: what they carry, else video_training)"
)
_SCRIBBLE = (
    "painted strokes (a color for each object: on a transparent layer, on black or white, or over "
    "the frame), a label map (0 none, 1.. objects, 255 background), DAVIS JSON; or several "
    "pictures, or a folder of them, each named after its frame (as in 40.png)"
)
_BACKGROUND_COLOR = (
    "of painted background strokes, as white or '#ff8800'; none: no color is the background's "
    "(default: grey and white, on a transparent layer)"
)
_THICKNESS = "of JSON's lines, pixels at 480p (default 5)"
_SIZE = "test.short_side: larger frames are shrunk to it for the network (0: none)"
_OVERLAY = "OUT/overlay.mp4 (for VLC, mpv), or `--overlay webm` (for browsers, too)"


def manifest(
    source: Source, strokes: Strokes, size: tuple[int, int], made_by: dict[str, Any]
) -> dict[str, Any]:
    """All that masks depend on."""
    digest = hashlib.sha256()
    for frame, labels in strokes.maps.items():
        digest.update(f"{frame}\n".encode() + labels.tobytes())
    return {
        "video": source.identity(),
        "strokes": digest.hexdigest(),
        "objects": strokes.num_objects,
        "size": size,
        **made_by,
    }
