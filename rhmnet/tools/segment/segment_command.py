"""Segment your own video: strokes on one frame or several give masks of all frames.

    %(prog)s dog.mp4 --scribble strokes.png --overlay --summary
    %(prog)s frames/ --scribble 00040.png --checkpoint model.pth.tar --objects
    %(prog)s 'shots/*.jpg' --scribble 0.png 90.png --out results/shots --resume

Tracks forwards and backwards from the frames with strokes. Masks go to OUT/masks/<frame>.png, at
the video's size. Ctrl-C leaves those that are finished; the same command with --resume goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import rhmnet
from rhmnet.checkpoint import open_model
from rhmnet.config import STRIDE
from rhmnet.errors import say
from rhmnet.evaluation.manifest import made_by
from rhmnet.files.source import open_source
from rhmnet.inputs import network_size
from rhmnet.runtime.processes import StopRequest, choose_device
from rhmnet.tools.segment.options import manifest, parse
from rhmnet.tools.segment.outputs import check_outputs, write_outputs
from rhmnet.tools.segment.results import Results
from rhmnet.tools.segment.strokes import StrokeOptions, describe, read_strokes
from rhmnet.tools.segment.two_way import TwoWay
from rhmnet.tracker import settle_precision

FEW_PIXELS = 128
"""A shorter side below it is few cells: objects were lost that an enlarged video shows."""


def main(argv: Sequence[str] | None = None, prog: str = "rhmnet segment") -> int:
    """Read the command line and segment; returns the exit code."""
    args = parse(__doc__, argv, prog)
    check_outputs(args)
    source = open_source(args.video, args.fps)
    options = StrokeOptions(
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
        run = TwoWay(tracker, source, strokes, results, size, config.model.refine_threshold[0])
        with StopRequest(patient=False) as stop:

            def stopped() -> int:
                return stop.exit_code

            whole = run.run(stopped) and write_outputs(args, source, strokes, results, stopped)
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
