"""Edits of the page taken apart; what goes out and comes in, as files know it."""

from __future__ import annotations

import argparse
import tempfile
import threading
import traceback
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rhmnet.errors import InputError, Range, short, shown
from rhmnet.files.images import write_mask
from rhmnet.files.reading import read_json
from rhmnet.files.source import Source
from rhmnet.files.writing import new_file, write_bytes, write_json
from rhmnet.labels import BACKGROUND, MAX_OBJECTS, from_disk
from rhmnet.tools.canvas.request_guard import name_in, points_in
from rhmnet.tools.scribbles import BACKGROUND_ID, Drawing, Stroke, clip, rasterize, trace
from rhmnet.tools.scribbles.line_files import write_davis
from rhmnet.tools.segment import Session
from rhmnet.tools.segment.exports import rle_functions, write_outputs
from rhmnet.tools.segment.stroke_files import StrokeFileOptions, Strokes, read_strokes

if TYPE_CHECKING:
    from rhmnet.tools.canvas.open_video import OpenVideo

VIEW = "canvas_view.json"
"""In a project's folder: what is hidden and locked."""
_PLAIN_VIEW = {"locked": False, "hidden": False}
_WIDTH = Range(0.1, 10_000)
_STROKE_KINDS = {"strokes", "davis"}
KINDS = ("masks", "mp4", "webm", "objects", "cutouts", "coco", "summary", *sorted(_STROKE_KINDS))
"""Of exports; mp4 and webm are overlays."""
_EXPORTED = "canvas_export.json"
"""In an export's folder when it is whole."""
_TOLD = {"id", "kinds", "state", "error", "bytes", "done", "of", "folder"}
_BETWEEN_TOLD = 20  # frames of an export between two words on it
ERASER = 0
"""The object number of strokes that take others away."""


class Views:
    """Which objects are hidden and locked: kept in a project's folder, but no edits."""

    def __init__(self, folder: Path) -> None:
        """What cannot be read is as in a new project."""
        self._path = folder / VIEW
        self._views: dict[int, dict[str, bool]] = {}
        with suppress(InputError, ValueError, TypeError, KeyError):
            self._views = {
                int(number): {key: bool(view[key]) for key in _PLAIN_VIEW}
                for number, view in read_json(self._path).items()
            }

    def of(self, number: int) -> dict[str, bool]:
        """Whether an object is locked and hidden."""
        return self._views.get(number, _PLAIN_VIEW)

    def put(self, number: int, content: dict[str, Any]) -> None:
        """Take `locked` and `hidden` of a request. Raises InputError for what is neither."""
        told = {key: content.get(key, False) for key in _PLAIN_VIEW}
        for key, value in told.items():
            if type(value) is not bool:
                raise InputError(f"{key}: {short(value)}; expected true or false")
        self._views[number] = told
        write_json(self._path, self._views)

    @property
    def locked(self) -> list[int]:
        """The objects whose strokes stay as they are."""
        return [number for number, view in self._views.items() if view["locked"]]


def apply_edit(
    session: Session, operation: dict[str, Any], edit: str, locked: list[int]
) -> int | None:
    """Write one edit of the page down; the number of the object that it added, if it did.

    operation: {"op": "stroke", "frame", "object", "width", "points"} (ERASER takes strokes away,
    255 is the background), {"op": "clear", "frame"}, {"op": "add_object"},
    {"op": "rename_object", "number", "name"}, {"op": "delete_object", "number"}, undo and redo.
    edit: its id. locked: objects whose strokes stay as they are.
    Raises InputError for anything else.
    """
    kind = operation.get("op")
    if kind == "stroke":
        _draw(session, operation, edit, locked)
    elif kind == "clear":
        strokes = session.strokes_on(_frame(operation, session))
        goes = (strokes > 0) & ~np.isin(strokes, locked)
        if not goes.any():
            raise InputError(f"frame {operation['frame']}: has no strokes that could be cleared")
        session.erase(operation["frame"], goes, id=edit)
    elif kind == "add_object":
        return session.add_object(id=edit)
    elif kind in ("rename_object", "delete_object"):
        number = operation.get("number")
        if type(number) is not int or number not in session.objects:
            raise InputError(f"number: no object {short(number)}; expected one that was added")
        if kind == "rename_object":
            session.rename_object(number, name_in(operation.get("name")), id=edit)
        elif number in locked:
            raise InputError(f"object {number} is locked; unlock it first")
        else:
            session.delete_object(number, id=edit)
    elif kind == "undo":
        session.undo(id=edit)
    elif kind == "redo":
        session.redo(id=edit)
    else:
        raise InputError(f"op: no operation {short(kind)}; expected stroke, clear, add_object, ...")
    return None


