"""A video on which strokes come and go, and its masks: only what depends on them is computed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from rhmnet.bounds import short
from rhmnet.config import Config, to_dict
from rhmnet.errors import InputError
from rhmnet.files.concurrency import alone_in
from rhmnet.files.reading import read_json
from rhmnet.files.source import Source
from rhmnet.files.writing import write_json
from rhmnet.inputs import network_size, resize_image
from rhmnet.model import RHMNet
from rhmnet.structures import TrackedFrame
from rhmnet.tools.segment.edits import Edits, parse_edits, runs_of
from rhmnet.tools.segment.plan import BACKWARD, FORWARD, NOTHING, PASSES, Plan, StrokedFrame
from rhmnet.tools.segment.project import Blobs, FolderBlobs, Project
from rhmnet.tools.segment.propagation import Propagation, Step
from rhmnet.tools.segment.summary import best_frame
from rhmnet.tracker import Tracker, settle_precision

_PROGRAM = "rhmnet session"
_MOST_STROKED = 3  # frames with strokes from which a preview begins where there is no memory
_MOST_PREVIEWS = 16


class Mask(NamedTuple):
    """What is known of a frame."""

    labels: np.ndarray | None
    """uint8 [H, W], 0 background, 1..N objects; None: nothing yet."""
    state: str
    """`done`: final; `provisional`: the other pass, or both, are to come; `stale`: of others."""
    tag: str
    """Another one whenever the labels may be."""


class Progress(NamedTuple):
    """One step of `Session.work`."""

    frame: int
    labels: np.ndarray | None
    """uint8 [H, W] where the frame is finished, None where it waits for the other pass."""
    doubt: dict[int, float]
    """Of each object seen on a finished frame, 0 sure .. 1."""
    way: str
    """`forward` or `backward`: the pass."""


class Advice(NamedTuple):
    """Where a further stroke helps most."""

    frame: int | None
    """None: nowhere."""
    object: int | None
    place: tuple[int, int] | None
    """x, y in the video's pixels."""
    reason: str


