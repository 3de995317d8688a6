#!/usr/bin/env python
"""How much scores depend on the strokes: J&F against scribble sets, stroke length and thickness.

    python scripts/scribble_sensitivity.py --year 16      # the network that comes along
    python scripts/scribble_sensitivity.py --config video_training --ckpt_num 78 --year 17
    python scripts/scribble_sensitivity.py --checkpoint model.pth.tar --data-root DAVIS \\
        --coverage 0.1 0.5 1 --thickness 3 15 --draws 5

First the scribble sets that the tree has (valid_scribbles0 and so on). Then strokes drawn by a
program from the first frame's annotation: of several lengths, then of several thicknesses, the
other being as usual, each drawn --draws times. `ink` is the share of the objects' first masks that
lies under strokes. `seen` is the share of the network's 16-pixel cells touched by strokes that are
covered enough (15 %) to count at all: it is what scores fall with, and why a tree's own sets score
higher than thinner drawn ones. On small frames the usual 7 pixels at 480p are 2 pixels, an eighth
of a cell: most of the stroke is not seen.
SAVE_PATH/<config>_<epoch>_davis<year>_sensitivity gets sensitivity.json and, in strokes/, the drawn
sets in DAVIS' own layout; masks lie beside it. A run that was stopped goes on where it was;
torchrun shares it out.
"""

from __future__ import annotations

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

import argparse
import dataclasses
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import rhmnet
from rhmnet.config import STRIDE
from rhmnet.data.davis import DAVIS, Davis, open_davis, parse_year, read_prompt
from rhmnet.errors import MOST_SEED, InputError, say
from rhmnet.evaluation import reading_of, select
from rhmnet.evaluation.benchmarks import DavisEvaluation, davis_parser, parse
from rhmnet.evaluation.manifest import made_by
from rhmnet.evaluation.report import VideoScores, global_row, object_rows
from rhmnet.evaluation.tracking import choose_device, choose_network
from rhmnet.files.concurrency import alone_in
from rhmnet.files.images import write_map
from rhmnet.files.writing import make_folder, refused_by_name, remove, write_json
from rhmnet.inputs import network_size, resize_strokes, thicken
from rhmnet.labels import LEAST_RATIO
from rhmnet.runtime import Number, run_command, whole
from rhmnet.runtime.processes import join_processes
from rhmnet.tools.scribbles.hand import HandOptions, draw_scribble
from rhmnet.tracker import settle_precision

FIRST_DRAWN = 100  # number of the first drawn set, above those of any tree
LINKED = ("JPEGImages", "Annotations", "ImageSets")
DRAWN = re.compile(r"valid_scribbles[0-9]+")
SHOWN = ("J&F-Mean", "J-Mean", "F-Mean")
MEANING = {
    "set": "number of the tree's scribble set",
    "coverage": "length: share of an object's skeleton that its stroke covers",
    "thickness": "pixels at 480p",
}


class Condition(NamedTuple):
    """One way of drawing, once."""

    vary: str
    """coverage or thickness; `set` for a scribble set that the tree has."""
    value: float
    draw: int


class Amount(NamedTuple):
    """How much of the objects strokes mark."""

    ink: float
    """Share of the objects' first masks under strokes."""
    seen: float
    """Share of the touched cells that are covered enough to carry a label."""


def main() -> None:
    args = parse_arguments()
    network = choose_network(args, small=True)
    config, checkpoint = network.config, network.checkpoint
    data_root = args.data_root or Path(config.data.root) / DAVIS
    davis = open_davis(data_root, parse_year(args.year) if args.year else None, args.set)
    names = select(davis.names(), args.start, args.end, args.video_name)
    conditions = {group: Condition("set", group, 0) for group in davis.groups()}
    drawn = [
        Condition(vary, value, draw)
        for vary in ("coverage", "thickness")
        for value in getattr(args, vary)
        for draw in range(args.draws)
    ]
    conditions |= dict(enumerate(drawn, start=FIRST_DRAWN))
    with ExitStack() as alone, join_processes(choose_device(args.device, args.gpu)) as processes:
        config = settle_precision(config, processes.device)
        run = f"{network.name}_davis{davis.year}_sensitivity"
        folder = args.save_path / run
        if processes.is_main:
            remedy = "wait for it, or name another --save_path"
            alone.enter_context(alone_in(folder, remedy, tidy=True))
            write_strokes(davis, names, conditions, folder / "strokes", args.seed)
        processes.wait()
        evaluation = DavisEvaluation(
            davis=dataclasses.replace(davis, root=folder / "strokes"),
            names=names,
            groups=list(conditions),
            folder=folder / "masks",
            made_by=made_by(config, checkpoint),
            checkpoint=checkpoint and str(checkpoint.resolve()),
            reading=reading_of(davis.year, args.davis16),
            with_bg=args.with_bg,
            overlay=args.overlay,
            overwrite=args.overwrite,
        )
        model = network.model.to(processes.device)
        if processes.is_main:
            say(network.describe(processes.device))
        scores = evaluation.run(lambda: rhmnet.Tracker(model, config), processes)
    if not scores:  # another process reports
        return
    side = config.test.short_side
    amounts = [amount(evaluation.davis, names, group, side) for group in conditions]
    tables = tabulate(
        dict(zip(conditions.values(), scores.values(), strict=True)),
        dict(zip(conditions.values(), amounts, strict=True)),
    )
    say(f"{run}, {len(names)} videos, {config.test.precision}: {evaluation.reading.value}")
    print("\n\n".join(format_table(vary, rows) for vary, rows in tables.items()))
    header = {"run": run, "weights": str(checkpoint or "random"), "seed": args.seed}
    path = folder / "sensitivity.json"
    write_json(path, {**header, **evaluation.describe(), **tables})
    say(f"wrote {path}")