def _draw(session: Session, operation: dict[str, Any], edit: str, locked: list[int]) -> None:
    """A stroke of the brush or the eraser.

    Its points are whole pixels, as a DAVIS JSON's are, so that the file gives the same map.
    """
    frame, number = _frame(operation, session), operation.get("object")
    if type(number) is not int or not (0 <= number <= MAX_OBJECTS or number == BACKGROUND):
        raise InputError(
            f"object: {short(number)}; expected 1 to {MAX_OBJECTS}, 255 for the background, 0 for "
            "the eraser"
        )
    if number in locked:
        raise InputError(f"object {number} is locked; unlock it first")
    width, points = operation.get("width"), points_in(operation.get("points"))
    if not _WIDTH.holds(width):
        raise InputError(f"width: {short(width)}; expected {_WIDTH} pixels")
    width = max(1, round(width))
    size = session.source.size
    line = Drawing(size, [Stroke(1, points, width)])
    inked = rasterize(line, 1, width) == 1
    if locked:
        inked &= ~np.isin(session.strokes_on(frame), locked)
    note = {"object": number, "width": width, "points": points.astype(int).tolist()}
    if not inked.any():
        raise InputError(f"frame {frame}: the stroke covers no pixel that may be changed")
    if number == ERASER:
        session.erase(frame, inked, note, edit)
    else:
        session.add_strokes(frame, np.where(inked, np.uint8(number), np.uint8(0)), note, edit)


def _frame(operation: dict[str, Any], session: Session) -> int:
    frame, count = operation.get("frame"), len(session.source)
    if type(frame) is not int or not 0 <= frame < count:
        raise InputError(f"frame: {short(frame)}; expected 0 to {count - 1}")
    return frame


def read_import(data: bytes, kind: str | None, frame: int, source: Source) -> Strokes:
    """Read a file's bytes: `map`, a label map or painted picture for `frame`; `json`, DAVIS JSON.

    Raises InputError for what is neither, or of another size.
    """
    suffixes = {"map": ".png", "json": ".json"}
    if kind not in suffixes:
        raise InputError(f"kind: {short(kind)}; expected map or json")
    with tempfile.TemporaryDirectory(prefix="rhmnet-") as folder:
        path = Path(folder) / f"strokes{suffixes[kind]}"
        write_bytes(path, data)
        try:
            number = frame if kind == "map" else None
            options = StrokeFileOptions(frame=number, background_alone=True)
            return read_strokes([path], source, options)
        except InputError as error:
            raise InputError(str(error).replace(str(path), "the file")) from None


def listed(table: np.ndarray, numbers: list[int]) -> dict[int, dict[str, list[int | None]]]:
    """What is told of each object, a value a frame: area in pixels, all else in percent.

    table: [T, 3, O] as of `Session.statistics`. numbers: the O objects'.
    """
    told = {}
    for column, number in enumerate(numbers):
        area, probability, reliability = table[:, :, column].T
        told[number] = {
            "area": _whole(area, 1),
            "probability": _whole(probability, 100),
            "reliability": _whole(reliability, 100),
            "doubt": _whole(1 - (probability + reliability) / 2, 100),
        }
    return told


def _whole(values: np.ndarray, scale: int) -> list[int | None]:
    """Whole numbers for JSON, None where there is none."""
    return [None if np.isnan(value) else round(scale * value) for value in values.tolist()]