class Session:
    """Strokes on a video's frames, and its masks.

    Strokes are edited by any thread at any time; `preview`, `run` and `work` belong to one. At rest
    masks are those of one run over the same strokes from scratch, whatever came before.

    model: on its device. folder: keeps all of it, at any moment; None: kept in memory.
    Raises InputError where the folder is another process's, another video's or not a project.
    """

    def __init__(
        self, source: Source, model: RHMNet, config: Config, folder: str | Path | None = None
    ) -> None:
        self.source, self.folder = source, None if folder is None else Path(folder)
        config = settle_precision(config, model.device)
        size = network_size(source.size, config.test.short_side)
        self._stack, blobs = ExitStack(), Blobs()
        if self.folder is not None:
            remedy = "close the other one, or name another folder"
            self._stack.enter_context(alone_in(self.folder, remedy, 0.0))
        try:
            if self.folder is not None:
                _claim(self.folder, source)
                blobs = FolderBlobs(self.folder)
            self._blobs, self._size = blobs, size
            budget = config.test.snapshot_budget
            name_of = source.frame_name
            upsample = config.model.upsample_logits
            self._project = Project(blobs, budget, model.device, source.size, name_of, upsample)
            tracker, threshold = Tracker(model, config), config.model.refine_threshold[0]
            base = _base(model, config)
            self._engine = Propagation(tracker, source, self._project, size, threshold, base)
            self._project.fits = self._engine.fits
            self._project.load()
            self._edits, self._strokes = Edits(source.size), {}
            self._previews: dict[int, tuple[int, np.ndarray]] = {}
            self._running = False
            self._read_edits()
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the folder free for others."""
        self._stack.close()

    @property
    def revision(self) -> int:
        """The number of edits so far, undo and redo among them."""
        return len(self._edits.log)

    @property
    def edits(self) -> list[dict[str, Any]]:
        """All of them, as they are kept."""
        with self._engine.lock:
            return list(self._edits.log)

    def standing(self, frame: int) -> list[dict[str, Any]]:
        """The edits of a frame's strokes that were not undone, in order."""
        with self._engine.lock:
            return self._edits.standing(self._frame(frame))

    @property
    def objects(self) -> dict[int, str]:
        """{number: name} of the objects, with strokes or without."""
        with self._engine.lock:
            return dict(self._edits.objects)

    @property
    def strokes(self) -> dict[int, np.ndarray]:
        """{frame: uint8 [H, W]}: 0 none, 1..N objects, 255 background; frames without left out."""
        with self._engine.lock:
            return {frame: self._edits.maps[frame].copy() for frame in sorted(self._edits.maps)}

    @property
    def stroked(self) -> dict[int, list[int]]:
        """{frame: objects with a stroke on it, 255 where background has one}, in order."""
        with self._engine.lock:
            return {
                frame: [*one.objects, *([255] if (one.labels == 255).any() else [])]
                for frame, one in sorted(self._strokes.items())
            }

    def strokes_on(self, frame: int) -> np.ndarray:
        """The strokes on a frame, uint8 [H, W]."""
        with self._engine.lock:
            labels = self._edits.maps.get(self._frame(frame))
        return np.zeros(self.source.size, np.uint8) if labels is None else labels.copy()

    def add_strokes(
        self, frame: int, labels: np.ndarray, note: Any = None, id: str | None = None
    ) -> int:
        """Paint strokes over those of a frame; returns the revision.

        labels: uint8 [H, W] at the video's size: 0 as it was, 1..N objects, 255 background.
        note: any JSON value, kept with the edit. id: an edit whose id came before is left out.
        """
        return self._edit({"edit": "strokes", "frame": frame, "runs": self._runs(labels)}, note, id)

    def erase(self, frame: int, where: np.ndarray, note: Any = None, id: str | None = None) -> int:
        """Take the strokes from some pixels of a frame. where: bool or uint8 [H, W]."""
        runs = self._runs(where)
        runs[::3] = [0] * len(runs[::3])
        return self._edit({"edit": "erase", "frame": frame, "runs": runs}, note, id)

    def clear(self, frame: int, note: Any = None, id: str | None = None) -> int:
        """Take all strokes from a frame."""
        return self._edit({"edit": "clear", "frame": frame}, note, id)

    def add_object(
        self, number: int | None = None, name: str = "", note: Any = None, id: str | None = None
    ) -> int:
        """Add an object without strokes; returns its number, by default the smallest free one."""
        with self._engine.lock:
            if id in self._edits.revisions:
                return self._edits.log[self._edits.revisions[id] - 1]["object"]
            if number is None:
                number = next(n for n in range(1, 256) if n not in self._edits.objects)
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

    @property
    def can_undo(self) -> bool:
        return self._edits.can_undo

    @property
    def can_redo(self) -> bool:
        return self._edits.can_redo

    def mask(self, frame: int) -> Mask:
        """The newest that is known of a frame."""
        frame = self._frame(frame)
        state, plan, there = self.state(frame), self._engine.plan, self._project.there
        with self._engine.lock:
            preview = self._previews.get(frame)
        if state == "provisional" and preview is not None and preview[0] == self.revision:
            return Mask(preview[1], state, f"p{preview[0]}")
        if state == "provisional":
            ways = [way for way in (FORWARD, BACKWARD) if self._is_told(plan, way)[frame]]
            maps = self._project.get_maps(ways[0], frame, "cpu") if ways else None
            if maps is not None:
                tag = f"{PASSES[ways[0]][0]}{plan.maps[ways[0], frame]:x}"
                return Mask(self._engine.labels(maps, plan), state, tag)
            state = "stale"
        key = there.results[frame]
        return Mask(self._project.labels(frame), state, f"{key:x}")

    def labels(self, frame: int) -> np.ndarray | None:
        """As `mask`: the labels alone."""
        return self.mask(frame).labels

    def mask_path(self, frame: int) -> Path | None:
        """Where a finished mask lies in the folder."""
        if self.folder is None or self.state(frame) != "done":
            return None
        return self.folder / "masks" / f"{self.source.frame_name(frame)}.png"

    def state(self, frame: int) -> str:
        """`done`, `provisional` or `stale`; as in `Mask`."""
        return _STATES[self._states()[self._frame(frame)]]

    @property
    def done(self) -> list[range]:
        """Frames whose mask is final for the strokes as they are."""
        return _ranges(self._states() == 2)

    @property
    def provisional(self) -> list[range]:
        """Frames of which one pass has told, or a preview, and a pass is still to come."""
        return _ranges(self._states() == 1)

    @property
    def stale(self) -> list[range]:
        """All other frames: never computed, or for other strokes."""
        return _ranges(self._states() == 0)

    @property
    def pending(self) -> int:
        """Steps of the network until all masks are final; 0: at rest."""
        return self._engine.left()

    @property
    def steps(self) -> int:
        """Steps of the network that this object took."""
        return self._engine.steps

    def doubt(self, frame: int) -> dict[int, float]:
        """Of each object seen on a frame's newest finished mask, 0 sure .. 1."""
        row = self._project.rows.get(self._frame(frame))
        return {} if row is None else _doubts(row)

    def statistics(self) -> tuple[np.ndarray, list[int]]:
        """float64 [T, 3, O]: area, mean probability, reliability, NaN where unknown; the objects.

        Of the newest finished masks.
        """
        with self._engine.lock:
            numbers, rows = sorted(self._edits.objects), dict(self._project.rows)
            table = np.full((self._engine.plan.count, 3, len(numbers)), np.nan)
        column = {number: index for index, number in enumerate(numbers)}
        for frame, row in rows.items():
            for number, *values in zip(*row, strict=True):
                if number in column and frame < len(table):
                    table[frame, :, column[number]] = np.array(values, np.float64)
        return table, numbers

    def next_stroke(self) -> Advice:
        """Where a further stroke helps most, by the masks that are finished."""
        table, numbers = self.statistics()
        best = best_frame(table, list(self._engine.plan.frames_of)) if numbers else None
        if best is None:
            return Advice(None, None, None, "no finished frame without strokes")
        frame, number = best[0], numbers[best[1] - 1]
        labels = self._project.labels(frame)
        rows, columns = np.nonzero(labels == number)
        middle = len(rows) // 2
        place = int(columns[middle]), int(rows[middle])
        doubt = self.doubt(frame)[number]
        return Advice(frame, number, place, f"object {number} is in doubt there ({doubt:.2f})")

    def preview(self, frame: int) -> np.ndarray | None:
        """The mask of a frame at once, uint8 [H, W], from the memory that is nearest.

        None without a stroke on an object. `mask` gives it until a pass has told of the frame.
        """
        engine, frame = self._engine, self._frame(frame)
        with engine.lock:
            plan, revision = engine.plan, self.revision
        if not plan.frames_of:
            return None
        if self.state(frame) == "done":
            return self._project.labels(frame)
        kept = engine.keep()
        try:
            tracked = self._track_alone(plan, frame)
        finally:
            engine.go_back(kept)
        labels = engine.labels(tracked.maps, plan)
        with engine.lock:
            self._previews[frame] = revision, labels
            while len(self._previews) > _MOST_PREVIEWS:
                del self._previews[next(iter(self._previews))]
        return labels

    def run(
        self, until: int | None = None, first: str | int | None = None
    ) -> Generator[tuple[int, np.ndarray, dict[int, float]], None, None]:
        """Compute what is not final: frame, labels uint8 [H, W] and doubt, as they come.

        A frame between strokes comes twice: provisional, then final (`state` tells). Close it after
        any frame; what was computed is kept. Edits on the way are taken in.
        until: a frame, after which it ends; None: at rest. first: `forward` (default) or
        `backward`, the pass that goes first, or a frame that is looked at, whose pass does.
        """
        for step in self.work(until, first):
            if step.labels is not None:
                yield step.frame, step.labels, step.doubt
            elif (mask := self.mask(step.frame)).state == "provisional":
                yield step.frame, mask.labels, step.doubt

    def work(
        self, until: int | None = None, first: str | int | None = None
    ) -> Generator[Progress, None, None]:
        """As `run`, and each step of the network is told, also those that finish no frame."""
        way = self._way(first)
        if until is not None:
            until = self._frame(until)
        if self._running:
            raise InputError("run: another one is under way; close it first")
        self._running = True
        try:
            with closing(self._engine.work(way)) as steps:
                while until is None or self.state(until) != "done":
                    step = next(steps, None)
                    if step is None:
                        return
                    yield self._progress(step)
        finally:
            self._running = False

    def _progress(self, step: Step) -> Progress:
        labels = None if step.told is None else step.told.labels
        doubt = {} if step.told is None else self.doubt(step.frame)
        return Progress(step.frame, labels, doubt, PASSES[step.way])

    def _way(self, first: str | int | None) -> int:
        if first is None or first in PASSES:
            return FORWARD if first is None else PASSES.index(first)
        frame = self._frame(first)
        with self._engine.lock:
            ahead = self._engine.runs(FORWARD)
        return BACKWARD if ahead and frame < ahead[0][0] else FORWARD

    def _track_alone(self, plan: Plan, frame: int) -> TrackedFrame:
        """One frame, from the nearest state of its strokes, else from those strokes themselves."""
        engine, ways = self._engine, (FORWARD, BACKWARD)
        near = [
            (abs(at - frame), way, at)
            for way in ways
            if (at := engine.nearest(way, frame)) is not None
        ]
        for _, way, at in sorted(near):
            if engine.restore(way, at):
                return engine.track(plan, frame, self._image(frame), False)
        far = sorted(plan.frames_of, key=lambda f: -abs(f - frame))[-_MOST_STROKED:]
        path = [f for f in far if f != frame]
        path = [*path, frame] if path or frame in plan.frames_of else [frame]
        for index, one in enumerate(path):
            tracked = engine.track(plan, one, self._image(one), index == 0)
        return tracked

    def _image(self, frame: int) -> np.ndarray:
        return resize_image(self.source.frame(frame), self._size)

    def _edit(self, edit: dict[str, Any], note: Any, id: str | None) -> int:
        """Add an edit: first to the disk, then here."""
        engine = self._engine
        with engine.lock:
            if id is not None and id in self._edits.revisions:
                return self._edits.revisions[id]
            edit |= ({} if id is None else {"id": id}) | ({} if note is None else {"note": note})
            self._edits.check(edit, engine.plan.count)
            try:
                line = json.dumps(edit)
            except (TypeError, ValueError):
                raise InputError(f"note={short(note)}: expected a value that JSON holds") from None
            self._blobs.add_line("edits.jsonl", line, True)
            self._take(json.loads(line))
            engine.set_strokes(self._strokes)
            return self.revision

    def _take(self, edit: dict[str, Any]) -> None:
        strokes = dict(self._strokes)
        for frame in self._edits.add(edit):
            strokes.pop(frame, None)
            if frame in self._edits.maps:
                strokes[frame] = StrokedFrame.of(self._edits.maps[frame])
        self._strokes = strokes

    def _read_edits(self) -> None:
        name = f"{self.folder}/edits.jsonl"
        for edit in parse_edits(self._blobs.lines("edits.jsonl"), name):
            try:
                self._edits.check(edit, self._engine.plan.count)
            except InputError as error:
                raise InputError(f"{name}: line {self.revision + 1}: {error}") from None
            self._take(edit)
        self._engine.set_strokes(self._strokes)

    def _runs(self, labels: np.ndarray) -> list[int]:
        labels = np.asarray(labels)
        if labels.dtype not in (np.uint8, bool) or labels.shape != self.source.size:
            raise InputError(
                f"strokes of {labels.dtype} {list(labels.shape)}: expected uint8 "
                f"{list(self.source.size)}, the video's size"
            )
        return runs_of(labels.astype(np.uint8))

    def _frame(self, frame: Any) -> int:
        count = self._engine.plan.count
        if not isinstance(frame, (int, np.integer)) or not 0 <= frame < count:
            raise InputError(f"frame {short(frame)}: expected one of 0..{count - 1}")
        return int(frame)

    def _is_told(self, plan: Plan, way: int) -> np.ndarray:
        """bool [T]: the frames of which a pass has told what their masks need."""
        there = self._project.there.maps[way]
        return plan.used(way) & (plan.maps[way] == there) & (there != NOTHING)

    def _states(self) -> np.ndarray:
        """int8 [T]: places in `_STATES`."""
        with self._engine.lock:
            plan, there = self._engine.plan, self._project.there
            done = (plan.results == there.results) & (plan.results != NOTHING)
            states = (self._is_told(plan, FORWARD) | self._is_told(plan, BACKWARD)).astype(np.int8)
            for frame, (revision, _) in self._previews.items():
                if revision == self.revision and frame < plan.count:
                    states[frame] = 1
            states[done] = 2
        return states


