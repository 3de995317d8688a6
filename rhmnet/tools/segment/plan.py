"""What strokes ask of the two passes, and what both say of a frame, made one.

The forward pass begins on the first frame with a stroke on an object, the backward pass on the last
one; strokes on frames on the way join. Before the first of these frames the backward pass alone
tells, from the last on the forward pass alone. Between two strokes of an object the nearer one
counts more: a frame's probability is the mean of both passes', weighted linearly with the distance.

All that is computed has a key, a number that stands for everything that it depends on: what was
computed for other strokes has another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import cv2
import numpy as np

from rhmnet.labels import BACKGROUND

if TYPE_CHECKING:
    from rhmnet.structures import FrameMaps, TrackedFrame

FORWARD, BACKWARD = 0, 1
PASSES = ("forward", "backward")
NOTHING = np.uint64(0)
"""The key of what is not there."""
_ODD = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9))
_HALF = np.uint64(32)


class StrokedFrame(NamedTuple):
    """The strokes on one frame."""

    labels: np.ndarray
    """uint8 [H, W]: 0 none, 1..N objects, 255 background."""
    objects: tuple[int, ...]
    """Those with a stroke here."""
    digest: bytes

    @classmethod
    def of(cls, labels: np.ndarray) -> StrokedFrame:
        labels = np.ascontiguousarray(labels)
        counts = cv2.calcHist([labels], [0], None, [BACKGROUND + 1], [0, BACKGROUND + 1])
        objects = tuple((1 + np.flatnonzero(counts[1:BACKGROUND])).tolist())
        return cls(labels, objects, hashlib.sha256(labels).digest())


class Plan:
    """What the strokes ask for, frame by frame.

    base: stands for the video, the network and its settings. strokes: {frame: strokes on it}, any
    background included. count: T, the frames of the video.
    """

    def __init__(self, base: str, strokes: Mapping[int, StrokedFrame], count: int) -> None:
        self.strokes, self.count = strokes, count
        self.frames_of = {
            f: list(strokes[f].objects) for f in sorted(strokes) if strokes[f].objects
        }
        self.numbers = sorted({n for numbers in self.frames_of.values() for n in numbers})
        self.first, self.last = min(self.frames_of, default=0), max(self.frames_of, default=0)
        self._base = hashlib.sha256(f"{base} {self.numbers}".encode()).digest()
        self.maps = np.full((2, count), NOTHING)
        """uint64 [2, T]: keys of what each pass says of a frame, where it goes."""
        self.results = np.full(count, NOTHING)
        """uint64 [T]: keys of the frames' masks."""
        frames = np.arange(count)
        self._used = [frames >= self.first, frames < self.last]
        if self.frames_of:
            self._set_keys()
        self._in_order = np.zeros(BACKGROUND + 1, np.uint8)
        self._in_order[[*self.numbers, BACKGROUND]] = [*range(1, len(self.numbers) + 1), BACKGROUND]

    def scribble(self, frame: int) -> np.ndarray | None:
        """The strokes on a frame for a tracker that knows no numbers between the objects'."""
        there = self.strokes.get(frame)
        return None if there is None else self._in_order[there.labels]

    def begin(self, way: int) -> int:
        """The frame on which a pass begins."""
        return self.first if way == FORWARD else self.last

    def used(self, way: int) -> np.ndarray:
        """bool [T]: the frames whose masks need what a pass says of them."""
        return self._used[way]

    def is_told(self, way: int, there: There) -> np.ndarray:
        """bool [T]: the frames of which a pass has told what their masks need."""
        maps = self.maps[way]
        return self._used[way] & (maps == there.maps[way]) & (maps != NOTHING)

    def is_done(self, there: There) -> np.ndarray:
        """bool [T]: the frames whose masks are final."""
        return (self.results == there.results) & (self.results != NOTHING)

    def shares(self, frame: int) -> np.ndarray | None:
        """As `forward_shares`; None where one pass alone tells."""
        if not self.first <= frame < self.last:
            return None
        return forward_shares(self.frames_of, self.numbers, frame)

    def _set_keys(self) -> None:
        forward = [f for f in sorted(self.strokes) if f >= self.first]
        backward = [f for f in sorted(self.strokes, reverse=True) if f <= self.last]
        for frame, key in self._chain(PASSES[FORWARD], forward):
            self.maps[FORWARD, frame:] = key
        if self.last > 0:  # from frame 0 there is no way back
            for frame, key in self._chain(PASSES[BACKWARD], backward):
                self.maps[BACKWARD, : frame + 1] = key
        neighbours = np.full(self.count, NOTHING)
        for frame in self.frames_of:
            if frame < self.last:
                neighbours[frame : self.last] = _number(f"{self._neighbours(frame)}".encode())
        told = np.where(self._used, self.maps, NOTHING)
        mixed = told[0] * _ODD[0] ^ told[1] * _ODD[1] ^ neighbours * _ODD[2]
        self.results = mixed ^ mixed >> _HALF | np.uint64(1)

    def _chain(self, name: str, frames: Iterable[int]) -> Iterable[tuple[int, np.uint64]]:
        """Keys of a pass from each of its stroked frames on: they hold all strokes so far."""
        digest = self._base + name.encode()
        for frame in frames:
            digest = hashlib.sha256(digest + f" {frame} ".encode() + self.strokes[frame].digest)
            digest = digest.digest()
            yield frame, _number(digest)

    def _neighbours(self, frame: int) -> list[tuple[int | None, int | None]]:
        """Each object's strokes before and after, on which its share depends."""
        return [_around(self.frames_of, number, frame) for number in self.numbers]


