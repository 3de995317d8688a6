"""The YouTube-VOS table: J and F of seen and of unseen categories, and their mean, Overall.

How it is read here: a category is seen if train/meta.json of the tree has it; an object's J and F
are means over the frames of meta.json after the one at which it appears (the last one counts, and
an object that is rightly found absent scores 1 there); every object counts once, whatever the
length of its video; Overall is the mean of the four numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from rhmnet.errors import shown
from rhmnet.evaluation.youtube_runner import ObjectScores

GROUPS = ("seen", "unseen")
_UNKNOWN = "unknown"
_EMPTY = "-"


def build_report(
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
    for group in (*GROUPS, _UNKNOWN):
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


def format_report(report: Mapping[str, Any]) -> str:
    """Two tables: the groups with Overall, and the objects; below them the notes."""
    groups, objects = report["groups"], report["objects"]
    columns = {"Overall": report["overall"]}
    for group in [*GROUPS, *([_UNKNOWN] if _UNKNOWN in groups else [])]:
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


def table_rows(report: Mapping[str, Any]) -> list[list[Any]]:
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
    missing = [group for group in GROUPS if group not in groups]
    if groups and seen is not None and missing:
        what = " and ".join(missing)
        notes.append(f"no object of a {what} category, so Overall is the mean of the other numbers")
    if left_out:
        notes.append(f"{left_out} objects appear on a last frame; nothing of them can be scored")
    return notes


def _cell(value: float | None) -> str:
    return f"{_EMPTY:>11}" if value is None else f"{value:>11.4f}"
