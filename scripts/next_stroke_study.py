#!/usr/bin/env python
"""Is `Session.next_stroke` worth following? J&F after rounds of one stroke each.

    python scripts/next_stroke_study.py --data-root ../shared/davis --year 16

Each video begins with the strokes of its first frame. Each round then adds strokes on one object of
one frame, and on the background there, drawn from the annotation as a hand would: on the frame that
`next_stroke` names, on frames spread evenly, or on random ones.
"""

from __future__ import annotations

import rhmnet.runtime.waiting as _waiting  # noqa: F401  before torch is loaded

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import rhmnet
from rhmnet.data.davis import Davis, open_davis, parse_year, read_prompt
from rhmnet.errors import say
from rhmnet.evaluation import frame_scores
from rhmnet.files.source import Source
from rhmnet.files.writing import write_json
from rhmnet.labels import BACKGROUND
from rhmnet.runtime import CommandParser, run_command, whole
from rhmnet.tools.scribbles.hand import draw_scribble
from rhmnet.tools.segment import Session


class Choice(NamedTuple):
    """Where a stroke is drawn."""

    frame: int
    object: int | None = None
    """None: the one that lacks most pixels, or has most too many."""


Choose = Callable[[Session, int], Choice]
"""The choice of a round, counted from 0."""


def follow(session: Session, round_: int) -> Choice:
    """What the session says."""
    advice = session.next_stroke()
    if advice.frame is None:
        raise LookupError(advice.reason)
    return Choice(advice.frame, advice.object)


def spread(rounds: int) -> Choose:
    """Frames that divide the video into equal parts, the last one among them."""

    def choose(session: Session, round_: int) -> Choice:
        return Choice(round((len(session.source) - 1) * (round_ + 1) / rounds))

    return choose


def at_random(seed: int) -> Choose:
    """A frame without strokes."""
    rng = np.random.default_rng(seed)

    def choose(session: Session, round_: int) -> Choice:
        free = sorted({*range(len(session.source))} - {*session.stroked})
        return Choice(int(rng.choice(free)))

    return choose


def draw(truth: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """uint8 [H, W]: strokes on an object and on background, all 0 where the object is not there.

    truth: uint8 [H, W], 0 background, 1..N objects.
    """
    mask, others = (truth == number).astype(np.uint8), (truth != number) & (truth != 0)
    if not mask.any():
        return np.zeros_like(truth)
    drawn = draw_scribble(mask, 1, rng, avoid=others)
    return np.array([0, number, BACKGROUND], np.uint8)[drawn]


def study(
    davis: Davis, name: str, choose: Choose, rounds: int, network: tuple
) -> tuple[list[float], list[int]]:
    """J&F, before any further stroke and after each round, and the frames that were chosen."""
    video = davis.video(name)
    truth = [davis.annotation(path).labels for path in video.annotations]
    objects = max(int(labels.max()) for labels in truth)
    rng, scores, frames = np.random.default_rng(0), [], []
    with Session(Source(video.frames[0].parent), *network) as session:
        session.add_strokes(0, read_prompt(davis, video, 0, with_bg=True).scribble)
        for round_ in range(rounds + 1):
            for _ in session.work():
                pass
            found = [
                frame_scores(session.labels(t), truth[t], objects) for t in range(1, len(truth) - 1)
            ]
            scores.append(float(np.mean(found)))
            if round_ == rounds:
                break
            try:
                choice = choose(session, round_)
            except LookupError as error:
                say(f"{name}: {error}; no further stroke")
                return scores + scores[-1:] * (rounds - round_), frames
            frames.append(choice.frame)
            true, found = truth[choice.frame], session.labels(choice.frame)
            wrong = [((true == n) != (found == n)).sum() for n in range(1, objects + 1)]
            stroke = draw(true, choice.object or int(np.argmax(wrong)) + 1, rng)
            if stroke.any():
                session.add_strokes(choice.frame, stroke)
    return scores, frames


def main() -> None:
    parser = CommandParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, default=Path("datasets/DAVIS"))
    parser.add_argument("--year", type=parse_year, default=2016, help="list of videos")
    parser.add_argument("--rounds", type=whole(1, 100), default=5, help="strokes, one a round")
    parser.add_argument("--seeds", type=whole(0, 100), default=3, help="runs of random frames")
    parser.add_argument("--checkpoint", help="weights (default: those that come along)")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("overrides", nargs="*", help="settings, as test.short_side=256")
    args = parser.parse_args()
    davis = open_davis(args.data_root, args.year)
    network = rhmnet.load_model(args.checkpoint, args.overrides)
    ways = {"next_stroke": follow, "even": spread(args.rounds)}
    ways |= {f"random {seed}": at_random(seed) for seed in range(args.seeds)}
    table = {}
    for way, choose in ways.items():
        for name in davis.names():
            scores, frames = study(davis, name, choose, args.rounds, network)
            table.setdefault(way, {})[name] = {"J&F": scores, "frames": frames}
            print(f"{way:12s} {name:12s} {_percent(scores)}  frames {frames}", flush=True)
        mean = np.mean([row["J&F"] for row in table[way].values()], axis=0)
        print(f"{way:12s} {'mean':12s} {_percent(mean)}", flush=True)
    if args.json:
        write_json(args.json, table)


def _percent(scores: list[float]) -> str:
    return " ".join(f"{100 * score:5.1f}" for score in scores)


if __name__ == "__main__":
    run_command(main)