class At(NamedTuple):
    """After which frame of which pass the tracker is."""

    way: int
    frame: int
    key: np.uint64


class Told(NamedTuple):
    """A finished frame."""

    frame: int
    labels: np.ndarray
    """uint8 [H, W], at the video's size, with the objects' own numbers."""
    measures: np.ndarray
    """float32 [2, O], mean probability and reliability of the strokes' objects, in order."""


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

    def is_consistent(self) -> bool:
        """Whether values that were read are such."""
        count = len(self.objects)
        if not all(isinstance(values, list) and len(values) == count for values in self):
            return False
        shares = self.probability + self.reliability
        return all(type(n) is int and 0 <= n < 1 << 31 for n in self.objects + self.area) and all(
            v is None or (type(v) is float and 0 <= v <= 1) for v in shares
        )


class There:
    """The keys of what there is, uint64: of what each pass said, [2, T], and of masks, [T]."""

    def __init__(self, count: int = 0) -> None:
        self.maps, self.results = np.full((2, count), NOTHING), np.full(count, NOTHING)

    def fit(self, count: int) -> None:
        """Let T be another number."""
        if count == len(self.results):
            return
        old, kept = (self.maps, self.results), slice(0, min(count, len(self.results)))
        self.maps, self.results = np.full((2, count), NOTHING), np.full(count, NOTHING)
        self.maps[:, kept], self.results[kept] = old[0][:, kept], old[1][kept]


Write = Callable[[], object]
"""The slow part of keeping something; all of them run in one thread, in order."""


class Store(Protocol):
    """Where results are kept; what was put is there at once, and lasts when `Write` has run."""

    there: There
    keeps_all: bool
    """Whether what a pass says is kept where its frame is finished, too: for later strokes."""
    snapshots: Mapping[tuple[int, int], np.uint64]
    """{(pass, frame): key} of the tracker's states after a frame."""

    def put_maps(self, way: int, frame: int, key: np.uint64, tracked: TrackedFrame) -> Write: ...

    def get_maps(self, way: int, frame: int) -> FrameMaps | None:
        """What a pass said of a frame; None where it is gone, which `there` says from then on."""

    def put_result(self, key: np.uint64, told: Told, numbers: list[int]) -> Write: ...

    def wants_snapshot(self, at: At, since: int, whole: int, beside: bool) -> bool:
        """Whether to keep the state after a frame.

        since: steps since one was kept, or the pass went on from one. whole: steps of a whole run.
        beside: there are strokes on the next frame, which may be corrected again.
        """

    def put_snapshot(self, at: At, state: dict[str, Any]) -> Write: ...

    def get_snapshot(self, way: int, frame: int) -> dict[str, Any] | None:
        """None where it is gone, as `snapshots` tells from then on."""


def forward_shares(
    frames_of: Mapping[int, Sequence[int]], numbers: Sequence[int], frame: int
) -> np.ndarray:
    """float32 [O]: how much the forward pass counts for each of these objects on a frame, 0 to 1.

    frames_of: {frame: objects with a stroke on it}. With strokes on frames a <= frame < b it is
    (b - frame) / (b - a); before an object's first stroke 0, from its last one on 1.
    """
    shares = np.ones(len(numbers), np.float32)
    for index, number in enumerate(numbers):
        a, b = _around(frames_of, number, frame)
        if b is not None:
            shares[index] = 0 if a is None else (b - frame) / (b - a)
    return shares


def rounded(value: float) -> float | None:
    """A measure as files hold it, None where there is none."""
    return None if np.isnan(value) else round(value, 5)


def _around(
    frames_of: Mapping[int, Sequence[int]], number: int, frame: int
) -> tuple[int | None, int | None]:
    """The last frame with a stroke on an object up to a frame, and the first after it."""
    stroked = [f for f, numbers in frames_of.items() if number in numbers]
    before = max((f for f in stroked if f <= frame), default=None)
    return before, min((f for f in stroked if f > frame), default=None)


def _number(data: bytes) -> np.uint64:
    """A key that is never `NOTHING`."""
    return np.frombuffer(hashlib.sha256(data).digest()[:8], "<u8")[0] | np.uint64(1)
