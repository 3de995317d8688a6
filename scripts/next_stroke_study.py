#!/usr/bin/env python
"""Is `Session.next_stroke` worth following? J&F with strokes where it says, and elsewhere.

    python scripts/next_stroke_study.py --data-root ../shared/davis --year 16

Each video begins with the strokes of its first frame. Strokes are added on one object of a frame,
and on the background there, drawn from the annotation as a hand would: one after another on the
frames that `next_stroke` names, or on frames spread evenly, the last one among them, or on random
ones. On a frame the stroke is the same whoever chose it; `--draws` repeats all with other strokes.
Scores leave out the first and the last frame, as DAVIS does.
"""

from __future__ import annotations

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import rhmnet
from rhmnet.data.davis import Davis, open_davis, parse_year, read_prompt
from rhmnet.evaluation import frame_scores
from rhmnet.files.source import Source
from rhmnet.files.writing import write_json
from rhmnet.labels import BACKGROUND
from rhmnet.runtime import CommandParser, run_command, whole
from rhmnet.tools.scribbles.hand import draw_scribble
from rhmnet.tools.segment import Session

WAYS = ("before", "next_stroke", "even", "random")


class Video(NamedTuple):
    """A video with its masks, and the strokes that it begins with."""

    source: Source
    truth: list[np.ndarray]
    """uint8 [H, W] a frame, 0 background, 1..N objects."""
    prompt: np.ndarray
    """uint8 [H, W], strokes on frame 0."""


def open_video(davis: Davis, name: str) -> Video:
    video = davis.video(name)
    truth = [davis.annotation(path).labels for path in video.annotations]
    prompt = read_prompt(davis, video, 0, with_bg=True).scribble
    return Video(Source(video.frames[0].parent), truth, prompt)


def draw(truth: np.ndarray, number: int, draw_: int, frame: int) -> np.ndarray:
    """uint8 [H, W]: strokes on an object and on background, all 0 where the object is not there."""
    mask, others = (truth == number).astype(np.uint8), (truth != number) & (truth != 0)
    if not mask.any():
        return np.zeros_like(truth)
    drawn = draw_scribble(mask, 1, np.random.default_rng([draw_, frame, number]), avoid=others)
    return np.array([0, number, BACKGROUND], np.uint8)[drawn]


def score(session: Session, video: Video) -> float:
    """J&F once the session is at rest."""
    for _ in session.work():
        pass
    objects, inner = max(int(t.max()) for t in video.truth), range(1, len(video.truth) - 1)
    return float(np.mean([frame_scores(session.labels(t), video.truth[t], objects) for t in inner]))


def follow(video: Video, rounds: int, draw_: int, network: tuple) -> tuple[list[float], list[int]]:
    """J&F before and after each stroke where `next_stroke` says, and the frames."""
    frames = []
    with Session(video.source, *network) as session:
        session.add_strokes(0, video.prompt)
        scores = [score(session, video)]
        while len(frames) < rounds and (advice := session.next_stroke()).frame is not None:
            frames.append(advice.frame)
            strokes = draw(video.truth[advice.frame], advice.object, draw_, advice.frame)
            if strokes.any():
                session.add_strokes(advice.frame, strokes)
            scores.append(score(session, video))
    return scores, frames


def put(video: Video, frames: list[int], draw_: int, network: tuple) -> float:
    """J&F with strokes on these frames, on one object after another."""
    objects = max(int(t.max()) for t in video.truth)
    with Session(video.source, *network) as session:
        session.add_strokes(0, video.prompt)
        for index, frame in enumerate(frames):
            strokes = draw(video.truth[frame], index % objects + 1, draw_, frame)
            if strokes.any():
                session.add_strokes(frame, strokes)
        return score(session, video)


def spread(video: Video, rounds: int) -> list[int]:
    """Frames that divide a video into equal parts, the last one among them."""
    return [round((len(video.truth) - 1) * (k + 1) / rounds) for k in range(rounds)]


def at_random(video: Video, rounds: int, seed: int) -> list[int]:
    """Frames on which an object is seen."""
    seen = [t for t in range(1, len(video.truth)) if video.truth[t].any()]
    return np.random.default_rng(seed).choice(seen, rounds, replace=False).tolist()


def main() -> None:
    parser = CommandParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, default=Path("datasets/DAVIS"))
    parser.add_argument("--year", type=parse_year, default=2016, help="list of videos")
    parser.add_argument("--rounds", type=whole(1, 100), default=5, help="strokes, one a round")
    parser.add_argument("--draws", type=whole(1, 100), default=3, help="repetitions")
    parser.add_argument("--checkpoint", help="weights (default: those that come along)")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("overrides", nargs="*", help="settings, as test.short_side=256")
    args = parser.parse_args()
    davis = open_davis(args.data_root, args.year)
    network = rhmnet.load_model(args.checkpoint, args.overrides)
    rows = []
    for draw_ in range(args.draws):
        for name in davis.names():
            video = open_video(davis, name)
            scores, frames = follow(video, args.rounds, draw_, network)
            found = {"video": name, "draw": draw_, "before": scores[0]}
            found |= {"next_stroke": scores[-1], "rounds": scores, "frames": frames}
            for way, plan in (
                ("even", spread(video, args.rounds)),
                ("random", at_random(video, args.rounds, draw_)),
            ):
                found[way] = put(video, plan, draw_, network)
            rows.append(found)
            print(f"{name:14s} draw {draw_}  {_scores(found)}  frames {frames}", flush=True)
    mean = {way: float(np.mean([row[way] for row in rows])) for way in WAYS}
    print(f"{'mean':21s}  {_scores(mean)}")
    if args.json:
        write_json(args.json, {"rows": rows, "mean": mean})


def _scores(found: Mapping[str, Any]) -> str:
    return "  ".join(f"{way} {100 * found[way]:5.2f}" for way in WAYS)


if __name__ == "__main__":
    run_command(main)
