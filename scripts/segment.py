#!/usr/bin/env python
"""Segment your own video: strokes on one frame or several give masks of all frames.

    python scripts/segment.py dog.mp4 --scribble strokes.png --overlay --summary
    python scripts/segment.py frames/ --scribble 00040.png --checkpoint model.pth.tar --objects
    python scripts/segment.py 'shots/*.jpg' --scribble 0.png 90.png --out results/shots --resume

Tracks forwards and backwards from the frames with strokes. Masks go to OUT/masks/<frame>.png, at
the video's size. Ctrl-C leaves those that are finished; the same command with --resume goes on.
"""

from __future__ import annotations

from pathlib import Path

import rhmnet
from rhmnet.command import run_command
from rhmnet.evaluation.weights import load_model, made_by
from rhmnet.files.source import open_source
from rhmnet.tools.segment.options import capped, manifest, parse
from rhmnet.tools.segment.outputs import check_outputs, write_outputs
from rhmnet.tools.segment.results import Results
from rhmnet.tools.segment.strokes import StrokeOptions, describe, read_strokes
from rhmnet.tools.segment.two_way import TwoWay
from rhmnet.tools.segment.weights import choose_config, find_checkpoint
from rhmnet.training.distributed import choose_device
from rhmnet.training.interrupt import StopRequest


def main() -> int:
    args = parse(__doc__)
    check_outputs(args)
    source = open_source(args.video, args.fps)
    options = StrokeOptions(args.frame, args.num_objects, args.thickness, args.resize_scribble)
    strokes = read_strokes(args.scribble, source, options)
    checkpoint = find_checkpoint(args.checkpoint)
    config = choose_config(checkpoint, args.config, args.overrides)
    device = choose_device(args.device)
    model, _ = load_model(config, checkpoint)
    size = capped(source.size, args.size)
    results = Results(args.out or Path("results") / source.name)
    what = manifest(source, strokes, size, made_by(config, checkpoint))
    results.prepare(what, args.resume, args.overwrite)
    print(f"{describe(strokes)}\n{checkpoint} on {device}, at {size[1]}x{size[0]} pixels")
    tracker = rhmnet.Tracker(model.to(device), config)
    run = TwoWay(tracker, source, strokes, results, size, config.model.refine_threshold[0])
    with StopRequest(patient=False) as stop:

        def stopped() -> int:
            return stop.exit_code

        whole = run.run(stopped) and write_outputs(args, source, strokes, results, stopped)
    if source.note:
        print(f"warning: {source.note}")
    if whole:
        print(f"wrote {results.folder}")
        return 0
    print(
        f"stopped with {results.count_masks()} finished masks in {results.masks}; give the same "
        "command with --resume to go on"
    )
    return stop.exit_code


if __name__ == "__main__":
    run_command(main)
