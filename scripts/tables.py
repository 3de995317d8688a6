#!/usr/bin/env python
"""Put the scores that scripts/reproduce_tables.sh made into one table; it calls this by itself.

    python scripts/tables.py results/tables

Prints tables.md and writes it to the folder. The last column waits for the paper's figures.
"""

from __future__ import annotations

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rhmnet.errors import InputError, say
from rhmnet.files.reading import read_json
from rhmnet.files.writing import write_text
from rhmnet.runtime import CommandParser, run_command

DAVIS_ROWS = {
    "davis16": "DAVIS-2016 val, objects merged (standard)",
    "davis16_object1": "DAVIS-2016 val, object 1 (as the release)",
    "davis17": "DAVIS-2017 val",
}
DAVIS_MEASURES = {"J&F-Mean": "J&F", "J-Mean": "J", "F-Mean": "F"}
YOUTUBE = "YouTube-VOS val"
Row = tuple[str, ...]
"""Cells of the table."""


def main() -> None:
    parser = CommandParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="--save_path of reproduce_tables.sh")
    folder = parser.parse_args().folder
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; run reproduce_tables.sh first")
    rows = [("Benchmark", "Measure", "Here", "Std over sets", "Paper"), ("---",) * 5]
    for row, title in DAVIS_ROWS.items():
        rows += read_scores(folder / row, lambda report, title=title: davis_rows(report, title))
    rows += youtube_rows(folder / "youtube")
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in padded(rows))
    write_text(folder / "tables.md", text + "\n")
    print(f"{text}\n")
    say(f"wrote {folder / 'tables.md'}")


def davis_rows(report: dict[str, Any], title: str) -> Iterator[Row]:
    """One row a measure, in percent as papers have it."""
    title = f"{title}, {len(report['videos'])} videos, {len(report['sets'])} sets"
    for column, measure in DAVIS_MEASURES.items():
        std = percent(report["std"][column]) if len(report["sets"]) > 1 else "-"
        yield title, measure, percent(report["mean"][column]), std, ""


def youtube_rows(folder: Path) -> Iterator[Row]:
    """Overall and the four numbers of it; where there are none, the zip for the server."""
    if list(folder.glob("*/scores.json")):
        yield from read_scores(folder, _youtube_scores)
        return
    archives = sorted(folder.glob("*/*.zip"))
    if not archives:
        raise InputError(f"{folder}: neither scores nor a zip; run reproduce_tables.sh again")
    for measure in ("Overall", "J seen", "F seen", "J unseen", "F unseen"):
        yield YOUTUBE, measure, f"send {archives[0]} to the server", "-", ""


def _youtube_scores(report: dict[str, Any]) -> Iterator[Row]:
    title, values = f"{YOUTUBE}, {len(report['videos'])} videos", report["groups"]
    yield title, "Overall", percent(report["overall"]), "-", ""
    for group in ("seen", "unseen"):
        for key in ("J", "F"):
            yield title, f"{key} {group}", percent(values.get(group, {}).get(key)), "-", ""


def read_scores(folder: Path, rows: Callable[[dict[str, Any]], Iterator[Row]]) -> list[Row]:
    """What `rows` makes of the one scores.json that lies in a folder of `folder`.

    Raises InputError where there is not one, or it is not what an evaluation writes.
    """
    found = sorted(folder.glob("*/scores.json"))
    if len(found) != 1:
        raise InputError(
            f"{folder}: {len(found)} files */scores.json; expected one, of one checkpoint: "
            "give reproduce_tables.sh another --save_path"
        )
    report = read_json(found[0], "scores as an evaluation writes them")
    try:
        return list(rows(report))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"{found[0]}: not scores as an evaluation writes them ({type(error).__name__}: "
            f"{error}); run reproduce_tables.sh again"
        ) from None


def percent(value: float | None) -> str:
    """A score of 0..1 in percent; no object of a group is no number. Raises ValueError."""
    if value is None:
        return "no object"
    if not 0 <= value <= 1:
        raise ValueError("a score outside 0..1")
    return f"{100 * value:.1f}"


def padded(rows: list[tuple[str, ...]]) -> list[list[str]]:
    """The cells of a table, columns of one width."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [[cell.ljust(w) for cell, w in zip(row, widths, strict=True)] for row in rows]


if __name__ == "__main__":
    run_command(main)
