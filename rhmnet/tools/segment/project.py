"""What a session keeps in a folder, where it outlives the process at any moment.

project.json             of which video it is, and of which network the masks are
masks/<frame>.png        the newest finished mask of each frame, as `segment` writes it
statistics.jsonl         one line a finished mask, with its key; before a mask is replaced, one that
                         takes the earlier word back
waiting/, snapshots/     what each pass said of the frames, states of the tracker, by their keys

All of it can be computed again, and what is damaged or missing is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from rhmnet.errors import InputError, is_whole_number
from rhmnet.files.images import is_whole_mask, read_labels, write_mask
from rhmnet.files.reading import read_bytes, read_json, sealed, unsealed, whole_lines
from rhmnet.files.source import Source
from rhmnet.files.writing import add_line, remove, remove_unfinished, write_bytes, write_json
from rhmnet.tools.segment.plan import NOTHING, PASSES, At, Row, There, Told, Write, rounded

if TYPE_CHECKING:
    from rhmnet.structures import FrameMaps, TrackedFrame
    from rhmnet.tools.segment.stepper import TensorFiles

_PROGRAM, _CLAIM = "rhmnet session", "project.json"
_A_FRAME = 4 << 20
"""Bytes of states that are written a frame, at most, in the mean."""
_STATE_NAME = re.compile(r"(\d+)\.([0-9a-f]{16})\.bin")


class Project:
    """The engine's `Store` of a session. Reading is for any thread.

    folder: is made. What passes said and states are of use with a network alone: see `use`.
    """

    keeps_all = True

    def __init__(self, folder: Path, source: Source) -> None:
        self.there, self.snapshots = There(), {}
        self.rows: dict[int, Row] = {}
        self.made_by = "", ""
        self._folder, self._source = folder, source
        self._tensors: TensorFiles | None = None
        self._budget = 0
        self._statistics = folder / "statistics.jsonl"
        self._lock = RLock()
        self._bytes: dict[tuple[int, int], int] = {}  # of each state
        self._state_bytes = 0  # of the last one
        self._files: dict[tuple[int, int], np.uint64] = {}  # keys of what waits on disk
        self._told: set[int] = set()  # frames with a line in the statistics
        self._fresh: dict[tuple, Any] = {}  # what is being written
        remove_unfinished(folder)
        for name in ("masks", "waiting", "snapshots"):
            remove_unfinished(folder / name, below=True)

    def claim(self) -> tuple[str, str]:
        """Say of which video the folder is; `made_by`, the network of its masks and its precision.

        Raises InputError where it is another video's.
        """
        folder, path = self._folder, self._folder / _CLAIM
        video = json.loads(json.dumps(self._source.identity()))
        if not path.exists():
            if any((folder / name).exists() for name in ("edits.jsonl", "masks")):
                raise InputError(f"{folder}: holds files without a {_CLAIM}; name another folder")
            write_json(path, {"program": _PROGRAM, "video": video, "network": ""})
        try:
            before = read_json(path, "what a session left")
        except InputError as error:
            raise InputError(
                f"{error}; or begin in another folder, then put edits.jsonl there"
            ) from None
        if before.get("program") != _PROGRAM:
            raise InputError(f"{path}: was not written by this program; name another folder")
        if before.get("video") != video:
            raise InputError(f"{folder}: belongs to another video; name another folder")
        self.made_by = str(before.get("network")), str(before.get("precision"))
        return self.made_by

    def load(self, fits: Callable[[At], bool]) -> None:
        """Find what an earlier process left; `there` must fit the video already.

        fits: whether what came of a step is what the strokes ask for now.
        """
        self._fits = fits
        for place, key, _ in self._listed("waiting"):
            self._files[place] = self.there.maps[place] = key
        for place, key, size in self._listed("snapshots"):
            self.snapshots[place], self._bytes[place] = key, size
        lines = whole_lines(self._statistics)
        for line in lines:
            self._take_line(line)
        if len(lines) > 2 * len(self._told) + 1000:
            self._tidy()

    def use(self, tensors: TensorFiles, budget: int, network: str, precision: str) -> None:
        """From here on there is a network. budget: bytes of its states that are kept at most.

        Masks that were damaged meanwhile are found now; that takes a while.
        """
        content = read_json(self._folder / _CLAIM)
        made_by = {"network": network, "precision": precision}
        if {**content, **made_by} != content:
            write_json(self._folder / _CLAIM, {**content, **made_by})
        for frame in sorted(self._told):
            if not is_whole_mask(self._mask(frame), self._source.size):
                self.there.results[frame] = NOTHING
        self._tensors, self._budget = tensors, budget

    def put_maps(self, way: int, frame: int, key: np.uint64, tracked: TrackedFrame) -> Write:
        with self._lock:
            self.there.maps[way, frame] = key
            self._fresh["maps", way, frame] = key, tracked
        return partial(self._write_maps, way, frame, key, tracked)

    def get_maps(self, way: int, frame: int) -> FrameMaps | None:
        with self._lock:
            key = self.there.maps[way, frame]
            fresh = self._fresh.get(("maps", way, frame))
        if fresh is not None and fresh[0] == key:
            return fresh[1].maps
        data = self._read(_file("waiting", way, frame, key))
        maps = None if data is None else self._tensors.unpack_frame(data)
        with self._lock:
            if maps is None and self.there.maps[way, frame] == key:
                self.there.maps[way, frame] = NOTHING
        return maps

    def put_result(self, key: np.uint64, told: Told, numbers: list[int]) -> Write:
        area = np.bincount(told.labels.ravel(), minlength=256)[numbers].tolist()
        shares = ([rounded(v) for v in row] for row in told.measures.tolist())
        row = Row(numbers, area, *shares)
        with self._lock:
            self.there.results[told.frame] = key
            self.rows[told.frame] = row
            self._fresh["mask", told.frame] = key, told.labels
        return partial(self._write_result, key, told, row)

    def labels(self, frame: int) -> np.ndarray | None:
        """The newest finished mask of a frame, uint8 [H, W]."""
        with self._lock:
            fresh = self._fresh.get(("mask", frame))
        if fresh is not None:
            return fresh[1]
        with suppress(InputError):
            labels = read_labels(self._mask(frame))
            if labels.shape == self._source.size:
                return labels
        with self._lock:
            if ("mask", frame) not in self._fresh:
                self.there.results[frame] = NOTHING
        return None

    def wants_snapshot(self, at: At, since: int, whole: int, beside: bool) -> bool:
        if self.snapshots.get((at.way, at.frame)) == at.key:
            return False
        size = self._state_bytes
        return beside or since >= max(1, -(-size * whole // self._budget), -(-size // _A_FRAME))

    def put_snapshot(self, at: At, state: dict[str, Any]) -> Write:
        place = at.way, at.frame
        with self._lock:
            before = self.snapshots.get(place)
            self.snapshots[place] = at.key
            self._state_bytes = self._bytes[place] = self._tensors.bytes_of(state)
            self._fresh[("state", *place)] = at.key, state
            gone = [(place, before)] if before not in (None, at.key) else []
            gone += self._thin(at)
        return partial(self._write_state, at, state, gone)

    def get_snapshot(self, way: int, frame: int) -> dict[str, Any] | None:
        with self._lock:
            key = self.snapshots[way, frame]
            fresh = self._fresh.get(("state", way, frame))
        if fresh is not None:
            return fresh[1]
        data = self._read(_file("snapshots", way, frame, key))
        state = None if data is None else self._tensors.unpack(data)
        if state is None:
            self._forget((way, frame))
        return state

    def _forget(self, place: tuple[int, int]) -> None:
        with self._lock:
            self.snapshots.pop(place, None)
            self._bytes.pop(place, None)

    def _thin(self, newest: At) -> list[tuple[tuple[int, int], np.uint64]]:
        """Where the budget is spent, forget a tenth: of other strokes, then where states lie close.

        The newest one, from which its pass goes on, stays.
        """
        gone, spent = [], sum(self._bytes.values())
        most = self._budget if spent <= self._budget else 0.9 * self._budget
        while spent > most and len(self._bytes) > 1:
            beside = set()  # neighbours do not go at once
            for _, place, neighbours in self._gaps((newest.way, newest.frame)):
                if spent > most and place not in beside:
                    gone.append((place, self.snapshots.pop(place)))
                    spent -= self._bytes.pop(place)
                    beside.update(neighbours)
        return gone

    def _gaps(self, but: tuple[int, int]) -> list[tuple[int, tuple[int, int], tuple]]:
        """Frames between the neighbours of each state, -1 of other strokes', and these."""
        found = []
        for way in range(len(PASSES)):
            kept = {f: self._fits(At(w, f, k)) for (w, f), k in self.snapshots.items() if w == way}
            fit = [-1, *sorted(f for f in kept if kept[f]), len(self.there.results)]
            found += [(-1, (way, f), ()) for f in kept if not kept[f]]
            for a, b, c in zip(fit, fit[1:], fit[2:], strict=False):
                found.append((c - a, (way, b), ((way, a), (way, c))))
        return sorted(one for one in found if one[1] != but)

    def _write_maps(self, way: int, frame: int, key: np.uint64, tracked: TrackedFrame) -> None:
        try:
            data = self._tensors.pack_frame(tracked)
            write_bytes(self._folder / _file("waiting", way, frame, key), data)
        except BaseException:
            if self.there.maps[way, frame] == key:
                self.there.maps[way, frame] = NOTHING
            raise
        finally:
            self._settle(("maps", way, frame), key)
        before = self._files.get((way, frame))
        self._files[way, frame] = key
        if before not in (None, key):
            remove(self._folder / _file("waiting", way, frame, before))

    def _write_result(self, key: np.uint64, told: Told, row: Row) -> None:
        frame = told.frame
        try:
            if frame in self._told:
                # of this mask nothing is known from here on, whatever happens before its new line
                add_line(self._statistics, sealed({"frame": frame}), lasting=True)
            write_mask(self._mask(frame), told.labels)
            add_line(self._statistics, _line(frame, key, row))
            self._told.add(frame)
        except BaseException:
            if self.there.results[frame] == key:
                self.there.results[frame] = NOTHING
            raise
        finally:
            self._settle(("mask", frame), key)

    def _write_state(self, at: At, state: dict[str, Any], gone: list) -> None:
        place = at.way, at.frame
        try:
            data = self._tensors.pack(state)
            with self._lock:
                if self.snapshots.get(place) == at.key:
                    self._bytes[place] = len(data)  # what a file has besides tensors counts, too
            write_bytes(self._folder / _file("snapshots", *place, at.key), data)
        except BaseException:
            self._forget(place)
            raise
        finally:
            self._settle(("state", *place), at.key)
        for (way, frame), key in gone:
            remove(self._folder / _file("snapshots", way, frame, key))

    def _settle(self, name: tuple, key: np.uint64) -> None:
        with self._lock:
            if name in self._fresh and self._fresh[name][0] == key:
                del self._fresh[name]

    def _read(self, name: str) -> bytes | None:
        with suppress(InputError):
            return read_bytes(self._folder / name, "a state")
        return None

    def _listed(self, kind: str) -> list[tuple[tuple[int, int], np.uint64, int]]:
        """Pass and frame, key and bytes of files; of two, as a killed process leaves them, one."""
        found = {}
        for way, name in enumerate(PASSES):
            for path in (self._folder / kind / name).glob("*.bin"):
                parts = _STATE_NAME.fullmatch(path.name)
                known = parts and int(parts[1]) < len(self.there.results)
                if not known or not path.is_file():
                    continue
                place = way, int(parts[1])
                if place in found:
                    remove(path)
                else:
                    found[place] = np.uint64(int(parts[2], 16)), path.stat().st_size
        return [(place, *one) for place, one in found.items()]

    def _take_line(self, line: bytes) -> None:
        """One of the statistics' lines; after one that is none, nothing before it counts."""
        try:
            told = unsealed(line)
            frame, key = told.pop("frame"), told.pop("key", None)
            row = Row(**told) if told else None
            known = is_whole_number(frame, 0, len(self.there.results) - 1)
            if not known or (row is not None and not row.is_consistent()):
                raise ValueError
            self.there.results[frame] = NOTHING if row is None else np.uint64(int(key, 16))
        except (InputError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
            self.there.results[:] = NOTHING
            self.rows.clear()
        else:
            self._told.add(frame)
            self.rows |= {} if row is None else {frame: row}

    def _tidy(self) -> None:
        """Leave out the lines that later ones replaced."""
        told = [(f, self.there.results[f], row) for f, row in self.rows.items()]
        lines = [_line(*one) + "\n" for one in told if one[1] != NOTHING]
        write_bytes(self._statistics, "".join(lines).encode())

    def _mask(self, frame: int) -> Path:
        return self._folder / "masks" / f"{self._source.frame_name(frame)}.png"


def _line(frame: int, key: np.uint64, row: Row) -> str:
    return sealed({"frame": frame, "key": f"{key:016x}", **row._asdict()})


def _file(kind: str, way: int, frame: int, key: np.uint64) -> str:
    return f"{kind}/{PASSES[way]}/{frame}.{key:016x}.bin"
