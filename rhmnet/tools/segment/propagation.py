"""The propagation engine: what the strokes ask for (`Plan`) and is not there yet is computed.

Each pass goes on from its last state before what has changed. Nothing is ever thrown away for the
order in which strokes came: what is there counts if its key is the one that the plan asks for.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rhmnet.errors import InputError
from rhmnet.files.concurrency import WriteBehind, read_ahead
from rhmnet.files.source import Source
from rhmnet.tools.segment.plan import (
    BACKWARD,
    FORWARD,
    NOTHING,
    At,
    Plan,
    Store,
    StrokedFrame,
    Told,
)

if TYPE_CHECKING:
    from rhmnet.structures import FrameMaps, TrackedFrame
    from rhmnet.tools.segment.stepper import Stepper

_DEPTH = 8  # frames read ahead, and frames not yet written, at most


class Step(NamedTuple):
    """One frame of one pass, or a frame that was finished without one (`tracked` None)."""

    way: int
    frame: int
    tracked: TrackedFrame | None
    told: Told | None
    """None where the other pass has not come to the frame yet."""


class _Stretch(NamedTuple):
    """Frames of a pass to compute: up to `end`, from the state after `after` (None: it begins)."""

    way: int
    after: int | None
    end: int

    @property
    def step(self) -> int:
        return 1 if self.way == FORWARD else -1


class Propagation:
    """Two passes over a video. `work` belongs to one thread, all else to any.

    stepper: the network, without which nothing can be computed; see `use`. base: of the network
    that made what is there.
    """

    def __init__(
        self, source: Source, store: Store, stepper: Stepper | None = None, base: str = ""
    ) -> None:
        self.source, self.store, self.stepper = source, store, stepper
        self.lock = threading.RLock()
        self.steps = 0
        """Frames that went through the network so far."""
        self._base = base
        self._at: At | None = None
        self._since = 0
        self.set_strokes({})

    def use(self, stepper: Stepper) -> None:
        """Take a network. Where it is another one, nothing that is there counts."""
        with self.lock:
            self.stepper, self._base = stepper, stepper.base
            self._set_plan(self.plan.strokes, self.plan.count)

    def set_strokes(self, strokes: Mapping[int, StrokedFrame], at_least: int = 0) -> None:
        """Say what there is to do; `work` that is under way goes on with it.

        at_least: frames that the video is known to have, where its file may announce fewer.
        """
        count = self.source.count()
        count = self.source.count_exactly() if count is None else count
        self._set_plan(strokes, max(count, at_least))

    def left(self) -> int:
        """Steps that remain."""
        with self.lock:
            return sum(self._steps_of(way) for way in (FORWARD, BACKWARD))

    def whole(self) -> int:
        """Steps of a run from scratch."""
        plan = self.plan
        return plan.count - plan.first + (plan.last + 1 if plan.last else 0)

    def work(self, first: int = FORWARD) -> Generator[Step, None, None]:
        """Do what there is to do, the pass `first` before the other, a frame at a time.

        Close it after any frame: what was computed is kept, and so is the tracker's state.
        """
        with WriteBehind(1, _DEPTH) as writer:
            try:
                while True:
                    yield from self._finish(writer)
                    stretch = self._next(first)
                    if stretch is None:
                        return
                    yield from self._go(stretch, writer)
            except GeneratorExit:
                self._save_state(writer)
                writer.wait()
                raise

    def track(self, plan: Plan, frame: int, image: np.ndarray, begins: bool) -> TrackedFrame:
        """One frame through the network; see `Stepper.step`."""
        self._at = None
        self.steps += 1
        return self.stepper.step(plan, frame, image, begins)

    def restore(self, way: int, frame: int) -> bool:
        """Go back to a state that was kept; False where it is gone."""
        state = self.store.get_snapshot(way, frame)
        self._at = None
        if state is not None:
            self.stepper.tracker.restore(state)
        return state is not None

    def keep(self) -> tuple[At | None, dict[str, Any] | None]:
        """Where the tracker is, for `go_back`: between the two it may be used otherwise."""
        return self._at, None if self._at is None else self.stepper.tracker.snapshot()

    def go_back(self, kept: tuple[At | None, dict[str, Any] | None]) -> None:
        """Let passes go on from where they were."""
        self._at = kept[0]
        if kept[1] is not None:
            self.stepper.tracker.restore(kept[1])

    def _set_plan(self, strokes: Mapping[int, StrokedFrame], count: int) -> None:
        plan = Plan(self._base, strokes, count)
        with self.lock:
            self.plan = plan
            self.store.there.fit(count)

    def runs(self, way: int) -> list[tuple[int, int]]:
        """First and last frame of each run of frames that a pass must come to, in its order."""
        plan, there = self.plan, self.store.there
        used = plan.used(way) & (plan.results != there.results) & (plan.results != NOTHING)
        frames = np.flatnonzero(used & (plan.maps[way] != there.maps[way]))
        runs = [(int(r[0]), int(r[-1])) for r in _neighbours(frames)]
        return runs if way == FORWARD else [run[::-1] for run in reversed(runs)]

    def nearest(self, way: int, frame: int) -> int | None:
        """The frame after which the last state before a frame was kept, in the pass' order."""
        with self.lock:
            return _before(way, frame, self._kept(way))

    def _states(self, way: int) -> list[int]:
        """Frames after which there is a state to go on from."""
        at = self._at
        here = at is not None and at.way == way and self.fits(at)
        return [*self._kept(way), *([at.frame] if here else [])]

    def _kept(self, way: int) -> list[int]:
        kept = (At(*place, key) for place, key in self.store.snapshots.copy().items())  # more come
        return [at.frame for at in kept if at.way == way and self.fits(at)]

    def fits(self, at: At) -> bool:
        """Whether what came of a step is what the strokes ask for now."""
        return at.frame < self.plan.count and self.plan.maps[at.way, at.frame] == at.key

    def _steps_of(self, way: int) -> int:
        states, steps = self._states(way), 0
        for first, last in self.runs(way):
            after = _before(way, first, states)
            begin = self.plan.begin(way) if after is None else after
            steps += abs(last - begin) + (after is None)
            states.append(last)
        return steps

    def _next(self, first: int) -> _Stretch | None:
        with self.lock:
            for way in (first, 1 - first):
                if runs := self.runs(way):
                    after = _before(way, runs[0][0], self._states(way))
                    return _Stretch(way, after, runs[0][1])
        return None

    def _go(self, stretch: _Stretch, writer: WriteBehind) -> Generator[Step, None, None]:
        """Track frames of one pass, until they are done or the strokes are others."""
        way, after, end = stretch
        plan = self.plan
        if after is None:
            begin, self._since = plan.begin(way), 0
        else:
            begin = after + stretch.step
            if self._at != At(way, after, plan.maps[way, after]):
                if not self.restore(way, after):
                    return
                self._since = 0
        index = begin - stretch.step
        with closing(read_ahead(self._read(plan, stretch, begin), _DEPTH)) as ahead:
            for index, image, other in ahead:
                at = At(way, index, plan.maps[way, index] if index < plan.count else NOTHING)
                if self.plan is not plan and not self.fits(at):
                    return
                if index >= plan.count:  # the file announced too few
                    self._set_plan(plan.strokes, index + 1)
                    plan = self.plan
                    at = at._replace(key=plan.maps[way, index])
                tracked = self.track(plan, index, image, after is None and index == begin)
                self._at = at
                told = self._hand_out(writer, plan, tracked, other)
                self._offer_state(writer)
                yield Step(way, index, tracked, told)
                if index == end and (way == BACKWARD or index + 1 < self.plan.count):
                    return
        self._check_end(index, begin)

    def _read(
        self, plan: Plan, stretch: _Stretch, begin: int
    ) -> Generator[tuple[int, np.ndarray, FrameMaps | None], None, None]:
        """Frames of a pass, with what the other one said of them where that finishes them."""
        way, other, there = stretch.way, 1 - stretch.way, self.store.there
        read = self.source.forward if way == FORWARD else self.source.backward
        with closing(read(begin, self.stepper.size)) as images:
            for done, image in enumerate(images):
                index, maps = begin + done * stretch.step, None
                both = index < plan.count and plan.shares(index) is not None
                lacking = both and there.results[index] != plan.results[index]
                if lacking and there.maps[other, index] == plan.maps[other, index]:
                    maps = self.store.get_maps(other, index)
                yield index, image, maps

    def _hand_out(
        self, writer: WriteBehind, plan: Plan, tracked: TrackedFrame, other: FrameMaps | None
    ) -> Told | None:
        """Finish the frame, or let it wait where the other pass decides."""
        way, index, key = self._at
        used, told, writes = plan.used(way)[index], None, []
        if used and (other is not None or plan.shares(index) is None):
            pair = (tracked.maps, other) if way == FORWARD else (other, tracked.maps)
            told = self.stepper.tell(plan, index, *pair)
        with self.lock:
            if not self.fits(self._at):
                return None
            if self.store.keeps_all or (used and told is None):
                writes.append(self.store.put_maps(way, index, key, tracked))
            if told is not None and plan.results[index] == self.plan.results[index]:
                writes.append(self.store.put_result(plan.results[index], told, plan.numbers))
        for write in writes:
            writer.submit(write)
        return told

    def _finish(self, writer: WriteBehind) -> Generator[Step, None, None]:
        """Finish the frames of which all that their masks need is there."""
        writer.wait()
        with self.lock:
            plan, there = self.plan, self.store.there
            ready = ~plan.is_done(there) & (plan.results != NOTHING)
            for way in (FORWARD, BACKWARD):
                ready &= ~plan.used(way) | (plan.maps[way] == there.maps[way])
        for index in np.flatnonzero(ready).tolist():
            ways = [way for way in (FORWARD, BACKWARD) if plan.used(way)[index]]
            said = {way: self.store.get_maps(way, index) for way in ways}
            if None in said.values():  # a pass will come to it again
                continue
            told = self.stepper.tell(plan, index, said.get(FORWARD), said.get(BACKWARD))
            with self.lock:
                if plan.results[index] != self.plan.results[index]:
                    return
                write = self.store.put_result(plan.results[index], told, plan.numbers)
            writer.submit(write)
            yield Step(ways[0], index, None, told)

    def _offer_state(self, writer: WriteBehind) -> None:
        self._since += 1
        beside = self._at.frame + (1 if self._at.way == FORWARD else -1) in self.plan.strokes
        if self.store.wants_snapshot(self._at, self._since, self.whole(), beside):
            self._save_state(writer)

    def _save_state(self, writer: WriteBehind) -> None:
        if self._at is not None and self._since:
            writer.submit(self.store.put_snapshot(self._at, self.stepper.tracker.snapshot()))
            self._since = 0

    def _check_end(self, index: int, begin: int) -> None:
        """A file may announce more frames than it has, but those with strokes are there."""
        count, last = self.source.count_exactly(), max(self.plan.strokes, default=0)
        if last >= count:
            raise InputError(
                f"strokes on frame {last} cannot be used: {self.source.name} ends after {count} "
                "frames; leave them out"
            )
        if count != self.plan.count:
            self._set_plan(self.plan.strokes, count)
        elif index < begin:
            raise InputError(f"{self.source.name}: frame {begin} cannot be read; replace the file")


def _before(way: int, frame: int, states: list[int]) -> int | None:
    """The last of some states before a frame, in a pass' order."""
    if way == FORWARD:
        return max((s for s in states if s < frame), default=None)
    return min((s for s in states if s > frame), default=None)


def _neighbours(frames: np.ndarray) -> list[np.ndarray]:
    """Rising numbers in runs without a gap."""
    return [r for r in np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1) if len(r)]
