"""Track a video forwards and backwards from its strokes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from rhmnet.errors import InputError
from rhmnet.files.concurrency import WriteBehind, read_ahead
from rhmnet.files.source import Source
from rhmnet.inputs import resize_strokes
from rhmnet.labels import BACKGROUND, labels_at
from rhmnet.structures import TrackedFrame
from rhmnet.tools.segment.merge import (
    forward_shares,
    measure,
    merge,
    to_bytes,
)
from rhmnet.tools.segment.results import Results, State
from rhmnet.tools.segment.strokes import Strokes
from rhmnet.tracker import Tracker

_DEPTH = 8  # frames read ahead, and frames not yet written, at most
_Work = Generator[tuple[int, np.ndarray, np.ndarray | None], None, None]
"""Frame, image, and what the forward pass said of it, where it waits."""


@dataclass
class TwoWay:
    """One run over a video.

    The forward pass begins on the first frame with a stroke on an object, the backward pass on the
    last one; strokes on frames on the way join. Before the first of these frames the backward pass
    alone tells, from the last on the forward pass alone; between them the forward pass' results
    wait on disk (8 bits a probability) for the backward pass, and both are merged.
    """

    tracker: Tracker
    source: Source
    strokes: Strokes
    results: Results
    size: tuple[int, int]
    """H, W at which the network sees the frames."""
    threshold: float
    """Probability above which a region is reliable."""
    save_every: int = 100
    """Frames between two states to go on from."""

    def run(self, stopped: Callable[[], object]) -> bool:
        """Track whatever is not there yet; False if `stopped` said to stop before the end.

        stopped: asked after every frame. Raises InputError for frames that cannot be used.
        """
        self._frames_of = self.strokes.frames_of()
        self._first, self._last = min(self._frames_of), max(self._frames_of)
        self._numbers = self.strokes.objects()  # what lies between them would only take memory
        self._in_order = np.zeros(BACKGROUND + 1, np.uint8)
        self._in_order[[*self._numbers, BACKGROUND]] = [*range(1, len(self._numbers) + 1), 255]
        state = self.results.load_state(self.tracker.model.device)
        state = state or State("forward", self._first, None)
        if state.stage == "done":
            return True
        with WriteBehind(1, _DEPTH) as writer, self._progress(state) as bar:
            if state.stage == "forward":
                if not self._pass(state, writer, bar, stopped):
                    return False
                self._check_end()
                writer.wait()  # the backward pass reads what waits
                state = State("backward", self._last, None)
            if self._last > 0 and not self._pass(state, writer, bar, stopped):
                return False
        self.results.finish(self.source.count_exactly())
        return True

    def _pass(
        self, state: State, writer: WriteBehind, bar: tqdm, stopped: Callable[[], object]
    ) -> bool:
        """Track from a state to the end of its pass; False if stopped before."""
        bar.set_description(state.stage)
        step = 1 if state.stage == "forward" else -1
        frames = self._forward(state.frame) if step > 0 else self._backward(state.frame)
        if state.tracker is not None:
            self.tracker.restore(state.tracker)
        begins = state.tracker is None
        with closing(read_ahead(frames, _DEPTH)) as ahead:
            for done, (index, image, waiting) in enumerate(ahead, start=1):
                tracked = self._track(index, image, begins)
                begins = False
                self._hand_out(writer, state.stage, index, tracked, waiting)
                bar.update()
                stop = stopped()
                if stop or done % self.save_every == 0:
                    now = State(state.stage, index + step, self.tracker.snapshot())
                    writer.submit(self.results.save_state, now)
                if stop:
                    return False
        return True

    def _forward(self, start: int) -> _Work:
        for index, image in enumerate(self.source.forward(start, self.size), start):
            yield index, image, None

    def _backward(self, start: int) -> _Work:
        """Frames in reverse, those that both passes tell with the forward pass' results."""
        for done, image in enumerate(self.source.backward(start, self.size)):
            index, waiting = start - done, None
            if self._first <= index < self._last:
                waiting = self.results.get_waiting(index, 2 * len(self._numbers))
            yield index, image, waiting

    def _track(self, index: int, image: np.ndarray, begins: bool) -> TrackedFrame:
        scribble = self.strokes.maps.get(index)
        if scribble is not None:
            scribble = resize_strokes(self._in_order[scribble], self.size)
        if begins:
            return self.tracker.start(image, scribble, len(self._numbers))
        return self.tracker.step(image, scribble)

    def _hand_out(
        self,
        writer: WriteBehind,
        stage: str,
        index: int,
        tracked: TrackedFrame,
        waiting: np.ndarray | None,
    ) -> None:
        """Write a frame that is finished; let it wait, or drop it, where the other pass decides."""
        maps = tracked.maps
        if stage == "forward" and index < self._last:
            writer.submit(self.results.put_waiting, index, to_bytes(maps))
            return
        if stage == "backward" and index == self._last:
            return
        if waiting is not None:
            shares = forward_shares(self._frames_of, self._numbers, index)
            if waiting.shape[1:] != maps.entire.shape[1:]:
                raise self.results.no_waiting(index)
            maps = merge(waiting, maps, shares)
        labels = labels_at(maps.entire, self.source.size).cpu().numpy()
        labels = np.array([0, *self._numbers], np.uint8)[labels]
        measures = np.full((2, self.strokes.num_objects), np.nan, np.float32)
        measures[:, np.array(self._numbers) - 1] = measure(maps, self.threshold).cpu().numpy()
        writer.submit(
            self.results.write_frame, index, self.source.frame_name(index), labels, measures
        )

    def _check_end(self) -> None:
        """The strokes' frames are there: a file may announce more frames than it has."""
        count, last = self.source.count_exactly(), max(self.strokes.maps)
        if last >= count:
            raise InputError(
                f"strokes on frame {last} cannot be used: {self.source.name} ends after {count} "
                "frames; leave them out"
            )

    def _progress(self, state: State) -> tqdm:
        """Counts tracked frames of both passes, those of an earlier run included."""
        count = self.source.count()
        backward = self._last + 1 if self._last else 0
        if state.stage == "forward":
            done = state.frame - self._first
        else:
            done = self.source.count_exactly() - self._first + self._last - state.frame
        total = None if count is None else count - self._first + backward
        return tqdm(total=total, initial=done, unit="frame")
