"""A session's masks depend on its strokes alone, and cost no more than what depends on a change."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from small import made_up_video, small_config, small_model

import rhmnet
from rhmnet.files.images import read_labels
from rhmnet.files.source import Source
from rhmnet.model import RHMNet
from rhmnet.tools.segment import Session, project
from rhmnet.tools.segment.results import Results
from rhmnet.tools.segment.segment_command import track
from rhmnet.tools.segment.stroke_files import Strokes

FRAMES, SIZE = 9, (32, 48)
CONFIG = small_config("test.update_frequency=3", "test.scribble_update_frequency=2")


@pytest.fixture(scope="module")
def model() -> RHMNet:
    return small_model(CONFIG)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> tuple[Source, np.ndarray]:
    """A source, and strokes of three objects and the background, uint8 [H, W]."""
    folder = tmp_path_factory.mktemp("session") / "video"
    folder.mkdir()
    images, strokes = made_up_video(FRAMES, *SIZE, 3)
    for index, image in enumerate(images):
        cv2.imwrite(str(folder / f"{index}.png"), image[..., ::-1])
    return Source(folder), strokes


def only(labels: np.ndarray, *numbers: int) -> np.ndarray:
    return np.where(np.isin(labels, numbers), labels, 0).astype(np.uint8)


def masks(session: Session) -> np.ndarray:
    return np.stack([session.labels(frame) for frame in range(FRAMES)])


def from_scratch(session: Session, model: RHMNet, folder: Path) -> np.ndarray:
    """What the command line makes of a session's strokes."""
    maps = session.strokes
    key = json.dumps([[frame, labels.tolist()] for frame, labels in maps.items()])
    if key in _made:
        return _made[key]
    results = Results(folder)
    results.prepare({}, False, False)
    strokes = Strokes(maps, max(int(m[m < 255].max(initial=0)) for m in maps.values()))
    tracker = rhmnet.Tracker(model, CONFIG)
    assert track(tracker, session.source, strokes, results, SIZE, 0.65, lambda: False)
    made = np.stack([read_labels(folder / "masks" / f"{i}.png") for i in range(FRAMES)])
    return _made.setdefault(key, made)


_made: dict[str, np.ndarray] = {}


class Expected:
    """The steps that a session must take, from what it has computed and lost: the dependency.

    A pass' word of a frame depends on the objects' numbers, the frame on which the pass began, and
    the strokes from there on. States are there wherever a pass was, with budget enough.
    """

    def __init__(self) -> None:
        self.told: dict[tuple[int, int], object] = {}
        self.masks: dict[int, object] = {}
        self.states: dict[tuple[int, int], object] = {}

    def run(
        self, strokes: dict[int, np.ndarray], most: int | None, ways_in_order: tuple[int, int]
    ) -> int:
        """Take at most so many steps over these strokes; returns how many it takes."""
        frames_of = {f: {*np.unique(m).tolist()} - {0, 255} for f, m in strokes.items()}
        frames_of = {f: n for f, n in frames_of.items() if n}
        if not frames_of:
            return 0
        first, last = min(frames_of), max(frames_of)
        numbers = tuple(sorted(set().union(*frames_of.values())))

        def word(way: int, frame: int) -> object:
            reach = range(first, frame + 1) if way == 0 else range(frame, last + 1)
            return numbers, tuple((f, strokes[f].tobytes()) for f in sorted(strokes) if f in reach)

        def around(frame: int) -> list:
            stroked = {n: [f for f in frames_of if n in frames_of[f]] for n in numbers}
            return [
                (
                    max((f for f in s if f <= frame), default=-1),
                    min((f for f in s if f > frame), default=-1),
                )
                for s in stroked.values()
            ]

        wanted = {}
        for frame in range(FRAMES):
            ways = [0] * (frame >= first) + [1] * (frame < last)
            words = [word(way, frame) for way in ways]
            wanted[frame] = (ways, [*words, around(frame) if len(ways) == 2 else None])

        def finish(frame: int) -> None:
            ways, mask = wanted[frame]
            if all(self.told.get((way, frame)) == word(way, frame) for way in ways):
                self.masks[frame] = mask

        for frame in range(FRAMES):
            finish(frame)
        steps = 0
        for way in ways_in_order:
            order = range(first, FRAMES) if way == 0 else range(last, -1, -1)
            for place, frame in enumerate(order):
                ways, mask = wanted[frame]
                there = self.masks.get(frame) == mask
                if there or way not in ways or self.told.get((way, frame)) == word(way, frame):
                    continue
                back = [
                    p
                    for p in range(place)
                    if self.states.get((way, order[p])) == word(way, order[p])
                ]
                for one in order[max(back, default=-1) + 1 : place + 1]:
                    if most is not None and steps == most:
                        return steps
                    steps += 1
                    self.told[way, one] = self.states[way, one] = word(way, one)
                    finish(one)
        return steps


