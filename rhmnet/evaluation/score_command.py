"""Score folders of masks on DAVIS like the official package: J, F, recall, decay.

RESULTS holds <video>/<frame>.png, label maps with ids 1..N; any system's. Several folders (one a
scribble set, say) get their mean and standard deviation.

    %(prog)s results/video_training_69_davis2016_g0 datasets/DAVIS --year 16
    %(prog)s results/*_davis2017_g? datasets/DAVIS --year 17 --out results/scores
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rhmnet.data.davis import open_davis
from rhmnet.errors import InputError, say
from rhmnet.evaluation.manifest import check_newer, check_weights
from rhmnet.evaluation.report import build_report, format_report, write_report
from rhmnet.evaluation.scoring import parse_year, reading_of, score_folder, select
from rhmnet.runtime.command import MOST_WORKERS, CommandParser, whole


def main(argv: Sequence[str] | None = None, prog: str = "rhmnet score") -> None:
    """Read the command line and score."""
    args = _parse(argv, prog)
    davis = open_davis(args.davis_root, parse_year(args.year) if args.year else None, args.set)
    names = select(davis.names(), None, None, args.video_name)
    reading = reading_of(davis.year, args.davis16)
    sets = {}
    unique = len({folder.name for folder in args.results}) == len(args.results)
    for folder in args.results:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; expected masks as <video>/<frame>.png")
        check_weights(folder)
        if args.checkpoint:
            check_newer(folder, names, args.checkpoint)
        label = folder.name if unique else str(folder)
        sets[label] = score_folder(davis, folder, names, reading, args.workers, progress=True)
    header = {"year": davis.year, "set": davis.split, "videos": names, "reading": reading.value}
    report = build_report(header, sets)
    say(f"DAVIS-{davis.year} {davis.split}, {len(names)} videos: {reading.value}")
    print(format_report(report))
    if args.out:
        say("wrote {} {}".format(*write_report(report, args.out)))


def _parse(argv: Sequence[str] | None, prog: str) -> argparse.Namespace:
    parser = CommandParser(prog, description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS")
    parser.add_argument("davis_root", type=Path, metavar="DAVIS_ROOT")
    parser.add_argument("--year", help="16 or 17 (default: the newest whose list is there)")
    parser.add_argument("--set", default="val", help="list of videos (default: val)")
    parser.add_argument("--video_name", help="score this video alone")
    parser.add_argument(
        "--davis16",
        choices=("merged", "object1"),
        default="merged",
        help="DAVIS-2016: merge all objects (the standard), or keep object 1 as the release does",
    )
    parser.add_argument("--checkpoint", type=Path, help="refuse masks older than these weights")
    parser.add_argument(
        "--workers", type=whole(1, MOST_WORKERS), help="threads (default: one a core)"
    )
    parser.add_argument("--out", type=Path, help="write scores.json and scores.csv to this folder")
    return parser.parse_args(argv)
