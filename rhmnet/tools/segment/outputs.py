"""What is made of the masks when all are there, as the command line asks for it."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from rhmnet.files.source import Source
from rhmnet.tools.segment.exports import (
    CocoFile,
    CutOuts,
    Export,
    ObjectMasks,
    export,
    rle_functions,
)
from rhmnet.tools.segment.overlay_video import OverlayVideo
from rhmnet.tools.segment.results import Results
from rhmnet.tools.segment.strokes import Strokes
from rhmnet.tools.segment.summary import write_summary


def check_outputs(args: argparse.Namespace) -> None:
    """Raise InputError now, not after hours of tracking, for a kind that cannot be made here."""
    if args.coco:
        rle_functions()


def write_outputs(
    args: argparse.Namespace,
    source: Source,
    strokes: Strokes,
    results: Results,
    stopped: Callable[[], object],
) -> bool:
    """Write all that was asked for; False if `stopped` said to stop before the end."""
    count, objects, folder = source.count_exactly(), strokes.objects(), results.folder
    names = [source.frame_name(index) for index in range(count)]
    if args.summary:
        head = {"video": source.name, "size": list(source.size), "fps": round(source.fps(), 3)}
        write_summary(
            folder / "summary.json",
            results.statistics(count, strokes.num_objects),
            names,
            objects,
            list(strokes.frames_of()),
            head,
        )
    exports: list[Export] = []
    if args.overlay:
        path = folder / f"overlay.{args.overlay}"
        exports.append(OverlayVideo(path, source.fps(), source.size, strokes.maps))
    if args.objects:
        exports.append(ObjectMasks(folder / "objects", objects))
    if args.cutouts:
        exports.append(CutOuts(folder / "cutouts", objects))
    if args.coco:
        exports.append(CocoFile(folder / "coco.json", source.size, names, objects))
    return not exports or export(exports, source, results.masks, count, stopped)
