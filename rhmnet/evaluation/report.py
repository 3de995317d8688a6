"""Tables of scores: on the screen, as `scores.json` and as `scores.csv`.

DAVIS: column names are the official package's. Every object counts once, whatever its video; J&F is
the mean of both means; the deviation over scribble sets is the population's (divided by their
number).

YouTube-VOS: J and F of seen and of unseen categories, and their mean, Overall. How it is read here:
a category is seen if train/meta.json of the tree has it; an object's J and F are means over the
frames of meta.json after the one at which it appears (the last one counts, and an object that is
rightly found absent scores 1 there); every object counts once, whatever the length of its video;
Overall is the mean of the four numbers.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rhmnet.data.davis import open_davis, parse_year
from rhmnet.errors import InputError, say, shown
from rhmnet.evaluation import ObjectScores, reading_of, score_folder, select
from rhmnet.evaluation.manifest import check_newer, check_weights
from rhmnet.files.writing import remove, write_json, write_text
from rhmnet.runtime import MOST_WORKERS, CommandParser, whole

COLUMNS = ("J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")
GLOBAL = "Global"
FILES = ("scores.json", "scores.csv")
RECALL_THRESHOLD = 0.5
_DECAY_BINS = 4
_GROUPS = ("seen", "unseen")
_UNKNOWN = "unknown"
_EMPTY = "-"
_SCORE = """\
Score folders of masks on DAVIS like the official package: J, F, recall, decay.

