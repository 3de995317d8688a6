"""Memory stays flat over a long video; `pytest -m slow tests/test_segment_long.py` runs it."""

from __future__ import annotations

import resource
from pathlib import Path

import cv2
import numpy as np
import pytest
from small import made_up_video, small_config, small_model

import rhmnet
from rhmnet.files.source import Source
from rhmnet.tools.segment import Session
from rhmnet.tools.segment.exports import CocoFile, ObjectMasks, OverlayVideo, export
from rhmnet.tools.segment.results import Results
from rhmnet.tools.segment.segment_command import track
from rhmnet.tools.segment.stroke_files import Strokes

FRAMES, SIZE = 10_000, (96, 128)
EARLY = 200


@pytest.mark.slow
def test_memory_of_a_long_video_is_that_of_a_short_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Peak memory at the end of 10,000 frames is within 5 % of that at frame 200."""
    # chunks as large beside these frames as they are beside frames of 480p
    monkeypatch.setattr("rhmnet.files.source._CHUNK_BYTES", 100 * 3 * SIZE[0] * SIZE[1])
    images, scribble = made_up_video(8, *SIZE, 2)
    path = tmp_path / "long.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, SIZE[::-1])
    for index in range(FRAMES):
        writer.write(images[index % 8])
    writer.release()
    peaks = {}

    def note(stage: str):
        asked = iter(range(1, 10 * FRAMES))

        def stopped() -> bool:
            if next(asked) == EARLY:
                peaks[stage] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return False

        return stopped

    config = small_config()
    source, results = Source(path), Results(tmp_path / "out")
    results.prepare({}, False, False)
    # both passes over most of the video: object 1 from the beginning, object 2 from near the end
    first = np.where(scribble == 1, 1, 0).astype(np.uint8)
    last = np.where(scribble == 2, 2, 0).astype(np.uint8)
    strokes = Strokes({0: first, FRAMES - EARLY: last}, 2)
    tracker = rhmnet.Tracker(small_model(config), config)
    assert track(tracker, source, strokes, results, SIZE, 0.65, note("tracking"))
    names = [source.frame_name(i) for i in range(FRAMES)]
    exports = [
        OverlayVideo(tmp_path / "overlay.mp4", 25, SIZE, strokes.maps),
        ObjectMasks(tmp_path / "objects", [1, 2]),
        CocoFile(tmp_path / "coco.json", SIZE, names, [1, 2]),
    ]
    assert export(exports, source, results.masks, FRAMES, note("exporting"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print({**peaks, "end": peak})
    assert results.count_masks() == FRAMES
    assert peak < 1.05 * peaks["tracking"]


@pytest.mark.slow
def test_memory_of_a_long_session_is_that_of_a_short_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10,000 frames of a video file through a session in a folder, then a correction half-way."""
    size = (32, 48)
    images, scribble = made_up_video(8, *size, 2)
    path = tmp_path / "long.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, size[::-1])
    for index in range(FRAMES):
        writer.write(images[index % 8])
    writer.release()
    config = small_config("test.snapshot_budget=16777216")
    with Session(Source(str(path)), small_model(config), config, tmp_path / "project") as session:
        session.add_strokes(0, scribble)
        peaks = []
        for frame, _, _ in session.run():
            if frame in (2 * EARLY, FRAMES - 1):
                peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        assert session.done == [range(FRAMES)] and session.steps == FRAMES
        session.add_strokes(FRAMES // 2, np.where(scribble == 1, 1, 0).astype(np.uint8))
        assert session.pending < FRAMES + 200
        final = (step.frame for step in session.work() if step.labels is not None)
        assert next(final) == FRAMES // 2
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    print(peaks)
    assert peaks[-1] < 1.05 * peaks[0]
    snapshots = (tmp_path / "project" / "snapshots").rglob("*.bin")
    assert sum(path.stat().st_size for path in snapshots) < 1.1 * (16 << 20)
