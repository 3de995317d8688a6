"""The DAVIS evaluation: check the input, track what is missing, score beside it, gather."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from tqdm import tqdm

from rhmnet.data.files import read_image
from rhmnet.evaluation.davis import Davis, Reading, Video
from rhmnet.evaluation.manifest import Manifest, fingerprint, prepare_folder
from rhmnet.evaluation.overlays import write_overlays
from rhmnet.evaluation.prompts import Prompt, read_prompt
from rhmnet.evaluation.report import VideoScores, forget_report
from rhmnet.evaluation.scoring import score_video
from rhmnet.evaluation.tracking import VideoTracker, check_size, track_video


class Team(Protocol):
    """The processes that share the videos; `rhmnet.training.distributed.Processes` is one."""

    rank: int
    size: int

    def gather(self, value: Any) -> list[Any]:
        """All processes' values on rank 0, [] elsewhere."""

    def wait(self) -> None:
        """Return when all processes are here."""


class Task(NamedTuple):
    """One video, started from one scribble set."""

    group: int
    video: Video


@dataclass(frozen=True)
class Evaluation:
    """One run over scribble sets and videos."""

    davis: Davis
    names: Sequence[str]
    groups: Sequence[int]
    """Numbers of the scribble sets."""
    folder: Path
    """Masks go to `<folder>_g<group>/<video>/<frame>.png`, the rest into the folder itself."""
    made_by: dict[str, Any]
    """What masks depend on besides strokes and the options below; see `Manifest`."""
    checkpoint: str | None
    reading: Reading
    with_bg: bool = False
    mask_init: bool = False
    overlay: bool = False
    overwrite: bool = False

    def masks(self, group: int) -> Path:
        """The folder of one scribble set's masks."""
        return self.folder.with_name(f"{self.folder.name}_g{group}")

    def describe(self) -> dict[str, Any]:
        """What was run, for the head of a report."""
        return {
            "year": self.davis.year,
            "set": self.davis.split,
            "videos": list(self.names),
            "reading": self.reading.value,
            "with_bg": self.with_bg,
            "mask_init": self.mask_init,
        }

    def run(self, new_tracker: Callable[[], VideoTracker], team: Team) -> dict[str, VideoScores]:
        """Track what is not there yet and score everything: {`scribbles <group>`: scores}.

        All processes call it; rank 0 gets the scores, the others {}. All strokes and first frames
        are checked before anything is tracked. Raises InputError.
        """
        videos = [self.davis.video(name) for name in self.names]
        tasks = [Task(group, video) for group in self.groups for video in videos]
        prompts = self._check(tasks)
        if team.rank == 0:
            forget_report(self.folder)
            for group in self.groups:
                of_group = {t.video.name: prompts[t] for t in tasks if t.group == group}
                manifest = Manifest(self._made_by(), of_group, self.checkpoint)
                prepare_folder(self.masks(group), manifest, self.overwrite)
        team.wait()
        # Longest first, so that the processes end at about the same time.
        tasks.sort(key=lambda task: -len(task.video.frames))
        parts = team.gather(self._run_tasks(tasks[team.rank :: team.size], new_tracker(), team))
        scores = {key: values for part in parts for key, values in part.items()}
        if team.rank > 0:
            return {}
        return {
            f"scribbles {group}": {name: scores[group, name] for name in self.names}
            for group in self.groups
        }

    def _run_tasks(
        self, tasks: Sequence[Task], tracker: VideoTracker, team: Team
    ) -> dict[tuple[int, str], np.ndarray]:
        """{(group, video): scores}; a thread scores each video while the next is tracked."""
        with (
            ThreadPoolExecutor(1) as scorer,
            tqdm(
                total=sum(len(task.video.frames) for task in tasks),
                unit="frame",
                disable=team.rank > 0,
            ) as bar,
        ):
            scores = {}
            for task in tasks:
                for score in scores.values():
                    if score.done():
                        score.result()  # an error is raised now, not after hours of tracking
                folder = self.masks(task.group) / task.video.name
                bar.set_description(f"{task.video.name} g{task.group}")
                prompt = self._prompt(task)
                if folder.is_dir():
                    bar.update(len(task.video.frames))
                else:
                    track_video(tracker, task.video, prompt, folder, on_frame=bar.update)
                key = task.group, task.video.name
                scores[key] = scorer.submit(self._finish, task, prompt, folder)
            return {key: future.result() for key, future in scores.items()}

    def _finish(self, task: Task, prompt: Prompt, folder: Path) -> np.ndarray:
        if self.overlay:
            overlays = self.folder / f"overlays_g{task.group}"
            write_overlays(task.video, prompt, folder, overlays)
        return score_video(self.davis, task.video, folder, self.reading)

    def _check(self, tasks: Sequence[Task]) -> dict[Task, str]:
        """Look at every prompt against its first frame; returns the prompts' fingerprints."""
        first_frames = {task.video: read_image(task.video.frames[0]) for task in tasks}
        fingerprints = {}
        for task in tasks:
            prompt = self._prompt(task)
            check_size(task.video.frames[0], first_frames[task.video], prompt)
            fingerprints[task] = fingerprint([prompt.path])
        return fingerprints

    def _prompt(self, task: Task) -> Prompt:
        return read_prompt(
            self.davis,
            task.video,
            task.group,
            with_bg=self.with_bg,
            mask_init=self.mask_init,
        )

    def _made_by(self) -> dict[str, Any]:
        options = {"with_bg": self.with_bg, "mask_init": self.mask_init}
        return {**self.made_by, "options": options}