class Exports:
    """Results of one video, in `exports/<number>/` of its project, each made in a thread."""

    def __init__(self, video: OpenVideo, publish: Callable[[dict[str, Any]], None]) -> None:
        self._video, self._publish = video, publish
        self._folder = video.folder / "exports"
        self._jobs: dict[int, dict[str, Any]] = {}
        self._lock, self.stopped = threading.Lock(), False

    def start(self, kinds: Any) -> int:
        """Begin to write results of these kinds; their number.

        Raises InputError for unknown kinds, and where masks are asked for that are not final.
        """
        if not isinstance(kinds, list) or not kinds or not {*map(str, kinds)} <= {*KINDS}:
            raise InputError(f"kinds: {short(kinds)}; expected some of {', '.join(KINDS)}")
        session = self._video.session
        if {*kinds} - _STROKE_KINDS and session.pending:
            raise InputError("masks are not all done; run first, or export strokes alone")
        if {*kinds} - _STROKE_KINDS and not session.ready:  # it may be another than made them
            raise InputError("the network is being loaded; export masks when it is there")
        if {*kinds} & _STROKE_KINDS and not session.stroked:
            raise InputError("there is no stroke yet; draw one, then export")
        if "coco" in kinds:
            rle_functions()
        with self._lock:
            there = [int(p.name) for p in self._folder.glob("*") if p.name.isdecimal()]
            number = 1 + max([0, *there, *self._jobs])
            folder = self._folder / str(number)
            job = {"id": number, "kinds": kinds, "state": "working", "error": None, "bytes": 0}
            self._jobs[number] = job = {**job, "done": 0, "of": self._video.frames}
            job["folder"] = shown(folder)
        threading.Thread(target=self._make, args=(job, folder), daemon=True).start()
        return number

    def describe(self) -> list[dict[str, Any]]:
        """All exports of this start, and those of earlier ones that are whole."""
        found = dict(self._jobs)
        for path in self._folder.glob(f"*/{_EXPORTED}"):
            name = path.parent.name
            with suppress(InputError):
                told = read_json(path)
                if name.isdecimal() and told.keys() >= _TOLD:
                    found.setdefault(int(name), {**told, "id": int(name)})
        return [found[number] for number in sorted(found)]

    def packed(self, number: int) -> Path:
        """A zip of an export. Raises InputError where it is not ready."""
        job = next((one for one in self.describe() if one["id"] == number), None)
        if job is None or job["state"] != "ready":
            raise InputError(f"export {number} is not ready")
        folder = self._folder / str(number)
        path = self._folder / f"{self._video.source.name}-{number}.zip"
        if not path.is_file():
            inside = [p for p in folder.rglob("*") if p.is_file() and p.name != _EXPORTED]
            with new_file(path) as file, zipfile.ZipFile(file, "w") as archive:
                for one in sorted(inside):  # as they are: pictures and videos shrink no further
                    archive.write(one, one.relative_to(folder).as_posix())
        return path

    def _make(self, job: dict[str, Any], folder: Path) -> None:
        try:
            self._write({*job["kinds"]}, folder, job)
            job |= {"state": "ready", "done": job["of"]}
            job["bytes"] = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
            write_json(folder / _EXPORTED, job)
        except InputError as error:
            job |= {"state": "failed", "error": str(error)}
        except Exception as error:  # a defect of ours: the page must not wait for ever
            traceback.print_exc()
            job |= {"state": "failed", "error": f"{type(error).__name__}; see the terminal"}
        self._publish({"type": "export", **job})

    def _write(self, kinds: set[str], folder: Path, job: dict[str, Any]) -> None:
        """Write all kinds; raises InputError, too, where the strokes change meanwhile."""
        video, source, session = self._video, self._video.source, self._video.session
        revision, maps = session.revision, session.strokes
        if "strokes" in kinds:
            for frame, labels in maps.items():
                write_mask(folder / "strokes" / f"{source.frame_name(frame)}.png", labels)
        if "davis" in kinds:
            named = source.name.strip(".") or "video"
            drawings = {frame: drawing_of(session.standing(frame), maps[frame]) for frame in maps}
            write_davis(folder / "davis" / f"{named}.json", drawings, named)
        masks = video.folder / "masks"
        for frame in range(video.frames if kinds - _STROKE_KINDS else 0):
            name = f"{source.frame_name(frame)}.png"
            labels = session.labels(frame)  # where it is damaged, a run makes it anew
            if labels is None:
                raise InputError(f"{masks / name}: is damaged or gone; run again, then export")
            if "masks" in kinds:
                write_mask(folder / "masks" / name, labels)
        strokes = Strokes(maps, max(session.objects, default=0))
        plain = {kind: kind in kinds for kind in ("summary", "objects", "cutouts", "coco")}
        going = partial(self._goes_on, job)
        for overlay in [kind for kind in ("mp4", "webm") if kind in kinds] or [None]:
            wanted = argparse.Namespace(overlay=overlay, **plain)
            plain = dict.fromkeys(plain, False)  # of two videos the first brings all else
            if not write_outputs(wanted, folder, source, strokes, masks, self._statistics, going):
                raise InputError("the canvas was stopped; export again")
        if session.revision != revision or (kinds - _STROKE_KINDS and session.pending):
            raise InputError("the strokes changed meanwhile; run, and export again")

    def _statistics(self, count: int, num_objects: int) -> np.ndarray:
        """float64 [T, 3, O], as `write_outputs` asks for it."""
        table, numbers = self._video.session.statistics()
        whole = np.full((count, 3, num_objects), np.nan)
        whole[:, :, np.array(numbers) - 1] = table
        whole[:, 0] = np.nan_to_num(whole[:, 0])
        return whole

    def _goes_on(self, job: dict[str, Any]) -> bool:
        job["done"] += 1
        if job["done"] % _BETWEEN_TOLD == 0:
            self._publish({"type": "export", **job})
        return self.stopped


def drawing_of(edits: list[dict[str, Any]], labels: np.ndarray) -> Drawing:
    """The strokes of a frame as lines that draw its map, uint8 [H, W], again.

    edits: those that stand. They are the lines that were drawn; after an eraser, or a map that was
    brought in, lines one pixel wide through all that is left.
    """
    lines = []
    for edit in edits:
        note = edit.get("note") or {}
        if edit["edit"] == "strokes" and "points" in note:
            number = BACKGROUND_ID if note["object"] == BACKGROUND else note["object"]
            lines.append(Stroke(number, np.array(note["points"], np.float64), note["width"]))
    drawing, _ = clip(Drawing(labels.shape, lines))
    count = max(drawing.num_objects(), 1)
    if lines and np.array_equal(from_disk(rasterize(drawing, count, 1), count), labels):
        return drawing
    return trace(labels, int(labels[labels < BACKGROUND].max(initial=0)))
