#!/usr/bin/env python
"""Evaluate on YouTube-VOS 2018 or 2019: track every video, write the masks and the server's zip.

    python eval_ytb.py --gpu 0 --set val --config video_training --ckpt_num 71 --size 1000
    python eval_ytb.py --checkpoint model.pth.tar --data-root Youtube-VOS --all_frames --overlay
    torchrun --nproc_per_node 4 eval_ytb.py --config video_training --ckpt_num 71 --size 1000

Masks of the frames of meta.json, at the frames' own size, go to
SAVE_PATH/<config>_<epoch>_ytb_<set>/Annotations/<video>/<frame>.png, and when those of all videos
are there, into a zip beside them. --all_frames tracks through the images between, too
(<part>_all_frames/JPEGImages where there is such a folder). Where the tree has dense annotations
of all these frames, seen and unseen J and F are printed and written to scores.json and scores.csv.
--set val reads valid/ and valid_scribbles/, test reads test/ and test_scribbles/, train-split the
training videos that have masks in train/Annotations. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

import argparse
from pathlib import Path

import rhmnet
from rhmnet.config import STRIDE
from rhmnet.data.youtube import SETS, YOUTUBE, open_youtube_vos
from rhmnet.errors import say
from rhmnet.evaluation import select
from rhmnet.evaluation.benchmarks import YoutubeEvaluation, evaluation_parser, parse
from rhmnet.evaluation.manifest import made_by
from rhmnet.evaluation.report import (
    build_youtube_report,
    format_youtube_report,
    write_tables,
    youtube_rows,
)
from rhmnet.evaluation.tracking import choose_device, choose_network
from rhmnet.runtime import run_command, whole
from rhmnet.runtime.processes import join_processes
from rhmnet.tracker import settle_precision


def main() -> None:
    args = parse_arguments()
    network = choose_network(args)
    config, checkpoint = network.config, network.checkpoint
    data_root = args.data_root or Path(config.data.root) / YOUTUBE
    tree = open_youtube_vos(data_root, args.set, args.all_frames)
    with join_processes(choose_device(args.device, args.gpu)) as processes:
        config = settle_precision(config, processes.device)
        name = f"{network.name}_ytb_{args.set}"
        evaluation = YoutubeEvaluation(
            tree=tree,
            names=select(tree.names(), args.start, args.end, args.video_name),
            folder=args.save_path / name,
            made_by=made_by(config, checkpoint),
            checkpoint=checkpoint and str(checkpoint.resolve()),
            with_bg=args.with_bg,
            width=args.size,
            overlay=args.overlay,
            overwrite=args.overwrite,
        )
        model = network.model.to(processes.device)
        if processes.is_main:
            say(network.describe(processes.device))
        scores = evaluation.run(lambda: rhmnet.Tracker(model, config), processes)
        if not processes.is_main:  # the main process reports
            return
    count = len(evaluation.names)
    say(f"{name}, {config.test.precision}: {count} videos in {evaluation.masks()}")
    if scores:
        header = {"run": name, "weights": str(checkpoint or "random"), **evaluation.describe()}
        report = build_youtube_report(header, scores, tree.seen_categories())
        print(format_youtube_report(report))
        say("wrote {} {}".format(*write_tables(evaluation.folder, report, youtube_rows(report))))
    else:
        say(f"no scores: no dense annotations under {tree.root / tree.part}/Annotations")
    if args.zip:
        say(evaluation.pack())


def parse_arguments() -> argparse.Namespace:
    """The release's options, and ours."""
    data_root = "the YouTube-VOS folder (default: Youtube-VOS under data.root)"
    parser = evaluation_parser(__doc__, data_root)
    add = parser.add_argument
    add("--set", choices=SETS, default="val", help="part of the data (default val)")
    add(
        "--size",
        type=whole(STRIDE, 8192),
        help="track wider frames at this width, pixels (default: as is)",
    )
    add("--all_frames", action="store_true", help="track through all images, also between masks")
    zip_help = "the zip for the server, when all videos are tracked (default: written)"
    add("--zip", action=argparse.BooleanOptionalAction, default=True, help=zip_help)
    return parse(parser)


if __name__ == "__main__":
    run_command(main)
