"""A session's masks depend on its strokes alone, and cost no more than what depends on a change."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from damage import watched
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from small import made_up_video, small_config, small_model

import rhmnet
from rhmnet.errors import InputError
from rhmnet.files.images import read_labels
from rhmnet.files.source import Source
from rhmnet.model import RHMNet
from rhmnet.tools.segment import Session, project
from rhmnet.tools.segment.results import Results
from rhmnet.tools.segment.segment_command import track
from rhmnet.tools.segment.stroke_files import Strokes

FRAMES, SIZE = 9, (32, 48)
CHOSEN = ("test.update_frequency=3", "test.scribble_update_frequency=2")
CONFIG = small_config(*CHOSEN)


@pytest.fixture(scope="module")
def model() -> RHMNet:
    return small_model(CONFIG)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images."""
    folder = tmp_path_factory.mktemp("session") / "video"
    folder.mkdir()
    for index, image in enumerate(made_up_video(FRAMES, *SIZE, 3)[0]):
        cv2.imwrite(str(folder / f"{index}.png"), image[..., ::-1])
    return folder


@pytest.fixture(scope="module")
def video(frames: Path) -> tuple[Source, np.ndarray]:
    """A source, and strokes of three objects and the background, uint8 [H, W]."""
    return Source(str(frames)), made_up_video(1, *SIZE, 3)[1]


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
    results.prepare({}, False, True)
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
    elif kind == "add" and len(session.objects) < 5:
        session.add_object()  # without strokes: nothing depends on it
    elif kind == "delete" and number in session.objects:
        session.delete_object(number)
    elif kind == "undo" and session.can_undo:
        session.undo()
    elif kind == "redo" and session.can_redo:
        session.redo()