RESULTS holds <video>/<frame>.png, label maps with ids 1..N; any system's. Several folders (one a
scribble set, say) get their mean and standard deviation.

    %(prog)s results/video_training_69_davis2016_g0 datasets/DAVIS --year 16
    %(prog)s results/*_davis2017_g? datasets/DAVIS --year 17 --out results/scores
"""

Row = dict[str, float]
"""One value a column."""
VideoScores = Mapping[str, np.ndarray]
"""{video: float64 [2, N, T]}, J and F of each object and scored frame."""


def object_rows(scores: VideoScores) -> dict[str, Row]:
    """{`<video>_<object>`: row}, the official names of objects."""
    return {
        f"{video}_{index + 1}": _row(values[0, index], values[1, index])
        for video, values in scores.items()
        for index in range(values.shape[1])
    }


def global_row(objects: Mapping[str, Row]) -> Row:
    """Mean over objects of every column."""
    return {c: float(np.mean([row[c] for row in objects.values()])) for c in COLUMNS}


def build_report(header: Mapping[str, Any], sets: Mapping[str, VideoScores]) -> dict[str, Any]:
    """Everything that is reported, as plain values.

    header: what was run; it is kept as it is. sets: {name of the set: its scores}.
    Returns the header's entries, then `sets` ({name: {"global": row, "objects": {name: row}}}), and
    `mean` and `std` of the global rows over the sets.
    """
    parts = {name: object_rows(scores) for name, scores in sets.items()}
    report = {name: {"global": global_row(rows), "objects": rows} for name, rows in parts.items()}
    values = {c: [part["global"][c] for part in report.values()] for c in COLUMNS}
    return {
        **header,
        "sets": report,
        "mean": {c: float(np.mean(v)) for c, v in values.items()},
        "std": {c: float(np.std(v)) for c, v in values.items()},
    }


def format_report(report: Mapping[str, Any]) -> str:
    """Two tables: the sets with their mean and deviation, and the objects' means over the sets."""
    sets = report["sets"]
    names = [*sets, *(name for part in sets.values() for name in part["objects"])]
    width = max(18, *(len(shown(name)) + 2 for name in names))
    lines = [f"{'Set':<{width}}" + "".join(f"{c:>10}" for c in COLUMNS)]
    rows = {**{name: part["global"] for name, part in sets.items()}}
    if len(sets) > 1:
        rows.update({"mean": report["mean"], "± std": report["std"]})
    lines += [_line(name, row, width) for name, row in rows.items()]
    lines += ["", f"{'Sequence':<{width}}" + "".join(f"{c:>10}" for c in COLUMNS)]
    for name in next(iter(sets.values()))["objects"]:
        values = [part["objects"][name] for part in sets.values()]
        lines.append(
            _line(name, {c: float(np.mean([v[c] for v in values])) for c in COLUMNS}, width)
        )
    return "\n".join(lines)


def write_report(report: Mapping[str, Any], folder: str | Path) -> tuple[Path, Path]:
    """Write what `build_report` made as `scores.json` and `scores.csv`."""
    rows = [["Set", "Sequence", *COLUMNS]]
    for name, part in report["sets"].items():
        for sequence, row in {**part["objects"], GLOBAL: part["global"]}.items():
            rows.append([name, sequence, *(row[c] for c in COLUMNS)])
    for name in ("mean", "std"):
        rows.append([name, GLOBAL, *(report[name][c] for c in COLUMNS)])
    return write_tables(folder, report, rows)


def write_tables(
    folder: str | Path, report: Mapping[str, Any], rows: Iterable[Sequence[Any]]
) -> tuple[Path, Path]:
    """Write a report, and rows, as `scores.json` and `scores.csv`, each moved into place whole."""
    scores_json, scores_csv = (Path(folder) / name for name in FILES)
    write_json(scores_json, report, ensure_ascii=False)
    table = io.StringIO(newline="")
    csv.writer(table).writerows(rows)
    write_text(scores_csv, table.getvalue())
    return scores_json, scores_csv


def forget_report(folder: Path) -> None:
    """Remove a folder's report, so that none of an earlier run is left when this one fails."""
    for name in FILES:
        remove(folder / name)


def build_youtube_report(
    header: Mapping[str, Any], scores: Sequence[ObjectScores], seen: Collection[str] | None
) -> dict[str, Any]:
    """Everything that is reported, as plain values.

    header: what was run; it is kept as it is. seen: categories of the training videos, None where
    they are not known. Returns the header's entries, then `objects`, `groups` ({group: {"objects":
    number, "J": mean, "F": mean}}), `overall` (None without any object) and `notes`, what the
    reader must know of them. Objects that appear on their video's last frame are in none.
    """
    objects = {
        f"{score.video}_{score.object.number}": {
            "category": score.object.category,
            "group": _group(score.object.category, seen),
            "frames": score.values.shape[1],
            "J": float(score.values[0].mean()),
            "F": float(score.values[1].mean()),
        }
        for score in scores
        if score.values.shape[1]
    }
    groups = {}
    for group in (*_GROUPS, _UNKNOWN):
        rows = [row for row in objects.values() if row["group"] == group]
        if rows:
            means = {key: float(np.mean([row[key] for row in rows])) for key in ("J", "F")}
            groups[group] = {"objects": len(rows), **means}
    values = [groups[group][key] for group in groups for key in ("J", "F")]
    return {
        **header,
        "objects": objects,
        "groups": groups,
        "overall": float(np.mean(values)) if values else None,
        "notes": _notes(groups, seen, len(scores) - len(objects)),
    }


def format_youtube_report(report: Mapping[str, Any]) -> str:
    """Two tables: the groups with Overall, and the objects; below them the notes."""
    groups, objects = report["groups"], report["objects"]
    columns = {"Overall": report["overall"]}
    for group in [*_GROUPS, *([_UNKNOWN] if _UNKNOWN in groups else [])]:
        for key in ("J", "F"):
            columns[f"{key}_{group}"] = groups.get(group, {}).get(key)
    width = max(20, *(len(shown(name)) + 2 for name in objects)) if objects else 20
    lines = [
        f"{'':<{width}}" + "".join(f"{name:>11}" for name in columns),
        f"{f'{len(objects)} objects':<{width}}" + "".join(map(_cell, columns.values())),
        "",
        f"{'Object':<{width}}{'Frames':>8}{'J':>11}{'F':>11}  Category",
    ]
    for name, row in objects.items():
        category = f"{row['category'] or _EMPTY} ({row['group']})"
        cells = f"{row['frames']:>8}{_cell(row['J'])}{_cell(row['F'])}  {shown(category)}"
        lines.append(f"{shown(name):<{width}}{cells}")
    return "\n".join([*lines, *(f"Note: {note}." for note in report["notes"])])


def youtube_rows(report: Mapping[str, Any]) -> list[list[Any]]:
    """The rows of `scores.csv`: objects, then groups, then Overall."""
    rows = [["Sequence", "Category", "Group", "Frames", "J", "F"]]
    for name, row in report["objects"].items():
        rows.append([name, *(row[key] for key in ("category", "group", "frames", "J", "F"))])
    for group, row in report["groups"].items():
        rows.append(["Mean", "", group, "", row["J"], row["F"]])
    return [*rows, ["Overall", "", "", "", report["overall"], ""]]


def _group(category: str | None, seen: Collection[str] | None) -> str:
    if category is None or seen is None:
        return _UNKNOWN
    return "seen" if category in seen else "unseen"


def _notes(groups: Mapping[str, Any], seen: Collection[str] | None, left_out: int) -> list[str]:
    notes = []
    if seen is None:
        notes.append("there is no train/meta.json, so seen and unseen are not told apart")
    elif _UNKNOWN in groups:
        notes.append("meta.json gives some objects no category; they are a group of their own")
    missing = [group for group in _GROUPS if group not in groups]
    if groups and seen is not None and missing:
        what = " and ".join(missing)
        notes.append(f"no object of a {what} category, so Overall is the mean of the other numbers")
    if left_out:
        notes.append(f"{left_out} objects appear on a last frame; nothing of them can be scored")
    return notes


def _cell(value: float | None) -> str:
    return f"{_EMPTY:>11}" if value is None else f"{value:>11.4f}"


class Statistics(NamedTuple):
    """What DAVIS reports of one object's scores over its frames."""

    mean: float
    recall: float
    """Share of the frames that score above 0.5."""
    decay: float
    """Mean of the first quarter of the frames minus mean of the last."""


def statistics(values: np.ndarray) -> Statistics:
    """Mean, recall and decay of one object's scores [T]; NaN for none at all."""
    if not len(values):
        return Statistics(math.nan, math.nan, math.nan)
    edges = np.round(np.linspace(1, len(values), _DECAY_BINS + 1) + 1e-10).astype(int) - 1
    first, last = values[edges[0] : edges[1] + 1], values[edges[-2] : edges[-1] + 1]
    return Statistics(
        mean=float(np.mean(values)),
        recall=float(np.mean(values > RECALL_THRESHOLD)),
        decay=float(np.mean(first) - np.mean(last)),
    )


def _row(region: np.ndarray, contour: np.ndarray) -> Row:
    j, f = statistics(region), statistics(contour)
    return dict(zip(COLUMNS, [(j.mean + f.mean) / 2, *j, *f], strict=True))


def _line(name: str, row: Row, width: int) -> str:
    return f"{shown(name):<{width}}" + "".join(f"{row[c]:>10.4f}" for c in COLUMNS)


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
    parser = CommandParser(prog, description=_SCORE)
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
