"""What a session keeps in a folder, where it outlives the process at any moment.

masks/<frame>.png        the newest finished mask of each frame, as `segment` writes it
statistics.jsonl         one line a finished mask, with its key; before a mask is replaced, one that
                         takes the earlier word back
waiting/, snapshots/     what each pass said of the frames, states of the tracker, by their keys

All of it can be computed again, and what is damaged or missing is.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any, NamedTuple

import numpy as np
import torch

from rhmnet.bounds import is_whole_number
from rhmnet.config import Config
from rhmnet.errors import InputError
from rhmnet.files.images import is_whole_mask, read_labels, write_mask
from rhmnet.files.reading import read_bytes, sealed, unsealed, whole_lines
from rhmnet.files.source import Source
from rhmnet.files.writing import add_line, remove, remove_unfinished, torch_bytes, write_bytes
from rhmnet.segmentation_head import entire_target
from rhmnet.structures import FrameMaps, Geometry, TrackedFrame
from rhmnet.tools.segment.plan import NOTHING, PASSES, At, There, Told, Write, rounded
from rhmnet.tracker import STATE_CLASSES

_A_FRAME = 4 << 20
"""Bytes of states that are written a frame, at most, in the mean."""
_STATE_NAME = re.compile(r"(\d+)\.([0-9a-f]{16})\.bin")


class Row(NamedTuple):
    """What was measured of a finished frame, for some objects."""

    objects: list[int]
    area: list[int]
    probability: list[float | None]
    reliability: list[float | None]

    def doubts(self) -> dict[int, float]:
        """Of each object that is seen, 0 sure .. 1."""
        table = zip(self.objects, self.probability, self.reliability, strict=True)
        return {n: round(1 - (p + r) / 2, 5) for n, p, r in table if None not in (p, r)}


class Project:
    """The engine's `Store` of a session. Reading is for any thread.

    folder: is made. device: where the network is.
    """

    keeps_all = True

    def __init__(self, folder: Path, source: Source, config: Config, device: torch.device) -> None:
        self.there, self.snapshots = There(), {}
        self.rows: dict[int, Row] = {}
        self._folder, self._source, self._device = folder, source, device
        self._budget, self._upsample = config.test.snapshot_budget, config.model.upsample_logits
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
        for frame in self._told:
            if not is_whole_mask(self._mask(frame), self._source.size):
                self.there.results[frame] = NOTHING
        if len(lines) > 2 * len(self._told) + 1000:
            self._tidy()

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
        found = self._unpack(_file("waiting", way, frame, key))
        if found is None:
            with self._lock:
                if self.there.maps[way, frame] == key:
                    self.there.maps[way, frame] = NOTHING
            return None
        return _unpacked(found, self._upsample).maps

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
            self._state_bytes = self._bytes[place] = _bytes_of(state)
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
        state = self._unpack(_file("snapshots", way, frame, key))
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
            self._pack(_file("waiting", way, frame, key), _packed(tracked))
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
            self._pack(_file("snapshots", *place, at.key), state)
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

    def _pack(self, name: str, content: dict[str, Any]) -> None:
        body = torch_bytes(content)
        write_bytes(self._folder / name, zlib.crc32(body).to_bytes(4, "little") + body)

    def _unpack(self, name: str) -> dict[str, Any] | None:
        with suppress(InputError), torch.serialization.safe_globals(STATE_CLASSES):
            data = read_bytes(self._folder / name, "a state")
            if zlib.crc32(data[4:]) == int.from_bytes(data[:4], "little"):
                file = io.BytesIO(data[4:])
                return torch.load(file, map_location=self._device, weights_only=True)
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
            if not known or (row is not None and not _is_row(row)):
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


def _packed(tracked: TrackedFrame) -> dict[str, Any]:
    """What makes a frame's probabilities anew, to the bit: strides stay, they choose kernels."""
    parts = tracked.parts()
    tensors = {n: x.clone() for n, x in parts.items() if isinstance(x, torch.Tensor)}
    return parts | tensors


def _unpacked(parts: dict[str, Any], upsample: bool) -> TrackedFrame:
    """upsample: `model.upsample_logits`."""
    geometry = Geometry(*map(tuple, parts["geometry"]))
    entire = parts.get("entire")
    if entire is None:
        valid, absent = parts["valid"], parts["absent"]
        entire = entire_target(parts["logits_s4"], valid, upsample, absent)[1]
    return TrackedFrame(entire, parts["reliable"], parts["channels"], geometry)


def _bytes_of(state: Any) -> int:
    """Bytes of all tensors in a tracker's state."""
    if isinstance(state, torch.Tensor):
        return state.nbytes
    if not isinstance(state, (list, tuple)):
        state = (state if isinstance(state, dict) else getattr(state, "__dict__", {})).values()
    return sum(map(_bytes_of, state))


def _is_row(row: Row) -> bool:
    """Whether a line's values are those of a `Row`."""
    if not all(isinstance(values, list) and len(values) == len(row.objects) for values in row):
        return False
    shares = row.probability + row.reliability
    return all(type(n) is int and 0 <= n < 1 << 31 for n in row.objects + row.area) and all(
        v is None or (type(v) is float and 0 <= v <= 1) for v in shares
    )
