"""Tables of scores: on the screen, as `scores.json` and as `scores.csv`.

Column names are the official DAVIS package's. Every object counts once, whatever its video; J&F is
the mean of both means; the deviation over scribble sets is the population's (divided by their
number).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rhmnet.errors import shown
from rhmnet.evaluation.metrics import statistics
from rhmnet.files.writing import remove, write_json, write_text

COLUMNS = ("J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")
GLOBAL = "Global"
FILES = ("scores.json", "scores.csv")

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


def _row(region: np.ndarray, contour: np.ndarray) -> Row:
    j, f = statistics(region), statistics(contour)
    return dict(zip(COLUMNS, [(j.mean + f.mean) / 2, *j, *f], strict=True))


def _line(name: str, row: Row, width: int) -> str:
    return f"{shown(name):<{width}}" + "".join(f"{row[c]:>10.4f}" for c in COLUMNS)