def parse_arguments() -> argparse.Namespace:
    parser = davis_parser(__doc__, small=True)
    add = parser.add_argument
    lengths, widths = [0.1, 0.25, 0.5, 0.75, 1.0], [2.0, 4.0, 7.0, 12.0, 20.0]
    rules = {field.name: field.metadata["rule"] for field in dataclasses.fields(HandOptions)}
    for name, default in (("coverage", lengths), ("thickness", widths)):
        text = f"{MEANING[name]} (default: {' '.join(f'{v:g}' for v in default)})"
        add(f"--{name}", type=Number(float, rules[name]), nargs="*", default=default, help=text)
    add("--draws", type=whole(1, 100), default=3, help="sets drawn of each kind (default 3)")
    add("--seed", type=whole(0, MOST_SEED), default=0, help="of the drawn strokes (default 0)")
    return parse(parser)


def write_strokes(
    davis: Davis, names: Sequence[str], conditions: dict[int, Condition], out: Path, seed: int
) -> None:
    """Make a DAVIS folder: the tree's own files, linked, and `valid_scribbles<n>` as drawn."""
    linked = [*LINKED]
    linked += [davis.valid_scribbles(group).name for group in conditions if group < FIRST_DRAWN]
    for path in out.iterdir() if out.is_dir() else ():
        link = path.is_symlink() and path.name in LINKED
        if not link and not DRAWN.fullmatch(path.name):
            raise InputError(f"{path}: was not made here; move it away, or name another folder")
    remove(out)  # links are removed, not what they lead to
    make_folder(out)
    with refused_by_name(out):
        for name in linked:
            (out / name).symlink_to((davis.root / name).resolve(), target_is_directory=True)
    for index, name in enumerate(names):
        labels = davis.first_annotation(davis.video(name)).labels
        for group, condition in conditions.items():
            if condition.vary == "set":
                continue
            options = HandOptions(**{condition.vary: condition.value})
            # the same hand for every length and thickness, so that nothing else differs
            rng = np.random.default_rng((seed, index, condition.draw))
            path = out / davis.valid_scribbles(group).name / f"{name}.bmp"
            write_map(path, draw_scribble(labels, int(labels.max()), rng, options))


def amount(davis: Davis, names: Sequence[str], group: int, short_side: int) -> Amount:
    """How much of the objects a set's strokes mark, mean over the videos.

    It is what makes sets of different making comparable: a tree's own strokes may be longer or
    thicker than drawn ones of any length here.
    """
    amounts = []
    for name in names:
        video = davis.video(name)
        mask = davis.first_annotation(video).labels
        strokes = read_prompt(davis, video, group).scribble
        on_object = (mask > 0) & (strokes > 0)
        cells = _cells(on_object, short_side)
        touched = max(np.count_nonzero(cells), 1)
        amounts.append(
            (on_object.sum() / np.count_nonzero(mask), (cells >= LEAST_RATIO).sum() / touched)
        )
    return Amount(*(float(share) for share in np.mean(amounts, axis=0)))


def _cells(strokes: np.ndarray, short_side: int) -> np.ndarray:
    """Share of each of the network's cells under strokes, bool [H, W], as the tracker shows them.

    Padded as there, half on each side, the smaller half first; thin strokes broadened as there.
    """
    size = network_size(strokes.shape, short_side)
    missing = [-side % STRIDE for side in size]
    seen = resize_strokes(strokes.astype(np.uint8), size)
    seen = np.pad(seen, [(extra // 2, extra - extra // 2) for extra in missing])
    if short_side:
        seen = thicken(torch.from_numpy(seen)).numpy()
    height, width = (side // STRIDE for side in seen.shape)
    return seen.reshape(height, STRIDE, width, STRIDE).mean(axis=(1, 3))


def tabulate(
    scores: dict[Condition, VideoScores], amounts: dict[Condition, Amount]
) -> dict[str, list[dict[str, Any]]]:
    """{what was varied: one row a value}, each mean and deviation over the draws."""
    tables: dict[str, list[dict[str, Any]]] = {}
    globals_ = {condition: global_row(object_rows(part)) for condition, part in scores.items()}
    groups = {(c.vary, c.value): [] for c in globals_}
    for condition in globals_:
        groups[condition.vary, condition.value].append(condition)
    sets = [condition for condition in globals_ if condition.vary == "set"]
    if sets:
        groups["set", "all"] = sets
    for (vary, value), conditions in groups.items():
        shares = np.mean([amounts[condition] for condition in conditions], axis=0)
        row = {"value": value, **Amount(*map(float, shares))._asdict()}
        tables.setdefault(vary, []).append(
            {**row, **summary([globals_[condition] for condition in conditions])}
        )
    return tables


def summary(rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Mean and deviation of global rows (divided by their number)."""
    mean = {column: float(np.mean([row[column] for row in rows])) for column in SHOWN}
    std = {column: float(np.std([row[column] for row in rows])) for column in SHOWN}
    return {"draws": len(rows), "mean": mean, "std": std}


def format_table(vary: str, rows: Sequence[dict[str, Any]]) -> str:
    """One line a value: mean ± deviation of each column."""
    lines = [
        f"{vary} ({MEANING[vary]})",
        f"{'':>10}{'draws':>7}{'ink':>8}{'seen':>8}" + "".join(f"{column:>18}" for column in SHOWN),
    ]
    for row in rows:
        cells = [f"{row['mean'][c]:.4f} ± {row['std'][c]:.4f}" for c in SHOWN]
        lines.append(
            f"{row['value']!s:>10}{row['draws']:>7}{row['ink']:>8.1%}{row['seen']:>8.1%}"
            + "".join(f"{c:>18}" for c in cells)
        )
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main)
