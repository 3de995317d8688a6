"""An evaluation's videos, shared out among processes: check the input, track, score beside it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tqdm import tqdm

from rhmnet.data.sources import Prompt
from rhmnet.errors import shown
from rhmnet.evaluation.manifest import Manifest, fingerprint, prepare_folder, publish, unfinished
from rhmnet.evaluation.overlays import write_overlays
from rhmnet.evaluation.tracking import VideoFiles, VideoTracker, check_size, track_video
from rhmnet.files.images import read_image


class Team(Protocol):
    """The processes that share the videos; `rhmnet.runtime.processes.Processes` is one."""

    rank: int
    size: int

    def gather(self, value: Any) -> list[Any]:
        """All processes' values on rank 0, [] elsewhere."""

    def wait(self) -> None:
        """Return when all processes are here."""


class Task(NamedTuple):
    """One video, tracked from one set of strokes."""

    group: int
    """Number of the scribble set; 0 where there is one alone."""
    video: VideoFiles

    @property
    def key(self) -> tuple[int, str]:
        """What a result is known by."""
        return self.group, self.video.name


@dataclass(frozen=True, kw_only=True)
class SharedEvaluation(ABC):
    """What the evaluations on DAVIS and YouTube-VOS have in common."""

    names: Sequence[str]
    """The videos."""
    folder: Path
    """Where tables and overlays go."""
    made_by: dict[str, Any]
    """What masks depend on besides strokes and `options`; see `Manifest`."""
    checkpoint: str | None
    """The file of the weights."""
    with_bg: bool = False
    overlay: bool = False
    overwrite: bool = False
    width: int | None = None
    """Wider frames are tracked at this width, pixels."""

    @abstractmethod
    def masks(self, group: int) -> Path:
        """The folder of one scribble set's masks, `<video>/<frame>.png` in it."""

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """What masks depend on besides the network."""

    @abstractmethod
    def prompt(self, task: Task) -> Prompt:
        """Read what a video is started from. Raises InputError."""

    @abstractmethod
    def score(self, task: Task) -> Any:
        """Score the finished masks of a video."""

    def track(
        self, tasks: Sequence[Task], new_tracker: Callable[[], VideoTracker], team: Team
    ) -> dict[tuple[int, str], Any]:
        """Track what is not there yet and score everything: {(group, video): its score}.

        All processes call it; rank 0 gets the scores, the others {}. All strokes and the frames
        they lie on are checked before anything is tracked. Raises InputError.
        """
        prompts = self._check(tasks)
        # as it will be read: tuples are lists
        made_by = json.loads(json.dumps({**self.made_by, "options": self.options()}))
        manifests = {}
        for group in dict.fromkeys(task.group for task in tasks):
            of_group = {t.video.name: prompts[t.key] for t in tasks if t.group == group}
            manifests[group] = Manifest(made_by, of_group, self.checkpoint)
            if team.rank == 0:
                prepare_folder(self.masks(group), manifests[group], self.overwrite)
        team.wait()
        # Longest first, so that the processes end at about the same time.
        ordered = sorted(tasks, key=lambda task: -len(task.video.frames))
        parts = team.gather(
            self._run_tasks(ordered[team.rank :: team.size], manifests, new_tracker(), team)
        )
        return {key: score for part in parts for key, score in part.items()}

    def _run_tasks(
        self,
        tasks: Sequence[Task],
        manifests: dict[int, Manifest],
        tracker: VideoTracker,
        team: Team,
    ) -> dict[tuple[int, str], Any]:
        """{(group, video): score}; a thread scores each video while the next is tracked."""
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
                video, masks = task.video, self.masks(task.group)
                folder = masks / video.name
                bar.set_description(shown(f"{video.name} g{task.group}"))
                prompt = self.prompt(task)
                with unfinished(masks, video.name) as partial:
                    if partial is None:
                        bar.update(len(video.frames))
                    else:
                        track_video(tracker, video, prompt, partial, bar.update, self.width)
                        publish(masks, video.name, partial, manifests[task.group])
                scores[task.key] = scorer.submit(self._finish, task, prompt, folder)
            return {key: future.result() for key, future in scores.items()}

    def _finish(self, task: Task, prompt: Prompt, folder: Path) -> Any:
        score = self.score(task)
        if self.overlay:
            overlays = self.folder / f"overlays_g{task.group}"
            write_overlays(task.video, prompt, folder, overlays)
        return score

    def _check(self, tasks: Sequence[Task]) -> dict[tuple[int, str], str]:
        """Look at every prompt against its frames; returns the prompts' fingerprints."""
        fingerprints = {}
        first_image, first_path = None, None
        for task in sorted(tasks, key=lambda task: task.video.name):
            prompt = self.prompt(task)
            if task.video.frames[0] != first_path:
                first_path = task.video.frames[0]
                first_image = read_image(first_path)
            check_size(first_path, first_image, prompt)
            fingerprints[task.key] = fingerprint(prompt.paths)
        return fingerprints