EDITS = st.tuples(
    st.sampled_from(["stroke"] * 6 + ["erase", "clear", "add", "delete", "undo", "undo", "redo"]),
    st.integers(0, FRAMES - 1),
    st.sampled_from([1, 1, 2, 3, 255]),
)
RUNS = st.tuples(
    st.sampled_from(["run", "run", "rest", "preview", "reopen", "kill"]),
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
        elif kind == "preview":
            left = self.session.pending
            self.session.preview(number % FRAMES)
            assert self.session.pending == left  # passes go on from where they were
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
        self.check_done()

    def check_done(self) -> None:
        """Masks that are called final are those of the command line, at any time."""
        done = [frame for run in self.session.done for frame in run]
        if done:
            expected = from_scratch(self.session, self.model, self.place / "command")
            for frame in done:
                np.testing.assert_array_equal(self.session.labels(frame), expected[frame])

    def check(self) -> None:
        """At rest, all masks are there."""
        self.run(None)
        session = self.session
        strokes = any((m[m < 255] > 0).any() for m in session.strokes.values())
        assert session.done == [range(FRAMES)] * strokes and session.pending == 0
        self.check_done()


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


@pytest.fixture
def session(video: tuple[Source, np.ndarray], model: RHMNet, tmp_path: Path) -> Iterator[Session]:
    with Session(video[0], model, CONFIG, tmp_path / "project") as session:
        yield session


def reopened(session: Session, model: RHMNet) -> Session:
    session.close()
    return Session(session.source, model, CONFIG, session.folder)


def test_strokes_are_painted_erased_and_undone(
    session: Session, video: tuple[Source, np.ndarray], model: RHMNet
) -> None:
    strokes = video[1]
    assert session.add_strokes(2, only(strokes, 1, 255), note={"width": 3}, id="a") == 1
    assert session.add_strokes(2, np.where(strokes == 1, 2, 0).astype(np.uint8)) == 2
    assert session.add_strokes(2, strokes, id="a") == 1  # sent again: it is there
    assert session.stroked == {2: [2, 255]} and session.objects == {1: "", 2: ""}
    assert session.erase(2, strokes == 255) == 3 and session.stroked == {2: [2]}
    assert session.add_object(name="dog") == 3 and session.delete_object(2) == 5
    assert session.strokes == {} and session.objects == {1: "", 3: "dog"}
    assert session.undo() == 6 and session.stroked == {2: [2]}
    session = reopened(session, model)
    assert session.revision == 6 and session.edits[0]["note"] == {"width": 3}
    assert (session.redo(), session.undo(), session.undo(), session.undo()) == (7, 8, 9, 10)
    assert session.stroked == {2: [2, 255]} and session.objects == {1: "", 2: ""}
    assert [edit["edit"] for edit in session.standing(2)] == ["strokes", "strokes"]
    session.undo()
    np.testing.assert_array_equal(session.strokes_on(2), only(strokes, 1, 255))
    session.clear(2)
    assert not session.can_redo and session.stroked == {}
    session.close()


def test_what_is_no_edit_changes_nothing(session: Session, video: tuple, model: RHMNet) -> None:
    strokes = video[1]
    wrong = [
        lambda: session.add_strokes(FRAMES, strokes),
        lambda: session.add_strokes(True, strokes),
        lambda: session.add_strokes(1, strokes[1:]),
        lambda: session.add_strokes(1, strokes.astype(int)),
        lambda: session.add_strokes(1, np.zeros_like(strokes)),
        lambda: session.add_strokes(1, np.full_like(strokes, 254)),
        lambda: session.add_strokes(1, strokes, note={1, 2}),
        lambda: session.add_strokes(1, strokes, id=5),
        lambda: session.delete_object(1),
        lambda: session.add_object(0),
        lambda: session.add_object(1, name="x" * 1000),
        session.undo,
        session.redo,
        lambda: session.mask(-1),
        lambda: list(session.run(until=99)),
        lambda: session.clear(0, note=float("nan")),
        lambda: session.clear(0, note=10**300),
        lambda: session.add_object(1, name="\ud800"),
    ]
    for call in wrong:
        with pytest.raises(InputError):
            call()
    assert session.revision == 0 and session.edits == [] and session.stale == [range(FRAMES)]
    session.close()
    path = session.folder / "edits.jsonl"
    for line in ("[]", '{"edit": "clear"}', '{"edit": "clear", "frame": 1.5}', "{", '{"edit": []}'):
        path.write_text(line + "\n")
        with pytest.raises(InputError, match=r"edits\.jsonl: line 1: "):
            Session(session.source, model, CONFIG, session.folder)
    path.write_text('{"edit": "cl')  # cut off
    with Session(session.source, model, CONFIG, session.folder) as again:
        assert again.revision == 0 and path.read_bytes() == b""


def test_all_but_computing_goes_without_a_network(
    video: tuple[Source, np.ndarray], model: RHMNet, tmp_path: Path
) -> None:
    source, strokes = video
    with Session(source, folder=tmp_path / "one") as session:
        session.add_strokes(2, only(strokes, 1))
        assert session.pending and session.labels(4) is None and session.next_stroke().frame is None
        for compute in (lambda: session.preview(2), lambda: [*session.run()]):
            with pytest.raises(InputError, match="no network yet"):
                compute()
        with pytest.raises(InputError, match="load_config"):
            session.use(model, None)
        session.use(model, CONFIG)
        assert session.preview(2) is not None
        for _ in session.run(until=5):  # some frames remain provisional, or are not there
            pass
        states = [session.state(frame) for frame in range(FRAMES)]
        labels = session.labels(5)
    with Session(source, folder=tmp_path / "one") as session:
        assert not session.ready and [session.state(f) for f in range(FRAMES)] == states
        np.testing.assert_array_equal(session.labels(5), labels)
        flipped(tmp_path / "one" / "masks" / f"{source.frame_name(5)}.png")
        session.use(model, CONFIG)  # sees what happened to the masks meanwhile
        assert session.ready and session.state(5) != "done"
        assert [*session.run()] and not session.pending
        np.testing.assert_array_equal(session.labels(5), labels)


def test_a_folder_is_of_one_video_and_one_process(
    session: Session, video: tuple[Source, np.ndarray], model: RHMNet, tmp_path: Path
) -> None:
    code = "import sys; from rhmnet.files.concurrency import alone_in\n"
    code += "with alone_in(__import__('pathlib').Path(sys.argv[1]), 'wait', 0.0): pass"
    command = [sys.executable, "-c", code, str(session.folder)]
    assert subprocess.run(command, capture_output=True).returncode == 1
    session.close()
    (tmp_path / "other").mkdir()
    cv2.imwrite(str(tmp_path / "other" / "0.png"), np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(InputError, match="another video"):
        Session(Source(str(tmp_path / "other")), model, CONFIG, session.folder)
    (tmp_path / "mine" / "masks").mkdir(parents=True)
    with pytest.raises(InputError, match="without a project"):
        Session(session.source, model, CONFIG, tmp_path / "mine")


def test_other_weights_or_settings_make_all_stale(
    session: Session, video: tuple[Source, np.ndarray], model: RHMNet
) -> None:
    session.add_strokes(0, only(video[1], 1, 255))
    list(session.run())
    before = masks(session)
    session = reopened(session, model)
    assert session.done == [range(FRAMES)]
    session.close()
    other = small_config(*CHOSEN, "test.max_memory_length=1")
    with Session(session.source, model, other, session.folder) as changed:
        assert changed.stale == [range(FRAMES)] and changed.pending == FRAMES
        assert np.array_equal(masks(changed), before)  # the newest that are known
    budget = small_config(*CHOSEN, "test.snapshot_budget=1048576")
    with Session(session.source, model, budget, session.folder) as same:
        assert same.done == [range(FRAMES)]


def test_a_project_keeps_the_precision_that_was_chosen_for_it(
    video: tuple[Source, np.ndarray], model: RHMNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, strokes = video
    auto = small_config(*CHOSEN, "test.precision=auto")
    for fastest in ("float32", "bfloat16"):  # as it is measured, on a machine that others use too
        monkeypatch.setattr("rhmnet.tracker._fastest_precision", lambda _, it=fastest: it)
        with Session(source, model, auto, tmp_path / "one") as session:
            if fastest == "float32":
                session.add_strokes(0, strokes)
                assert [*session.run()]
            assert session.settings()["precision"] == "float32" and not session.pending
    with Session(source, model, auto, tmp_path / "two") as session:
        assert session.settings()["precision"] == "bfloat16"
    with Session(source, small_model(CONFIG, seed=1), auto, tmp_path / "one") as session:
        assert session.settings()["precision"] == "bfloat16" and session.pending


def test_a_preview_is_there_at_once(
    session: Session, video: tuple[Source, np.ndarray], model: RHMNet
) -> None:
    strokes = video[1]
    assert session.preview(3) is None and session.mask(3).labels is None
    session.add_strokes(3, only(strokes, 1, 255))
    first = session.preview(3)
    assert session.steps == 1 and session.state(3) == "provisional"
    assert session.mask(3).tag == "p1" and np.array_equal(session.labels(3), first)
    with closing(session.work()) as steps:
        next(steps)
        session.preview(5)  # in between; the pass goes on from where it was
        assert session.pending == FRAMES - 4 + 4
        list(steps)
    assert np.array_equal(first, session.labels(3))  # the frame where it begins
    assert np.array_equal(masks(session), from_scratch(session, model, session.folder.parent / "c"))
    assert np.array_equal(session.preview(5), session.labels(5))
    session.add_strokes(7, only(strokes, 2))  # no memory of two objects yet: two steps
    before = session.steps
    assert session.preview(7) is not None and session.steps == before + 2


def test_edits_during_a_run_are_taken_in(
    session: Session, video: tuple[Source, np.ndarray], model: RHMNet
) -> None:
    strokes = video[1]
    session.add_strokes(1, only(strokes, 1, 255))
    for index, _ in enumerate(session.run(first=7)):
        if index == 2:
            session.add_strokes(6, only(strokes, 1))
        if index == 9:
            session.add_strokes(0, only(strokes, 2))
    assert session.done == [range(FRAMES)]
    assert np.array_equal(masks(session), from_scratch(session, model, session.folder.parent / "c"))


def test_states_may_come_while_one_asks_what_is_left(
    session: Session, video: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.add_strokes(0, video[1])
    with closing(session.run()) as steps:
        for _ in range(6):
            next(steps)
    engine, states = session._engine, session._project.snapshots
    left, fits = session.pending, type(engine).fits
    assert states and left

    def fits_as_one_more_comes(engine, at):
        states[at.way, 1000 + len(states)] = at.key
        return fits(engine, at)

    monkeypatch.setattr(type(engine), "fits", fits_as_one_more_comes)
    assert session.pending == left


def test_strokes_that_go_on_the_last_frame_of_a_pass_end_the_run(
    session: Session, video: tuple[Source, np.ndarray]
) -> None:
    session.add_strokes(1, only(video[1], 1, 255))
    for frame, *_ in session.run():
        if frame == FRAMES - 1:
            session.undo()
    assert session.pending == 0 and session.stale == [range(FRAMES)]
    assert [list(session.run()), session.steps] == [[], FRAMES - 1]


def test_a_run_that_was_forgotten_ends_when_the_garbage_is_collected(
    session: Session, video: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.add_strokes(0, video[1])
    monkeypatch.setattr(
        project.Project, "wants_snapshot", lambda *_: False
    )  # one is due at the end

    def forget() -> None:
        steps = session.work()
        ring: list[object] = [steps]
        ring.append(ring)  # as a traceback does: goes with the garbage alone
        for _ in range(3):
            next(steps)

    gc.disable()
    try:
        forget()
        collecting = threading.Thread(target=gc.collect, daemon=True)
        collecting.start()
        collecting.join(20)
    finally:
        gc.enable()
    assert not collecting.is_alive() and session._engine.store.snapshots
    assert [*session.run()] and not session.pending


def test_runs_end_where_they_are_told_and_one_at_a_time(session: Session, video: tuple) -> None:
    session.add_strokes(4, only(video[1], 1, 255))
    assert [frame for frame, *_ in session.run(until=6)] == [4, 5, 6]
    assert session.done == [range(4, 7)] and session.stale == [range(4), range(7, FRAMES)]
    assert [frame for frame, *_ in session.run(until=2, first="backward")] == [3, 2]
    run = session.run()
    next(run)
    with pytest.raises(InputError, match="under way"):
        next(session.run())
    run.close()
    table, numbers = session.statistics()
    assert table.shape == (FRAMES, 3, 1) and numbers == [1]
    assert np.isfinite(table[2:8, 0]).all() and np.isnan(table[0, 0, 0])


def test_states_are_thinned_out_within_their_budget(
    video: tuple[Source, np.ndarray], model: RHMNet, tmp_path: Path
) -> None:
    config = small_config(*CHOSEN, "test.snapshot_budget=1048576")
    with Session(video[0], model, config, tmp_path / "project") as session:
        session.add_strokes(0, only(video[1], 1, 2, 255))
        session.add_strokes(8, only(video[1], 1))
        list(session.run())
        kept = list((tmp_path / "project" / "snapshots").rglob("*.bin"))
        assert 2 < len(kept) < 2 * FRAMES
        assert sum(path.stat().st_size for path in kept) < 1.1 * (1 << 20)
        session.add_strokes(5, only(video[1], 2))
        assert session.pending < 2 * FRAMES
        list(session.run())
        expected = from_scratch(session, model, tmp_path / "command")
        np.testing.assert_array_equal(masks(session), expected)


def test_damaged_and_missing_files_are_computed_again(
    session: Session, video: tuple[Source, np.ndarray], model: RHMNet
) -> None:
    session.add_strokes(0, only(video[1], 1, 255))
    session.add_strokes(8, only(video[1], 1))
    list(session.run())
    before = masks(session)
    session.close()
    (session.folder / "masks" / "4.png").unlink()
    for path in [
        *session.folder.glob("waiting/*/*.bin"),
        *session.folder.glob("snapshots/*/*.bin"),
    ]:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    session = Session(session.source, model, CONFIG, session.folder)
    assert session.stale == [] and session.provisional == [range(4, 5)]
    list(session.run())
    np.testing.assert_array_equal(masks(session), before)
    session.close()
    (session.folder / "statistics.jsonl").write_text('{"frame": 3, "key": "xyz"}\nx\n')
    with Session(session.source, model, CONFIG, session.folder) as session:
        assert session.done == []
        list(session.run())
        np.testing.assert_array_equal(masks(session), before)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path) -> None:
    """One bit in each of three places."""
    data = bytearray(path.read_bytes())
    for place in (5, len(data) // 2, len(data) - 3):
        data[place] ^= 1
    path.write_bytes(data)


def lost(path: Path) -> None:
    """A link that leads nowhere."""
    path.unlink()
    path.symlink_to("nowhere")


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def foldered(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("hurt", [emptied, cut, flipped, lost, piped, foldered])
def test_whatever_lies_at_a_files_place_masks_are_right_or_it_is_told(
    hurt: Callable[[Path], None],
    session: Session,
    video: tuple[Source, np.ndarray],
    model: RHMNet,
    tmp_path: Path,
) -> None:
    session.add_strokes(0, only(video[1], 1, 255))
    session.add_strokes(8, only(video[1], 1))
    list(session.run())
    before, table = masks(session), session.statistics()[0]
    session.close()
    places = ("edits.jsonl", "project.json", "statistics.jsonl", "masks/4.png")
    places += ("waiting/forward/3.*.bin", "snapshots/forward/3.*.bin")
    for number, pattern in enumerate(places):
        folder = tmp_path / str(number)
        shutil.copytree(session.folder, folder)
        found = [*folder.glob(pattern)]
        assert found
        for path in found:
            hurt(path)
        with watched(pattern), Session(session.source, model, CONFIG, folder) as again:
            if pattern == "edits.jsonl":  # half of it: the first edit is whole
                assert hurt is cut and again.revision == 1
                continue
            list(again.run())
            np.testing.assert_array_equal(masks(again), before)
            np.testing.assert_array_equal(again.statistics()[0], table)


def test_a_session_takes_a_source_and_a_folder(video: tuple, model: RHMNet) -> None:
    for folder in ("", "a\0b", 5):
        with pytest.raises(InputError, match="no name of a file or folder"):
            Session(video[0], model, CONFIG, folder)
    with pytest.raises(InputError, match="source="):
        Session("clip.mp4", model, CONFIG)


def test_a_full_disk_ends_a_run_and_loses_nothing(
    session: Session,
    video: tuple[Source, np.ndarray],
    model: RHMNet,
    fill_disk: Callable[..., list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session.add_strokes(2, only(video[1], 1, 255))
    fill_disk(200_000)
    with pytest.raises(InputError, match="make room"):
        list(session.run())
    with pytest.raises(InputError, match="make room"):
        session.clear(2)
    assert session.revision == 1 and session.stroked == {2: [1, 255]}
    monkeypatch.undo()
    assert session.pending > 0
    list(session.run())
    assert np.array_equal(masks(session), from_scratch(session, model, session.folder.parent / "c"))


KILLED = """
import sys, numpy as np
sys.path.insert(0, sys.argv[1])
from small import small_model
from test_session import CONFIG, Session, Source, only
strokes = np.load(sys.argv[3])
session = Session(Source(sys.argv[2]), small_model(CONFIG), CONFIG, sys.argv[4])
for round in range(1, 1000):
    revision = session.add_strokes(round % 9, only(strokes, 1 + round % 2, 255)[:, ::-1].copy())
    print(revision, flush=True)
    for _ in zip(range(4), session.run()):
        pass
    session.erase(round % 9, only(strokes, 255)[:, ::-1] > 0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.31, 0.83, 1.7])
def test_nothing_acknowledged_is_lost_at_a_real_kill(
    seconds: float,
    frames: Path,
    video: tuple[Source, np.ndarray],
    model: RHMNet,
    tmp_path: Path,
) -> None:
    np.save(tmp_path / "strokes.npy", video[1])
    folder = tmp_path / "project"
    place = str(Path(__file__).parent)
    given = [place, str(frames), str(tmp_path / "strokes.npy"), str(folder)]
    process = subprocess.Popen([sys.executable, "-c", KILLED, *given], stdout=subprocess.PIPE)
    told = [process.stdout.readline()]
    time.sleep(seconds)
    process.kill()
    told += process.stdout.readlines()
    process.wait()
    with Session(video[0], model, CONFIG, folder) as session:
        assert session.revision >= max(int(line) for line in told if line.endswith(b"\n"))
        list(session.run())
        expected = from_scratch(session, model, tmp_path / "command")
        np.testing.assert_array_equal(masks(session), expected)
