"""The folder of one video's results, and what is kept in it to go on after a stop.

OUT/masks/<frame>.png      palette masks: the result that all others are made from
OUT/statistics.jsonl       one line a frame, in the order of tracking
OUT/manifest.json          what the masks depend on
OUT/.resume/               state of the tracker; probabilities that wait for the second pass

Only what the manifest's program made is ever removed, and only where it holds nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from rhmnet.errors import InputError
from rhmnet.files import is_systems
from rhmnet.files.concurrency import alone_in
from rhmnet.files.images import read_labels, write_mask
from rhmnet.files.reading import parse_json, read_json, read_torch_file
from rhmnet.files.source import Source
from rhmnet.files.writing import (
    TEMPORARY,
    add_line,
    make_folder,
    remove,
    remove_unfinished,
    write_encoded,
    write_json,
    write_torch,
)
from rhmnet.structures import FrameMaps, TrackedFrame
from rhmnet.tools.segment.plan import (
    FORWARD,
    PASSES,
    At,
    There,
    Told,
    Write,
    rounded,
)
from rhmnet.tools.segment.propagation import Propagation
from rhmnet.tools.segment.stepper import from_bytes, to_bytes
from rhmnet.tools.segment.stroke_files import Strokes
from rhmnet.tracker import STATE_CLASSES

_FOLDERS = ("masks", "objects", "cutouts", ".resume")
_FILES = (
    *("overlay.mp4", "overlay.webm", "coco.json", "summary.json"),
    *("statistics.jsonl", "manifest.json"),
)
_PROGRAM = {"program": "rhmnet segment"}
"""In the manifest: by it, this program knows the folders that it made ..."""
_KEYS = {"video", "strokes", "objects", "size"}
"""... or by these, which its manifests held before."""
MOST_FRAMES = 10**9
_PATIENCE = 10.0  # seconds for an earlier run to leave


class State(NamedTuple):
    """How far a run has come."""

    stage: str
    """The pass under way, `forward` or `backward`; `done` when all masks are there."""
    frame: int
    """The frame that comes next; of `done` the number of frames."""
    tracker: dict[str, Any] | None
    """The tracker's snapshot before that frame, None where a pass begins."""