_STATES = ("stale", "provisional", "done")


def _claim(folder: Path, source: Source) -> None:
    """Say in a folder which video it is of. Raises InputError where it is another's."""
    path, video = folder / "project.json", json.loads(json.dumps(source.identity()))
    if not path.exists():
        if (folder / "edits.jsonl").exists() or (folder / "masks").exists():
            raise InputError(f"{folder}: holds files without a {path.name}; name another folder")
        write_json(path, {"program": _PROGRAM, "video": video})
        return
    before = read_json(path, "what a session left")
    if not isinstance(before, dict) or before.get("program") != _PROGRAM:
        raise InputError(f"{path}: was not written by this program; name another folder")
    if before.get("video") != video:
        raise InputError(f"{folder}: belongs to another video; name another folder")


def _base(model: RHMNet, config: Config) -> str:
    """Stands for all but video and strokes that masks depend on."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    groups = to_dict(config)
    del groups["test"]["snapshot_budget"]
    what = [groups["model"], groups["data"]["crop_size"], groups["test"], model.device.type]
    return f"{digest.hexdigest()} {json.dumps(what, sort_keys=True)}"


def _doubts(row: Any) -> dict[int, float]:
    pairs = zip(row.objects, row.probability, row.reliability, strict=True)
    return {n: 1 - (p + r) / 2 for n, p, r in pairs if p is not None and r is not None}


def _ranges(chosen: np.ndarray) -> list[range]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]))).tolist()
    return [range(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True)]
