"""The DAVIS evaluation: every video from every scribble set, scored like the official package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rhmnet.data.davis import Davis, read_prompt
from rhmnet.data.sources import Prompt
from rhmnet.evaluation.report import VideoScores, forget_report
from rhmnet.evaluation.scoring import Reading, score_video
from rhmnet.evaluation.sharing import SharedEvaluation, Task, Team
from rhmnet.evaluation.tracking import VideoTracker


@dataclass(frozen=True, kw_only=True)
class Evaluation(SharedEvaluation):
    """One run over scribble sets and videos.

    Masks go to `<folder>_g<group>/<video>/<frame>.png`, the rest into the folder itself.
    """

    davis: Davis
    groups: Sequence[int]
    """Numbers of the scribble sets."""
    reading: Reading
    mask_init: bool = False

    def masks(self, group: int) -> Path:
        return self.folder.with_name(f"{self.folder.name}_g{group}")

    def options(self) -> dict[str, Any]:
        return {"with_bg": self.with_bg, "mask_init": self.mask_init}

    def describe(self) -> dict[str, Any]:
        """What was run, for the head of a report."""
        return {
            "year": self.davis.year,
            "set": self.davis.split,
            "videos": list(self.names),
            "reading": self.reading.value,
            **self.options(),
        }

    def run(self, new_tracker: Callable[[], VideoTracker], team: Team) -> dict[str, VideoScores]:
        """Track what is not there yet and score everything: {`scribbles <group>`: scores}.

        All processes call it; rank 0 gets the scores, the others {}. Raises InputError.
        """
        videos = [self.davis.video(name) for name in self.names]
        if team.rank == 0:
            forget_report(self.folder)
        tasks = [Task(group, video) for group in self.groups for video in videos]
        scores = self.track(tasks, new_tracker, team)
        if team.rank > 0:
            return {}
        return {
            f"scribbles {group}": {name: scores[group, name] for name in self.names}
            for group in self.groups
        }

    def prompt(self, task: Task) -> Prompt:
        return read_prompt(
            self.davis, task.video, task.group, with_bg=self.with_bg, mask_init=self.mask_init
        )

    def score(self, task: Task) -> np.ndarray:
        folder = self.masks(task.group) / task.video.name
        return score_video(self.davis, task.video, folder, self.reading)