class Results:
    """One folder of results. Its methods may run in a thread, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.masks = folder / "masks"
        self._waiting = folder / ".resume" / "waiting"
        self._state = folder / ".resume" / "state.pth"
        self._manifest = folder / "manifest.json"
        self._statistics = folder / "statistics.jsonl"

    def alone(self) -> AbstractContextManager[None]:
        """Keep other runs out of the folder while the context lasts; it is made if need be.

        Raises InputError where another run is at work there.
        """
        return alone_in(self.folder, "wait for it, or give another --out", _PATIENCE, tidy=True)

    def prepare(self, manifest: dict[str, Any], resume: bool, overwrite: bool) -> None:
        """Make the folder ready: empty, or with what the same manifest made.

        Raises InputError where it holds masks and neither `resume` nor `overwrite` is asked for,
        they were made otherwise, or something lies there that was not made here.
        """
        manifest = json.loads(json.dumps(manifest))  # as it will be read: tuples are lists
        before = self._read_manifest()
        if overwrite or not (self._state.exists() or self.count_masks()):
            self._clear()
        elif not resume:
            raise InputError(
                f"{self.folder}: holds results already; give --resume to go on, --overwrite to "
                "begin anew, or another --out"
            )
        elif changed := _differences(before, manifest):
            raise InputError(
                f"{self.folder}: was made with other {', '.join(changed)}; go on with the same, or "
                "begin anew with --overwrite or another --out"
            )
        for place in (self.folder, *(self.folder / name for name in _FOLDERS)):
            remove_unfinished(place, below=place != self.folder)
        write_json(self._manifest, {**_PROGRAM, **manifest})
        make_folder(self.masks)
        make_folder(self._waiting)

    def write_frame(self, index: int, name: str, labels: np.ndarray, measures: np.ndarray) -> None:
        """Write a finished frame. labels: uint8 [H, W]; measures: float32 [2, O]."""
        num_objects = measures.shape[1]
        write_mask(self.masks / f"{name}.png", labels)
        area = np.bincount(labels.ravel(), minlength=num_objects + 1)[1 : num_objects + 1]
        probability, reliability = ([rounded(v) for v in row] for row in measures.tolist())
        line = {
            "frame": index,
            "area": area.tolist(),
            "probability": probability,
            "reliability": reliability,
        }
        add_line(self._statistics, json.dumps(line))

    def statistics(self, count: int, num_objects: int) -> np.ndarray:
        """float64 [T, 3, O]: area in pixels, mean probability and reliability, NaN where unknown.

        Of a frame that was tracked twice, after a stop, the later line counts.
        """
        table = np.full((count, 3, num_objects), np.nan)
        for line in self._lines():
            if not _is_line(line, count, num_objects):
                raise InputError(
                    f"{self._statistics}: a line is not of this video's frames and objects; "
                    "give --overwrite"
                )
            rows = (line["area"], line["probability"], line["reliability"])
            table[line["frame"]] = np.array(rows, np.float64)
        lacking = np.flatnonzero(np.isnan(table[:, 0]).any(axis=1))
        if len(lacking):
            raise InputError(
                f"{self._statistics}: no line of frame {lacking[0]}; give --overwrite, or leave "
                "out --summary"
            )
        return table

    def put_waiting(self, index: int, maps: np.ndarray) -> None:
        """Keep uint8 [M, h, w] of a frame until the second pass comes to it."""
        tall = maps.reshape(-1, maps.shape[-1])
        path = self._waiting / f"{index}.png"
        write_encoded(path, tall, [cv2.IMWRITE_PNG_COMPRESSION, 1])

    def get_waiting(self, index: int, count: int) -> np.ndarray:
        """What `put_waiting` kept, uint8 [count, h, w]."""
        try:
            tall = read_labels(self._waiting / f"{index}.png")
        except InputError:
            raise self.no_waiting(index) from None
        if len(tall) % count:
            raise self.no_waiting(index)
        return tall.reshape(count, -1, tall.shape[1])

    def no_waiting(self, index: int) -> InputError:
        """The error for a frame that `get_waiting` should have and has not."""
        return InputError(
            f"{self._waiting}: the forward pass' frame {index} is gone; give --overwrite"
        )

    def save_state(self, state: State) -> None:
        """Say how far the run has come; call it after all frames before were written."""
        write_torch(self._state, state._asdict())

    def load_state(self, device: torch.device) -> State | None:
        """The state that was saved last, None if none was; runs no code from the file."""
        if not self._state.is_file():
            return None
        torch.serialization.add_safe_globals(STATE_CLASSES)
        try:
            content = read_torch_file(self._state, device)
        except InputError as error:
            raise InputError(f"{error}; or begin anew with --overwrite") from None
        if not isinstance(content, dict) or content.keys() != set(State._fields):
            raise self.no_state()
        state = State(**content)
        stages = ("forward", "backward", "done")
        number = isinstance(state.frame, int) and not isinstance(state.frame, bool)
        if state.stage not in stages or not number or not -1 <= state.frame <= MOST_FRAMES:
            raise self.no_state()
        return state

    def no_state(self) -> InputError:
        """The error for what `save_state` did not write."""
        return InputError(f"{self._state}: not the state of a run; give --overwrite")

    def count_masks(self) -> int:
        """Frames whose mask is finished."""
        return sum(1 for _ in self.masks.glob("*.png"))

    def finish(self, count: int) -> None:
        """All masks are there: forget what was kept to go on."""
        self.save_state(State("done", count, None))
        remove(self._waiting)

    def _read_manifest(self) -> dict[str, Any] | None:
        """What made the results that are there, None where there are none. Raises InputError."""
        if not self._manifest.is_file():
            for name in (*_FOLDERS, *_FILES):
                if (self.folder / name).exists():
                    raise InputError(
                        f"{self.folder / name}: is there, without a {self._manifest.name} that "
                        "says what made it; give another --out"
                    )
            return None
        before = read_json(self._manifest, "what made the masks beside it")
        if before.pop("program", None) != _PROGRAM["program"] and not before.keys() >= _KEYS:
            raise InputError(
                f"{self._manifest}: was not written by this program; give another --out"
            )
        return before

    def _clear(self) -> None:
        """Remove what an earlier run left, and nothing else that lies in the folder."""
        if not self._manifest.is_file():
            return
        for name in _FOLDERS:
            _check_ours(self.folder / name)
        for name in (*_FOLDERS, *_FILES):
            remove(self.folder / name)

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            with open(self._statistics, "rb") as file:
                for text in file:
                    try:
                        yield parse_json(text, str(self._statistics))
                    except InputError:  # cut off where a run was killed; it was tracked again
                        continue
        except OSError:
            raise InputError(f"{self._statistics}: cannot be read; give --overwrite") from None


class ResultsStore:
    """The engine's `Store` of a command: what waits, and a state every `save_every` steps."""

    keeps_all = False

    def __init__(
        self, results: Results, strokes: Strokes, source: Source, save_every: int = 100
    ) -> None:
        self.there, self.snapshots = There(), {}
        self._results, self._strokes, self._source = results, strokes, source
        self._save_every = save_every

    def go_on(self, engine: Propagation, state: State) -> None:
        """Take for there what was finished before a state was saved. Raises InputError."""
        if state.frame > engine.plan.count:
            engine.set_strokes(engine.plan.strokes, self._source.count_exactly())
        there, plan, way, frame = self.there, engine.plan, PASSES.index(state.stage), state.frame
        after = frame - 1 if way == FORWARD else frame + 1
        if not 0 <= after < plan.count or state.tracker is None:
            raise self._results.no_state()
        if way == FORWARD:
            there.maps[FORWARD, :frame] = plan.maps[FORWARD, :frame]
            there.results[plan.last : frame] = plan.results[plan.last : frame]
        else:
            there.maps[FORWARD] = plan.maps[FORWARD]
            there.results[after:] = plan.results[after:]
        self.snapshots[way, after] = plan.maps[way, after]
        self._state = state.tracker

    def put_maps(self, way: int, frame: int, key: np.uint64, tracked: TrackedFrame) -> Write:
        self.there.maps[way, frame] = key
        return partial(self._results.put_waiting, frame, to_bytes(tracked.maps))

    def get_maps(self, way: int, frame: int) -> FrameMaps:
        return from_bytes(self._results.get_waiting(frame, 2 * len(self._strokes.objects())))

    def put_result(self, key: np.uint64, told: Told, numbers: list[int]) -> Write:
        self.there.results[told.frame] = key
        measures = np.full((2, self._strokes.num_objects), np.nan, np.float32)
        measures[:, np.array(numbers) - 1] = told.measures
        name = self._source.frame_name(told.frame)
        return partial(self._results.write_frame, told.frame, name, told.labels, measures)

    def wants_snapshot(self, at: At, since: int, whole: int, beside: bool) -> bool:
        return since >= self._save_every

    def put_snapshot(self, at: At, state: dict[str, Any]) -> Write:
        after = at.frame + (1 if at.way == FORWARD else -1)
        return partial(self._results.save_state, State(PASSES[at.way], after, state))

    def get_snapshot(self, way: int, frame: int) -> dict[str, Any]:
        self.snapshots.clear()
        return self._state