def paint(session: Session, strokes: np.ndarray, kind: str, frame: int, number: int) -> None:
    """One edit; those that cannot be are left out."""
    if kind == "stroke":
        labels = only(strokes, number)
        labels[:, frame % 3 :: 3] = 0  # other frames, other strokes
        session.add_strokes(frame, labels)
    elif kind == "erase":
        session.erase(frame, only(strokes, number) > 0)
    elif kind == "clear":
        session.clear(frame)
    elif kind == "delete" and number in session.objects:
        session.delete_object(number)
    elif kind == "undo" and session.can_undo:
        session.undo()
    elif kind == "redo" and session.can_redo:
        session.redo()


EDITS = st.tuples(
    st.sampled_from(["stroke"] * 6 + ["erase", "clear", "delete", "undo", "undo", "redo"]),
    st.integers(0, FRAMES - 1),
    st.sampled_from([1, 1, 2, 3, 255]),
)
RUNS = st.tuples(
    st.sampled_from(["run", "run", "rest", "reopen", "kill"]),
    st.integers(1, 12),
    st.sampled_from(["forward", "backward"]),
)
STEPS = st.lists(st.one_of(EDITS, EDITS, RUNS), min_size=2, max_size=14)


class Killed(BaseException):
    pass


class Changes:
    """Lets so many changes on the disk through, and none after them."""

    def __init__(self, count: int) -> None:
        self.left = count

    def counted(self, change: Callable) -> Callable:
        def call(*given: object, **named: object) -> None:
            if self.left <= 0:
                raise Killed
            self.left -= 1
            change(*given, **named)

        return call


class Driver:
    """One session through random steps, and what it should cost."""

    def __init__(self, video: tuple[Source, np.ndarray], model: RHMNet, place: Path) -> None:
        self.source, self.strokes = video
        self.model, self.place = model, place
        self.expected: Expected | None = Expected()
        self.session = self.open()

    def open(self) -> Session:
        return Session(self.source, self.model, CONFIG, self.place / "0")

    def take(self, kind: str, number: int, more: int | str) -> None:
        if kind in ("run", "rest"):
            self.run(number if kind == "run" else None, more)
        elif kind == "reopen":
            self.session.close()
            self.session = self.open()
        elif kind == "kill":
            self.kill(number)
        else:
            paint(self.session, self.strokes, kind, number, more)

    def run(self, most: int | None, first: str = "forward") -> None:
        """A run that is cut short after some steps; the steps are those that must be."""
        session = self.session
        before, left = session.steps, session.pending
        with closing(session.work(first=first)) as steps:
            for _ in steps:
                if session.steps - before == most:
                    break
        took = session.steps - before
        assert took == left if most is None else took == min(most, left)
        if self.expected is not None:
            ways = (0, 1) if first == "forward" else (1, 0)
            assert took == self.expected.run(session.strokes, most, ways)

    def kill(self, after: int) -> None:
        """A run that ends after so many changes on the disk, as a killed process does."""
        with pytest.MonkeyPatch.context() as patched:
            changes = Changes(after)
            for name in ("add_line", "remove", "write_bytes", "write_mask"):
                patched.setattr(project, name, changes.counted(getattr(project, name)))
            with suppress(Killed):
                list(self.session.work())
        with open(self.place / "0" / "edits.jsonl", "a") as file:
            file.write('{"edit": "clear", "fra')
        self.session.close()
        self.session, self.expected = self.open(), None  # what was on its way is lost

    def check(self) -> None:
        """At rest, masks are those of the command line."""
        self.run(None)
        session = self.session
        if not any((m[m < 255] > 0).any() for m in session.strokes.values()):
            assert not session.done and session.pending == 0
            return
        assert session.done == [range(FRAMES)] and session.pending == 0
        expected = from_scratch(session, self.model, self.place / "command")
        np.testing.assert_array_equal(masks(session), expected)


def drive(video: tuple[Source, np.ndarray], model: RHMNet, steps: list) -> None:
    with tempfile.TemporaryDirectory() as place:
        driver = Driver(video, model, Path(place))
        try:
            for step in steps:
                driver.take(*step)
            driver.check()
        finally:
            driver.session.close()


@settings(
    max_examples=6,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes minutes
)
@given(steps=STEPS)
def test_masks_depend_on_the_strokes_alone(
    video: tuple[Source, np.ndarray], model: RHMNet, steps: list
) -> None:
    drive(video, model, steps)


@pytest.mark.slow
@settings(max_examples=600, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_masks_depend_on_the_strokes_alone_at_length(
    video: tuple[Source, np.ndarray], model: RHMNet, steps: list
) -> None:
    drive(video, model, steps)
