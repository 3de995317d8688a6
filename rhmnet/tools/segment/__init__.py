"""Your own video: strokes come and go on any of its frames; only masks that they change are made.

`Session` is the engine. Frames are read, tracked and written one by one, with threads beside.
PyTorch takes seconds to load: strokes and finished masks are there before it (`Session.use`).
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from rhmnet.config import Config, check_config
from rhmnet.errors import InputError, short
from rhmnet.files.concurrency import alone_in
from rhmnet.files.source import Source
from rhmnet.files.writing import path_of
from rhmnet.tools.segment.edits import EditedStrokes
from rhmnet.tools.segment.plan import BACKWARD, FORWARD, PASSES, Plan
from rhmnet.tools.segment.project import Project
from rhmnet.tools.segment.propagation import Propagation, Step
from rhmnet.tools.segment.summary import Advice, advise

if TYPE_CHECKING:
    from rhmnet.model import RHMNet
    from rhmnet.structures import TrackedFrame

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


class Session(EditedStrokes):
    """A video, the strokes on it, and its masks.

    Strokes are edited by any thread at any time; `preview`, `run` and `work` belong to one. At rest
    masks are those of one run over the same strokes from scratch, whatever came before.
    """

    def __init__(
        self,
        source: Source,
        model: RHMNet | None = None,
        config: Config | None = None,
        folder: str | Path | None = None,
    ) -> None:
        """model: on its device; without it, see `use`. folder: keeps all of it; None: one that
        goes with the session.

        Raises InputError where the folder is another process's, another video's or no project.
        """
        if not isinstance(source, Source):
            raise InputError(f"source={short(source)}: expected files.source.Source(path)")
        self.folder = None if folder is None else path_of(folder)
        with ExitStack() as stack:
            place = self.folder or Path(stack.enter_context(TemporaryDirectory(prefix="rhmnet-")))
            stack.enter_context(alone_in(place, "close it, or name another folder", 0.0))
            self._project = Project(place, source)
            self._engine = Propagation(source, self._project, base=self._project.claim()[0])
            self._project.load(self._engine.fits)
            self._previews: dict[int, tuple[int, np.ndarray]] = {}
            self._running = False
            super().__init__(source, place / "edits.jsonl")
            if not self._log and self._project.rows:
                where = place / "edits.jsonl"
                raise InputError(f"{where}: is empty, though there are masks; restore the file")
            self.lock = self._engine.lock
            self._changed()
            if model is not None:
                self.use(model, config)
            self._stack = stack.pop_all()

    def use(self, model: RHMNet, config: Config) -> None:
        """Take the network, where the session was begun without; by the thread that works.

        Until then nothing can be computed, and finished masks count as if the network were the
        one that made them.
        """
        from rhmnet.tools.segment.stepper import Stepper, TensorFiles

        check_config(config, "Session")
        stepper = Stepper.of(model, config, self.source.size, self._project.made_by)
        files = TensorFiles(model.device, config.model.upsample_logits)
        self._project.use(files, config.test.snapshot_budget, stepper.base, stepper.precision)
        self._engine.use(stepper)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the folder free for others; without one, all is forgotten."""
        self._stack.close()

    def mask(self, frame: int) -> Mask:
        """The newest that is known of a frame."""
        frame = self._frame(frame)
        state, plan, there = self.state(frame), self._engine.plan, self._project.there
        with self.lock:
            preview = self._previews.get(frame)
        if state == "provisional" and preview is not None and preview[0] == self.revision:
            return Mask(preview[1], state, f"p{preview[0]}")
        if state == "provisional":
            ways = [way for way in (FORWARD, BACKWARD) if plan.is_told(way, there)[frame]]
            maps = self._project.get_maps(ways[0], frame) if ways and self.ready else None
            if maps is not None:
                tag = f"{PASSES[ways[0]][0]}{plan.maps[ways[0], frame]:x}"
                return Mask(self._engine.stepper.labels(maps, plan), state, tag)
            state = "stale"
        key = there.results[frame]
        return Mask(self._project.labels(frame), state, f"{key:x}")

    def labels(self, frame: int) -> np.ndarray | None:
        """As `mask`: the labels alone."""
        return self.mask(frame).labels

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
    def ready(self) -> bool:
        """Whether there is a network."""
        return self._engine.stepper is not None

    def settings(self) -> dict[str, Any] | None:
        """How the network computes, see `Stepper.settings`; None: there is none."""
        return self._engine.stepper.settings() if self.ready else None

    @property
    def steps(self) -> int:
        """Steps of the network that this object took."""
        return self._engine.steps

    def doubt(self, frame: int) -> dict[int, float]:
        """Of each object seen on a frame's newest finished mask, 0 sure .. 1."""
        row = self._project.rows.get(self._frame(frame))
        return {} if row is None else row.doubts()

    def statistics(self) -> tuple[np.ndarray, list[int]]:
        """float64 [T, 3, O]: area, mean probability, reliability, NaN where unknown; the objects.

        Of the newest finished masks.
        """
        with self.lock:
            numbers, rows = sorted(self._objects), dict(self._project.rows)
            table = np.full((self._engine.plan.count, 3, len(numbers)), np.nan)
        column = {number: index for index, number in enumerate(numbers)}
        for frame, row in rows.items():
            for number, *values in zip(*row, strict=True):
                if number in column and frame < len(table):
                    table[frame, :, column[number]] = np.array(values, np.float64)
        return table, numbers

    def next_stroke(self) -> Advice:
        """Where a further stroke helps most, by the masks that are finished (see `summary`)."""
        return advise(*self.statistics(), self.stroked, self._probability, self.source.size)

    def _probability(self, frame: int, number: int) -> np.ndarray:
        """float32 [h, w] of an object: the mean of what passes said, else its mask, blurred."""
        with self.lock:
            plan, there = self._engine.plan, self._project.there
            told = (way for way in (FORWARD, BACKWARD) if plan.is_told(way, there)[frame])
            ways = [*told] if self.ready else []
        said = [maps for way in ways if (maps := self._project.get_maps(way, frame)) is not None]
        if number not in plan.numbers or not said:
            mask = self._project.labels(frame) == number
            return cv2.blur(mask.astype(np.float32), (5, 5))
        index = plan.numbers.index(number)
        return np.mean([maps.entire[index].cpu().numpy() for maps in said], axis=0)

    def preview(self, frame: int) -> np.ndarray | None:
        """The mask of a frame at once, uint8 [H, W], from the memory that is nearest.

        None without a stroke on an object. `mask` gives it until a pass has told of the frame.
        """
        engine, frame = self._engine, self._frame(frame)
        with self.lock:
            plan, revision = engine.plan, self.revision
        if not plan.frames_of:
            return None
        if self.state(frame) == "done":
            return self._project.labels(frame)
        self._check_ready()
        kept = engine.keep()
        try:
            tracked = self._track_alone(plan, frame)
        finally:
            engine.go_back(kept)
        labels = engine.stepper.labels(tracked.maps, plan)
        with self.lock:
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
        self._check_ready()
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

    def _check_ready(self) -> None:
        if not self.ready:
            raise InputError("the session has no network yet; expected use(model, config) before")

    def _progress(self, step: Step) -> Progress:
        labels = None if step.told is None else step.told.labels
        doubt = {} if step.told is None else self.doubt(step.frame)
        return Progress(step.frame, labels, doubt, PASSES[step.way])

    def _way(self, first: str | int | None) -> int:
        if first is None or first in PASSES:
            return FORWARD if first is None else PASSES.index(first)
        frame = self._frame(first)
        with self.lock:
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
                return engine.track(plan, frame, self.source.frame(frame), False)
        far = sorted(plan.frames_of, key=lambda f: -abs(f - frame))[-_MOST_STROKED:]
        path = [f for f in far if f != frame]
        path = [*path, frame] if path or frame in plan.frames_of else [frame]
        for index, one in enumerate(path):
            tracked = engine.track(plan, one, self.source.frame(one), index == 0)
        return tracked

    def _changed(self) -> None:
        self._engine.set_strokes(dict(self._stroked))

    def _states(self) -> np.ndarray:
        """int8 [T]: places in `_STATES`."""
        with self.lock:
            plan, there = self._engine.plan, self._project.there
            told = [plan.is_told(way, there) for way in (FORWARD, BACKWARD)]
            states = (told[0] | told[1]).astype(np.int8)
            for frame, (revision, _) in self._previews.items():
                if revision == self.revision and frame < plan.count:
                    states[frame] = 1
            states[plan.is_done(there)] = 2
        return states


_STATES = ("stale", "provisional", "done")


def _ranges(chosen: np.ndarray) -> list[range]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]))).tolist()
    return [range(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True)]
