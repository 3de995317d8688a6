"""Strokes that come and go: edits, one after the other, undo and redo among them.

A file holds them, one line each: added and flushed to the disk before it counts. A last line that
was cut off never counted. Each line ends with its check sum: nothing else has what it says.
"""

from __future__ import annotations

import threading
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np

from rhmnet.errors import InputError, short
from rhmnet.files.reading import sealed, unsealed, whole_lines
from rhmnet.files.source import Source
from rhmnet.files.writing import add_line
from rhmnet.labels import BACKGROUND, MAX_OBJECTS
from rhmnet.tools.segment.plan import StrokedFrame

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

Edit = dict[str, Any]


class EditedStrokes:
    """Strokes on a video's frames, and its objects, for any thread.

    Of each edit, note is any JSON value that is kept with it, and id a text of the caller's: an
    edit whose id came before is left out. Edits return the revision. They raise InputError, and
    change nothing, for frames, objects and maps that do not fit, and where the disk refuses.
    """

    def __init__(self, source: Source, path: Path) -> None:
        """path: of the file, which is read if it is there. Raises InputError for a damaged one."""
        self.source = source
        self.lock = threading.RLock()
        self._path, self._log = path, []
        self._objects: dict[int, str] = {}
        self._stroked: dict[int, StrokedFrame] = {}
        self._by_id: dict[str, int] = {}
        self._applied: list[Edit] = []
        self._undone: list[Edit] = []
        for number, line in enumerate(whole_lines(path), start=1):
            try:
                edit = unsealed(line)
                self._check(edit)
            except InputError as error:
                raise InputError(
                    f"{path}: line {number}: {error}; restore the file, or leave the line out"
                ) from None
            self._apply(edit)

    @property
    def revision(self) -> int:
        """The number of edits so far, undo and redo among them."""
        return len(self._log)

    @property
    def edits(self) -> list[Edit]:
        """All of them, as the file holds them."""
        with self.lock:
            return list(self._log)

    @property
    def last_frame(self) -> int | None:
        """The frame that the last edit, or what it undid or did again, concerns; None: several."""
        with self.lock:
            undone = bool(self._log) and self._log[-1]["edit"] == "undo"
            edits = self._undone if undone else self._applied
            return edits[-1].get("frame") if edits else None

    @property
    def can_undo(self) -> bool:
        return bool(self._applied)

    @property
    def can_redo(self) -> bool:
        return bool(self._undone)

    @property
    def objects(self) -> dict[int, str]:
        """{number: name} of the objects, with strokes or without."""
        with self.lock:
            return dict(sorted(self._objects.items()))

    @property
    def strokes(self) -> dict[int, np.ndarray]:
        """{frame: uint8 [H, W]}: 0 none, 1..N objects, 255 background; frames without left out."""
        with self.lock:
            return {frame: one.labels.copy() for frame, one in sorted(self._stroked.items())}

    @property
    def stroked(self) -> dict[int, list[int]]:
        """{frame: objects with a stroke on it, 255 where background has one}, in order."""
        with self.lock:
            return {
                frame: [*one.objects, *[BACKGROUND] * bool((one.labels == BACKGROUND).any())]
                for frame, one in sorted(self._stroked.items())
            }

    def strokes_on(self, frame: int) -> np.ndarray:
        """The strokes on a frame, uint8 [H, W]."""
        with self.lock:
            return self._labels(self._frame(frame)).copy()

    def standing(self, frame: int) -> list[Edit]:
        """The edits of a frame's strokes that were not undone, in order."""
        with self.lock:
            return [e for e in self._applied if frame == e.get("frame") or _is_deletion(e)]

    def add_strokes(
        self, frame: int, labels: np.ndarray, note: Any = None, id: str | None = None
    ) -> int:
        """Paint strokes over those of a frame.

        labels: uint8 [H, W] at the video's size: 0 as it was, 1..N objects, 255 background.
        """
        runs = _runs(labels, self.source.size)
        return self._edit({"edit": "strokes", "frame": frame, "runs": runs}, note, id)

    def erase(self, frame: int, where: np.ndarray, note: Any = None, id: str | None = None) -> int:
        """Take the strokes from some pixels of a frame. where: bool or uint8 [H, W]."""
        runs = _runs(where, self.source.size)
        runs[::3] = [0] * len(runs[::3])
        return self._edit({"edit": "erase", "frame": frame, "runs": runs}, note, id)

    def clear(self, frame: int, note: Any = None, id: str | None = None) -> int:
        """Take all strokes from a frame."""
        return self._edit({"edit": "clear", "frame": frame}, note, id)

    def add_object(
        self, number: int | None = None, name: str = "", note: Any = None, id: str | None = None
    ) -> int:
        """Add an object without strokes; returns its number, by default the smallest free one."""
        with self.lock:
            if id in self._by_id:
                return self._log[self._by_id[id] - 1]["object"]
            if number is None:
                number = next(n for n in range(1, MAX_OBJECTS + 2) if n not in self._objects)
            self._edit({"edit": "add_object", "object": number, "name": name}, note, id)
            return number

    def rename_object(self, number: int, name: str, note: Any = None, id: str | None = None) -> int:
        """Give an object another name."""
        return self._edit({"edit": "rename_object", "object": number, "name": name}, note, id)

    def delete_object(self, number: int, note: Any = None, id: str | None = None) -> int:
        """Take an object away with its strokes on all frames."""
        return self._edit({"edit": "delete_object", "object": number}, note, id)

    def undo(self, id: str | None = None) -> int:
        """Take back the last edit that stands; an edit itself."""
        return self._edit({"edit": "undo"}, None, id)

    def redo(self, id: str | None = None) -> int:
        """Do again what was undone last, if no other edit came since."""
        return self._edit({"edit": "redo"}, None, id)

    def _edit(self, edit: Edit, note: Any, id: str | None) -> int:
        """Add an edit: first to the file, then here."""
        edit |= ({} if id is None else {"id": id}) | ({} if note is None else {"note": note})
        with self.lock:
            if id is not None and id in self._by_id:
                return self._by_id[id]
            self._check(edit)
            try:
                line = sealed(edit)
                edit = unsealed(line.encode())
            except (TypeError, ValueError, RecursionError):
                raise InputError(f"note={short(note)}: expected a value that JSON holds") from None
            add_line(self._path, line, lasting=True)
            self._apply(edit)
            self._changed()
            return self.revision

    def _changed(self) -> None:
        """Called after each edit, under the lock."""

    def _frame(self, frame: Any) -> int:
        count = self.source.count() or len(self.source)
        if type(frame) is bool or not isinstance(frame, (int, np.integer)):
            raise InputError(f"frame {short(frame)}: expected a number of 0..{count - 1}")
        if not 0 <= frame < count:
            raise InputError(f"frame {short(frame)}: expected one of 0..{count - 1}")
        return int(frame)

    def _check(self, edit: Any) -> None:
        """Raise InputError unless an edit can be applied."""
        kind = edit.get("edit") if isinstance(edit, dict) else None
        if not isinstance(kind, str) or kind not in _KINDS:
            raise InputError(f"edit {short(edit)}: expected one of {', '.join(_KINDS)}")
        if not _KINDS[kind] | {"edit"} <= edit.keys() <= _KINDS[kind] | _ALSO:
            raise InputError(f"edit {kind}: expected {', '.join(sorted(_KINDS[kind]))} and no more")
        if "frame" in edit:
            edit["frame"] = self._frame(edit["frame"])
        if "object" in edit:
            self._check_object(edit["object"], kind)
        if "name" in edit and not _is_name(edit["name"]):
            raise InputError(f"{kind}: expected a name, of at most {_LONGEST} characters, all text")
        if "runs" in edit:
            _check_runs(edit["runs"], kind, self.source.size)
        if not isinstance(edit.get("id", ""), str):
            raise InputError(f"id={short(edit['id'])}: expected text")
        if (kind == "undo" and not self.can_undo) or (kind == "redo" and not self.can_redo):
            raise InputError(f"{kind}: there is nothing to {kind}")

    def _check_object(self, number: Any, kind: str) -> None:
        if type(number) is not int or not 1 <= number <= MAX_OBJECTS:
            raise InputError(f"object {short(number)}: expected a number of 1..{MAX_OBJECTS}")
        if (kind == "add_object") == (number in self._objects):
            there = "is there already" if kind == "add_object" else "is not there"
            raise InputError(f"{kind}: object {number} {there}")

    def _apply(self, edit: Edit) -> None:
        """Do what an edit that `_check` found right says."""
        self._log.append(edit)
        if "id" in edit:
            self._by_id[edit["id"]] = len(self._log)
        if edit["edit"] == "undo":
            self._undo()
            return
        if edit["edit"] == "redo":
            edit = self._undone.pop()
        else:
            self._undone.clear()
        self._applied.append(edit)
        self._name(edit)
        for frame in [*self._stroked] if _is_deletion(edit) else _frames(edit):
            self._set(frame, _painted(self._labels(frame).copy(), edit))

    def _undo(self) -> None:
        edit = self._applied.pop()
        self._undone.append(edit)
        self._objects = {}
        for one in self._applied:
            self._name(one)
        touched = self._applied if _is_deletion(edit) else [edit]
        for frame in {frame for one in touched for frame in _frames(one)}:
            labels = np.zeros(self.source.size, np.uint8)
            for one in self.standing(frame):
                labels = _painted(labels, one)
            self._set(frame, labels)

    def _name(self, edit: Edit) -> None:
        """What an edit makes of the objects."""
        if "name" in edit:
            self._objects[edit["object"]] = edit["name"]
        elif _is_deletion(edit):
            self._objects.pop(edit["object"], None)
        elif edit["edit"] == "strokes":
            for number in {*edit["runs"][::3]} - {BACKGROUND}:
                self._objects.setdefault(number, "")

    def _labels(self, frame: int) -> np.ndarray:
        there = self._stroked.get(frame)
        return np.zeros(self.source.size, np.uint8) if there is None else there.labels

    def _set(self, frame: int, labels: np.ndarray) -> None:
        self._stroked.pop(frame, None)
        if labels.any():
            self._stroked[frame] = StrokedFrame.of(labels)


