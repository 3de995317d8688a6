"""Edits of strokes, as they are kept: one after the other, undo and redo among them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from rhmnet.bounds import short
from rhmnet.errors import InputError
from rhmnet.labels import BACKGROUND, MAX_OBJECTS

_KINDS = {
    "strokes": {"frame", "runs"},
    "erase": {"frame", "runs"},
    "clear": {"frame"},
    "add_object": {"object", "name"},
    "rename_object": {"object", "name"},
    "delete_object": {"object"},
    "undo": set(),
    "redo": set(),
}
_ALSO = {"edit", "id", "note"}
_LONGEST = 200  # characters of an object's name


class Edits:
    """All edits so far and what they come to: strokes on frames, and objects.

    size: H, W of the video.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self.log: list[dict[str, Any]] = []
        self.objects: dict[int, str] = {}
        self.maps: dict[int, np.ndarray] = {}
        """{frame: uint8 [H, W]}, frames without a stroke left out."""
        self.revisions: dict[str, int] = {}
        """By the edits' own ids."""
        self._applied: list[dict[str, Any]] = []
        self._undone: list[dict[str, Any]] = []

    @property
    def can_undo(self) -> bool:
        return bool(self._applied)

    @property
    def can_redo(self) -> bool:
        return bool(self._undone)

    def standing(self, frame: int) -> list[dict[str, Any]]:
        """The edits that touch a frame and were not undone, in order."""
        return [e for e in self._applied if e.get("frame", frame) == frame and _touches(e)]

    def check(self, edit: Any, frames: int) -> None:
        """Raise InputError unless an edit can be applied. frames: of the video."""
        kind = edit.get("edit") if isinstance(edit, dict) else None
        if not isinstance(kind, str) or kind not in _KINDS:
            raise InputError(f"edit {short(edit)}: expected one of {', '.join(_KINDS)}")
        if not _KINDS[kind] <= edit.keys() <= _KINDS[kind] | _ALSO:
            raise InputError(f"edit {kind}: expected {', '.join(sorted(_KINDS[kind]))} and no more")
        if "frame" in edit and not (type(edit["frame"]) is int and 0 <= edit["frame"] < frames):
            raise InputError(f"frame {short(edit['frame'])}: expected one of 0..{frames - 1}")
        if "object" in edit:
            _check_object(edit["object"])
            if (kind == "add_object") == (edit["object"] in self.objects):
                there = "is there already" if kind == "add_object" else "is not there"
                raise InputError(f"{kind}: object {edit['object']} {there}")
        if "name" in edit and not (isinstance(edit["name"], str) and len(edit["name"]) <= _LONGEST):
            raise InputError(f"{kind}: expected a name of at most {_LONGEST} characters")
        if "runs" in edit:
            self._check_runs(edit["runs"], kind)
        if (kind == "undo" and not self.can_undo) or (kind == "redo" and not self.can_redo):
            raise InputError(f"{kind}: there is nothing to {kind}")

    def add(self, edit: dict[str, Any]) -> set[int]:
        """Apply an edit that `check` found right; returns the frames whose strokes may differ."""
        self.log.append(edit)
        if "id" in edit:
            self.revisions[edit["id"]] = len(self.log)
        kind = edit["edit"]
        if kind == "undo":
            edit = self._applied.pop()
            self._undone.append(edit)
        elif kind == "redo":
            edit = self._undone.pop()
            self._applied.append(edit)
        else:
            self._applied.append(edit)
            self._undone.clear()
        if kind == "undo":
            self.objects = {}
            for one in self._applied:
                self._name(one)
        else:
            self._name(edit)
        if "frame" in edit:
            frames = {edit["frame"]}
        elif edit["edit"] == "delete_object":
            frames = {one["frame"] for one in self._applied if "frame" in one}
        else:
            return set()
        for frame in frames:
            if kind == "undo":
                self._set(frame, self._map(frame, self._applied))
            else:
                self._set(frame, self._map(frame, [edit], self.maps.get(frame)))
        return frames

    def _name(self, edit: dict[str, Any]) -> None:
        """What an edit makes of the objects."""
        if "name" in edit:
            self.objects[edit["object"]] = edit["name"]
        elif edit["edit"] == "delete_object":
            self.objects.pop(edit["object"], None)
        elif edit["edit"] == "strokes":
            for number in {*edit["runs"][::3]} - {BACKGROUND}:
                self.objects.setdefault(number, "")
        self.objects = dict(sorted(self.objects.items()))

    def _map(
        self, frame: int, edits: Iterable[dict[str, Any]], before: np.ndarray | None = None
    ) -> np.ndarray:
        """A frame's strokes after some edits, in order."""
        labels = np.zeros(self.size, np.uint8) if before is None else before.copy()
        flat = labels.reshape(-1)
        for edit in edits:
            if edit["edit"] == "delete_object":
                labels[labels == edit["object"]] = 0
            if edit.get("frame") != frame:
                continue
            if edit["edit"] == "clear":
                labels[:] = 0
            runs = edit.get("runs", ())
            for value, start, length in zip(runs[::3], runs[1::3], runs[2::3], strict=True):
                flat[start : start + length] = value
        return labels

    def _set(self, frame: int, labels: np.ndarray) -> None:
        if labels.any():
            self.maps[frame] = labels
        else:
            self.maps.pop(frame, None)

    def _check_runs(self, runs: Any, kind: str) -> None:
        whole = isinstance(runs, list) and len(runs) % 3 == 0 and all(type(n) is int for n in runs)
        table = np.array(runs if whole else [], object).reshape(-1, 3)
        values, starts, lengths = table.T
        most = self.size[0] * self.size[1]
        inside = all(0 <= a < a + n <= most for a, n in zip(starts, lengths, strict=True))
        named = {0} if kind == "erase" else {*range(1, MAX_OBJECTS + 1), BACKGROUND}
        if not whole or not len(table) or not inside or not {*values} <= named:
            raise InputError(
                f"{kind}: expected runs of value, start and length on a frame of "
                f"{self.size[1]}x{self.size[0]} pixels, at least one"
            )


def runs_of(labels: np.ndarray) -> list[int]:
    """Value, start and length of each run of equal pixels that are not 0, row by row."""
    flat = labels.reshape(-1)
    starts = np.flatnonzero(np.diff(flat, prepend=flat[:1] ^ 1))
    lengths = np.diff(starts, append=len(flat))
    table = np.stack([flat[starts].astype(np.int64), starts, lengths], axis=1)
    return table[table[:, 0] > 0].reshape(-1).tolist()


def parse_edits(lines: Iterable[bytes], name: str) -> list[Any]:
    """The values of a file's lines. Raises InputError that names the file and the line."""
    edits = []
    for number, line in enumerate(lines, start=1):
        try:
            edits.append(json.loads(line))
        except ValueError:
            raise InputError(
                f"{name}: line {number} is no JSON; mend it, or take it out with all after it"
            ) from None
    return edits


def _touches(edit: dict[str, Any]) -> bool:
    return "frame" in edit or edit["edit"] == "delete_object"


def _check_object(number: Any) -> None:
    if type(number) is not int or not 1 <= number <= MAX_OBJECTS:
        raise InputError(f"object {short(number)}: expected a number of 1..{MAX_OBJECTS}")
