"""A score of the network while it is being trained: J&F on the DAVIS validation videos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rhmnet.config import Config
from rhmnet.data.davis import DavisError, open_davis
from rhmnet.errors import InputError
from rhmnet.evaluation.report import build_report, write_report
from rhmnet.evaluation.runner import Evaluation
from rhmnet.evaluation.scoring import reading_of
from rhmnet.evaluation.sharing import Task, Team
from rhmnet.model import RHMNet
from rhmnet.tracker import Tracker

_GROUP = 0
"""One scribble set is enough to compare epochs."""


def davis_validation(config: Config, folder: Path) -> Callable[[RHMNet, Team], float | None] | None:
    """The validation that a run calls every `train.eval_every` epochs; None where it never does.

    It tracks `val` of the DAVIS folder under data.root from its scribble set 0, shared out among
    the processes, leaves masks and scores in `folder`, and returns J&F on the main process.
    Raises InputError where a video or its strokes cannot be used: now, not after an epoch.
    """
    if config.train.eval_every == 0:
        return None
    try:
        evaluation = _open(config, folder)
    except InputError as error:
        found = error.found if isinstance(error, DavisError) else str(error)
        raise InputError(
            f"validation: {found}; data.root is the folder that holds DAVIS, or set "
            "train.eval_every=0 to train without validation"
        ) from None

    def validate(model: RHMNet, team: Team) -> float | None:
        scores = evaluation.run(lambda: Tracker(model, config), team)
        if not scores:
            return None
        report = build_report(evaluation.describe(), scores)
        write_report(report, folder)
        return report["mean"]["J&F-Mean"]

    return validate


def _open(config: Config, folder: Path) -> Evaluation:
    """Find the videos and read what each is started from. Raises InputError."""
    davis = open_davis(Path(config.data.root) / "DAVIS")
    evaluation = Evaluation(
        davis=davis,
        names=davis.names(),
        groups=[_GROUP],
        folder=folder,
        made_by={"weights": "of a run that goes on"},
        checkpoint=None,
        reading=reading_of(davis.year, "merged"),
        overwrite=True,
    )
    for name in evaluation.names:
        evaluation.prompt(Task(_GROUP, davis.video(name)))
    return evaluation
