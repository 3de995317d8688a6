#!/usr/bin/env python
"""Evaluate on DAVIS: track every video from each scribble set, write the masks, print J&F.

    python eval_davis.py --gpu 0 --set val --year 16 --config video_training --ckpt_num 69
    python eval_davis.py --year 17 --checkpoint model.pth.tar --data-root DAVIS --overlay
    torchrun --nproc_per_node 4 eval_davis.py --year 17 --config video_training --ckpt_num 78

Masks go to SAVE_PATH/<config>_<epoch>_davis<year>_g<group>/<video>/00000.png, the tables to
SAVE_PATH/<config>_<epoch>_davis<year>/scores.json and scores.csv. A run that was stopped goes on
where it was. `--checkpoint small` evaluates the network that comes with the project, `random` the
untrained one.
"""

from __future__ import annotations

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

import argparse
from pathlib import Path

import rhmnet
from rhmnet.data.davis import DAVIS, open_davis, parse_year
from rhmnet.errors import say
from rhmnet.evaluation import reading_of, select
from rhmnet.evaluation.benchmarks import DavisEvaluation, choose_groups, davis_parser, parse
from rhmnet.evaluation.manifest import made_by
from rhmnet.evaluation.report import build_report, format_report, write_report
from rhmnet.evaluation.tracking import choose_device, choose_network
from rhmnet.runtime import run_command
from rhmnet.runtime.processes import join_processes
from rhmnet.tracker import settle_precision


def main() -> None:
    args = parse_arguments()
    network = choose_network(args)
    config, checkpoint = network.config, network.checkpoint
    data_root = args.data_root or Path(config.data.root) / DAVIS
    davis = open_davis(data_root, parse_year(args.year) if args.year else None, args.set)
    names = select(davis.names(), args.start, args.end, args.video_name)
    groups = choose_groups(davis, args.groups, args.mask_init)
    with join_processes(choose_device(args.device, args.gpu)) as processes:
        config = settle_precision(config, processes.device)
        name = f"{network.name}_davis{davis.year}"
        evaluation = DavisEvaluation(
            davis=davis,
            names=names,
            groups=groups,
            folder=args.save_path / name,
            made_by=made_by(config, checkpoint),
            checkpoint=checkpoint and str(checkpoint.resolve()),
            reading=reading_of(davis.year, args.davis16),
            with_bg=args.with_bg,
            mask_init=args.mask_init,
            overlay=args.overlay,
            overwrite=args.overwrite,
        )
        model = network.model.to(processes.device)
        if processes.is_main:
            say(network.describe(processes.device))
        scores = evaluation.run(lambda: rhmnet.Tracker(model, config), processes)
    if not scores:  # another process reports
        return
    weights = str(checkpoint or "random")
    report = build_report({"run": name, "weights": weights, **evaluation.describe()}, scores)
    say(f"{name}, {len(names)} videos, {config.test.precision}: {evaluation.reading.value}")
    print(format_report(report))
    say("wrote {} {}".format(*write_report(report, evaluation.folder)))


def parse_arguments() -> argparse.Namespace:
    """The release's options, and ours."""
    parser = davis_parser(__doc__)
    add = parser.add_argument
    add("--groups", help="scribble sets, as 0,2 or 0-4 (default: all there are)")
    add("--mask_init", action="store_true", help="start from the first dense mask, not strokes")
    return parse(parser)


if __name__ == "__main__":
    run_command(main)