def _is_line(line: Any, count: int, num_objects: int) -> bool:
    """Whether a value is what `write_frame` adds for one of `count` frames."""
    if not isinstance(line, dict) or type(line.get("frame")) is not int:
        return False
    areas, *shares = (line.get(name) for name in ("area", "probability", "reliability"))
    lists = all(isinstance(v, list) and len(v) == num_objects for v in (areas, *shares))
    return (
        lists
        and 0 <= line["frame"] < count
        and all(type(area) is int and 0 <= area < 1 << 31 for area in areas)
        and all(v is None or (type(v) is float and 0 <= v <= 1) for row in shares for v in row)
    )


def _differences(before: dict[str, Any], manifest: dict[str, Any]) -> list[str]:
    """What a run that goes on would make otherwise."""
    return [key for key in {**before, **manifest} if before.get(key) != manifest.get(key)]


def _check_ours(folder: Path) -> None:
    """Raise InputError for what no run leaves in a folder of pictures, numbered folders or state.

    A link is removed itself, and what it leads to stays.
    """
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.rglob("*"):
        inner = path.is_dir() and not path.is_symlink()
        ours = path.name.isdecimal() or path.name == "waiting" if inner else _is_written(path.name)
        if not ours:
            raise InputError(
                f"{path}: was not made here; move it away, or give another --out to begin anew"
            )


def _is_written(name: str) -> bool:
    ours = name.endswith((".png", ".pth", ".partial")) or fnmatch(name, TEMPORARY)
    return ours or is_systems(name)
