"""Tracking both ways from strokes on any frames, stopping and going on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from small import made_up_video, small_config, small_model

import rhmnet
from rhmnet.arithmetic import labels_at
from rhmnet.errors import InputError
from rhmnet.files.concurrency import WriteBehind, read_ahead
from rhmnet.files.images import read_labels
from rhmnet.files.source import Source
from rhmnet.inputs import resize_strokes
from rhmnet.structures import FrameMaps
from rhmnet.tools.segment.plan import forward_shares
from rhmnet.tools.segment.results import Results
from rhmnet.tools.segment.segment_command import track
from rhmnet.tools.segment.stepper import measure, merge, to_bytes
from rhmnet.tools.segment.stroke_files import Strokes

FRAMES, SIZE = 11, (48, 64)


@pytest.fixture(scope="module")
def tracker() -> rhmnet.Tracker:
    config = small_config("test.update_frequency=3", "test.scribble_update_frequency=2")
    return rhmnet.Tracker(small_model(config), config)


@pytest.fixture(scope="module")
def made() -> tuple[np.ndarray, np.ndarray]:
    """uint8 [T, H, W, 3] and strokes [H, W] of two objects and the background."""
    return made_up_video(FRAMES, *SIZE, 2)


@pytest.fixture
def source(tmp_path: Path, made: tuple[np.ndarray, np.ndarray]) -> Source:
    (tmp_path / "video").mkdir()
    for index, image in enumerate(made[0]):
        cv2.imwrite(str(tmp_path / "video" / f"{index}.png"), image[..., ::-1])
    return Source(tmp_path / "video")


def never() -> bool:
    return False


def after(frames: int) -> Callable[[], bool]:
    """Says to stop when it was asked that many times."""
    asked = iter(range(1, 1000))
    return lambda: next(asked) >= frames


def runner(
    tracker: rhmnet.Tracker, source: Source, maps: dict, folder: Path, **options
) -> SimpleNamespace:
    results = Results(folder)
    results.prepare({"made": "by this"}, resume=True, overwrite=False)
    size = options.pop("size", source.size)
    given = (tracker, source, Strokes(maps, 2), results, size, 0.65)
    return SimpleNamespace(run=partial(track, *given, **options))


def masks(folder: Path, frames: int = FRAMES) -> np.ndarray:
    return np.stack([read_labels(folder / "masks" / f"{i}.png") for i in range(frames)])


def only(labels: np.ndarray, number: int) -> np.ndarray:
    return np.where(labels == number, labels, 0).astype(np.uint8)


@pytest.mark.parametrize("at", [0, 4, FRAMES - 1])
def test_strokes_on_one_frame_track_forward_and_backward(
    tracker: rhmnet.Tracker, source: Source, made: tuple, tmp_path: Path, at: int
) -> None:
    video, scribble = made
    assert runner(tracker, source, {at: scribble}, tmp_path / "out").run(never)
    expected = {}
    for frames in (range(at, -1, -1), range(at, FRAMES)):  # the forward pass has the last word
        for index in frames:
            step = tracker.start if index == at else tracker.step
            given = (scribble,) if index == at else ()
            expected[index] = step(video[index], *given).labels.numpy()
    found = masks(tmp_path / "out")
    np.testing.assert_array_equal(found, np.stack([expected[i] for i in range(FRAMES)]))
    assert len(np.unique(found)) == 3  # the small network does tell something


def test_objects_may_start_anywhere(
    tracker: rhmnet.Tracker, source: Source, made: tuple, tmp_path: Path
) -> None:
    video, scribble = made
    maps = {2: only(scribble, 1), 7: only(scribble, 2)}
    assert runner(tracker, source, maps, tmp_path / "out").run(never)
    found = masks(tmp_path / "out")
    start = tracker.start(video[7], maps[7], 2)
    backward = {7: start} | {i: tracker.step(video[i], maps.get(i)) for i in range(6, -1, -1)}
    start = tracker.start(video[2], maps[2], 2)
    forward = {2: start} | {i: tracker.step(video[i], maps.get(i)) for i in range(3, FRAMES)}
    for index in range(2):  # object 1 joined the backward pass on frame 2
        np.testing.assert_array_equal(found[index], backward[index].labels)
    for index in range(7, FRAMES):  # object 2 joined the forward pass on frame 7
        np.testing.assert_array_equal(found[index], forward[index].labels)
    for index in range(2, 7):  # each object from the pass that knows it
        ones = forward[index].probabilities[0], backward[index].probabilities[1]
        prob = torch.stack([*ones, (1 - ones[0]) * (1 - ones[1])])
        expected = (prob.argmax(0) + 1) % 3
        differing = (torch.from_numpy(found[index]) != expected).float().mean()
        assert differing < 0.01  # 8 bits a probability


def test_between_two_strokes_the_nearer_one_counts_more() -> None:
    frames_of = {2: [1], 6: [1, 3], 10: [3]}
    shares = np.stack([forward_shares(frames_of, [1, 2, 3], t) for t in (0, 2, 3, 5, 6, 7, 10, 12)])
    np.testing.assert_allclose(shares[:, 0], [0, 1, 0.75, 0.25, 1, 1, 1, 1])
    np.testing.assert_allclose(shares[:, 2], [0, 0, 0, 0, 1, 0.75, 1, 1])
    assert (shares[:, 1] == 1).all()  # without strokes


def test_merging_by_hand() -> None:
    def maps(values: list[float]) -> FrameMaps:
        one = torch.tensor(values).view(3, 1, 1)
        return FrameMaps(one, one)

    forward, backward = maps([0.8, 0.0, 0.2]), maps([0.4, 0.6, 0.0])
    merged = merge(to_bytes(forward), backward, np.array([0.25, 0.0], np.float32))
    # objects 0.5 and 0.6, background 0.5 * 0.4 = 0.2, divided by 1.3
    expected = torch.tensor([0.5, 0.6, 0.2]).view(3, 1, 1) / 1.3
    for one in merged:
        torch.testing.assert_close(one, expected)


def test_labels_at_another_size_are_those_of_resized_probabilities() -> None:
    prob = torch.rand(4, 12, 17, generator=torch.Generator().manual_seed(0)).softmax(0)
    for size in ((12, 17), (31, 40)):
        large = torch.nn.functional.interpolate(prob[None], size, mode="bilinear")[0]
        assert torch.equal(labels_at(prob, size), ((large.argmax(0) + 1) % 4).to(torch.uint8))


def test_measures_by_hand() -> None:
    entire = torch.tensor([[0.9, 0.6, 0.1, 0.2], [0.05, 0.1, 0.1, 0.1], [0.05, 0.3, 0.8, 0.7]])
    reliable = torch.tensor([[0.7, 0.6, 0.9, 0.0], [0.9] * 4, [0.0] * 4])
    found = measure(FrameMaps(entire[:, None], reliable[:, None]), threshold=0.65)
    # object 1 has the first two pixels, of which the first is reliable; object 2 has none
    torch.testing.assert_close(found[:, 0], torch.tensor([0.75, 0.9 / 1.5]))
    assert found[:, 1].isnan().all()


def test_masks_come_back_at_the_videos_size(
    tracker: rhmnet.Tracker, source: Source, made: tuple, tmp_path: Path
) -> None:
    small = 36, 48
    maps = {3: made[1]}
    assert runner(tracker, source, maps, tmp_path / "out", size=small).run(never)
    found = masks(tmp_path / "out")
    assert found.shape == (FRAMES, *SIZE)
    image = cv2.resize(made[0][3], small[::-1], interpolation=cv2.INTER_AREA)
    prob = tracker.start(image, resize_strokes(made[1], small)).probabilities
    large = torch.nn.functional.interpolate(prob[None], SIZE, mode="bilinear")[0]
    np.testing.assert_array_equal(found[3], (large.argmax(0) + 1) % 3)


# frames of the forward pass from frame 2: 9, of the backward pass from frame 7: 8
@pytest.mark.parametrize("stops", [[1], [4], [9], [10], [13], [17], [2, 3, 5, 4]])
def test_a_stopped_run_goes_on_with_the_same_result(
    tracker: rhmnet.Tracker, source: Source, made: tuple, tmp_path: Path, stops: list[int]
) -> None:
    maps = {2: only(made[1], 1), 7: made[1]}
    assert runner(tracker, source, maps, tmp_path / "whole").run(never)
    for frames in stops:
        config = small_config("test.update_frequency=3", "test.scribble_update_frequency=2")
        fresh = rhmnet.Tracker(tracker.model, config)
        assert not runner(fresh, source, maps, tmp_path / "parts").run(after(frames))
    assert runner(tracker, source, maps, tmp_path / "parts").run(never)
    np.testing.assert_array_equal(masks(tmp_path / "parts"), masks(tmp_path / "whole"))
    tables = [Results(tmp_path / n).statistics(FRAMES, 2) for n in ("whole", "parts")]
    np.testing.assert_array_equal(*tables)
    assert not list((tmp_path / "parts" / ".resume").glob("waiting/*"))


def test_a_killed_run_goes_on_from_its_last_state(
    tracker: rhmnet.Tracker, source: Source, made: tuple, tmp_path: Path
) -> None:
    maps = {6: made[1]}
    assert runner(tracker, source, maps, tmp_path / "whole").run(never)

    def killed() -> bool:
        raise KeyboardInterrupt

    def late(frames: int) -> Callable[[], bool]:
        stop = after(frames)
        return lambda: stop() and killed()

    for frames in (4, 3):
        with pytest.raises(KeyboardInterrupt):
            runner(tracker, source, maps, tmp_path / "parts", save_every=2).run(late(frames))
    with open(tmp_path / "parts" / "statistics.jsonl", "a") as file:
        file.write('{"frame": 1, "ar')  # cut off
    assert runner(tracker, source, maps, tmp_path / "parts").run(never)
    np.testing.assert_array_equal(masks(tmp_path / "parts"), masks(tmp_path / "whole"))


def test_results_of_other_options_are_refused(tmp_path: Path) -> None:
    results = Results(tmp_path / "out")
    results.prepare({"size": (48, 64), "weights": "a"}, False, False)
    results.prepare({"size": (48, 64), "weights": "b"}, False, False)  # nothing was made yet
    results.write_frame(0, "0", np.zeros(SIZE, np.uint8), np.zeros((2, 1), np.float32))
    with pytest.raises(InputError, match="--resume"):
        results.prepare({"size": (48, 64), "weights": "b"}, False, False)
    with pytest.raises(InputError, match="other weights;"):
        results.prepare({"size": (48, 64), "weights": "c"}, True, False)
    results.prepare({"size": (48, 64), "weights": "b"}, True, False)
    assert results.count_masks() == 1
    results.prepare({"size": (48, 64), "weights": "c"}, False, True)
    assert results.count_masks() == 0


@pytest.mark.parametrize(
    ("manifest", "file"),
    [
        ("", "masks/0.png"),  # no manifest at all
        ("", "objects/1/0.png"),
        ('{"name": "a web page"}', "objects/chair.png"),
        ('{"made_by": {}, "prompts": {}, "checkpoint": null}', "masks/v/0.png"),
        ("[]", "masks/0.png"),
        ('{"program": "rhmnet segment"}', "masks/notes.txt"),
        ('{"program": "rhmnet segment"}', "objects/chair/0.png"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_was_not_made_here_is_never_removed(
    manifest: str, file: str, overwrite: bool, tmp_path: Path
) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text("mine")
    if manifest:
        (tmp_path / "manifest.json").write_text(manifest)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=r"another --out|replace the file"):
        Results(tmp_path).prepare({}, False, overwrite)
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / file).read_text() == "mine"


def test_what_a_killed_run_or_a_system_left_is_swept_away(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.prepare({}, False, False)
    results.write_frame(0, "0", np.zeros(SIZE, np.uint8), np.zeros((2, 1), np.float32))
    for name in ("masks/.1.png.00aa11bb.partial", ".overlay.mp4.00aa11bb.partial.mp4"):
        (tmp_path / name).touch()
    results.prepare({}, True, False)
    assert not list(tmp_path.rglob("*.partial*")) and results.count_masks() == 1
    for name in ("masks/.DS_Store", "masks/._0.png", ".resume/state.partial"):
        (tmp_path / name).touch()
    (tmp_path / "mine.txt").touch()
    results.prepare({}, False, True)
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"manifest.json", "mine.txt"}


def test_others_masks_are_never_removed(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "0.png").write_text("mine")
    with pytest.raises(InputError, match="another --out"):
        Results(tmp_path).prepare({}, False, True)
    assert (tmp_path / "masks" / "0.png").is_file()


def test_strokes_after_the_end_of_a_broken_video_are_told(
    tracker: rhmnet.Tracker, source: Source, made: tuple, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"frame 20 cannot be used: video ends after {FRAMES}"):
        runner(tracker, source, {3: made[1], 20: made[1]}, tmp_path / "out").run(never)


def test_reading_ahead_keeps_order_and_bounds_and_hands_over_errors() -> None:
    read, closed = [], threading.Event()

    def numbers():
        try:
            for number in range(100):
                read.append(number)
                yield number
                if number == 60:
                    raise ValueError("torn page")
        finally:
            closed.set()

    ahead = read_ahead(numbers(), 4)
    taken = [next(ahead) for _ in range(10)]
    assert taken == list(range(10)) and len(read) <= 10 + 4 + 2
    with pytest.raises(ValueError, match="torn page"):
        taken += list(ahead)
    assert closed.is_set()
    closed.clear()
    ahead = read_ahead(numbers(), 4)
    next(ahead)
    ahead.close()
    assert closed.is_set()


def test_writing_behind_keeps_order_and_raises() -> None:
    written = []
    with WriteBehind(1, 3) as writer:
        for number in range(20):
            writer.submit(written.append, number)
    assert written == list(range(20))
    with pytest.raises(ZeroDivisionError), WriteBehind(1, 3) as writer:
        writer.submit(divmod, 1, 0)