def _painted(labels: np.ndarray, edit: Edit) -> np.ndarray:
    """Strokes uint8 [H, W] after one edit of theirs; changed in place."""
    if _is_deletion(edit):
        labels[labels == edit["object"]] = 0
    elif edit["edit"] == "clear":
        labels[:] = 0
    flat, runs = labels.reshape(-1), edit.get("runs", ())
    for value, start, length in zip(runs[::3], runs[1::3], runs[2::3], strict=True):
        flat[start : start + length] = value
    return labels


def _is_name(name: Any) -> bool:
    """Whether it is text of fair length, without control characters and halves of characters."""
    short_text = isinstance(name, str) and len(name) <= _LONGEST
    return short_text and not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)


def _frames(edit: Edit) -> list[int]:
    return [edit["frame"]] if "frame" in edit else []


def _is_deletion(edit: Edit) -> bool:
    return edit["edit"] == "delete_object"


def _runs(labels: Any, size: tuple[int, int]) -> list[int]:
    """Value, start and length of each run of equal pixels that are not 0, row by row."""
    labels = np.asarray(labels)
    if labels.dtype not in (np.uint8, bool) or labels.shape != size:
        raise InputError(
            f"strokes of {labels.dtype} {list(labels.shape)}: expected uint8 {list(size)}, the "
            "video's size"
        )
    flat = labels.astype(np.uint8).reshape(-1)
    starts = np.flatnonzero(np.diff(flat, prepend=flat[:1] ^ 1))
    lengths = np.diff(starts, append=len(flat))
    table = np.stack([flat[starts].astype(np.int64), starts, lengths], axis=1)
    return table[table[:, 0] > 0].reshape(-1).tolist()


def _check_runs(runs: Any, kind: str, size: tuple[int, int]) -> None:
    whole = isinstance(runs, list) and len(runs) % 3 == 0 and all(type(n) is int for n in runs)
    named = {0} if kind == "erase" else {*range(1, MAX_OBJECTS + 1), BACKGROUND}
    if whole and runs:
        places = zip(runs[1::3], runs[2::3], strict=True)
        inside = all(0 <= a < a + n <= size[0] * size[1] for a, n in places)
        if inside and {*runs[::3]} <= named:
            return
    raise InputError(
        f"{kind}: expected strokes, values 1..{MAX_OBJECTS} and {BACKGROUND}, on at least one "
        f"pixel of a frame of {size[1]}x{size[0]}"
    )
