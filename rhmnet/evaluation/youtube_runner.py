"""The YouTube-VOS evaluation: objects that appear late, scores where there are dense masks."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rhmnet.data.sources import Prompt
from rhmnet.data.youtube import Object, YoutubeVideo, YoutubeVos, read_late_prompt
from rhmnet.errors import InputError
from rhmnet.evaluation.manifest import videos_in
from rhmnet.evaluation.metrics import frame_scores
from rhmnet.evaluation.report import forget_report
from rhmnet.evaluation.scoring import check_complete, read_prediction
from rhmnet.evaluation.sharing import SharedEvaluation, Task, Team
from rhmnet.evaluation.tracking import VideoTracker
from rhmnet.files.label_maps import read_labels
from rhmnet.files.writing import new_file, remove

_MASKS = "Annotations"
"""What the server's zip calls the folder of masks."""


class ObjectScores(NamedTuple):
    """J and F of one object."""

    video: str
    object: Object
    values: np.ndarray
    """float64 [2, T]: every frame of meta.json after the one at which the object appears."""


@dataclass(frozen=True, kw_only=True)
class YoutubeEvaluation(SharedEvaluation):
    """One run over videos; masks go to `<folder>/Annotations/<video>/<frame>.png`."""

    tree: YoutubeVos

    def masks(self, group: int = 0) -> Path:
        return self.folder / _MASKS

    @property
    def zip_path(self) -> Path:
        """The file for the server."""
        return self.folder / f"{self.folder.name}.zip"

    def options(self) -> dict[str, Any]:
        return {
            "with_bg": self.with_bg,
            "size": self.width,
            "all_frames": self.tree.all_frames,
        }

    def describe(self) -> dict[str, Any]:
        """What was run, for the head of a report."""
        return {"part": self.tree.part, "videos": list(self.names), **self.options()}

    def run(self, new_tracker: Callable[[], VideoTracker], team: Team) -> list[ObjectScores]:
        """Track what is not there yet; score the videos that have dense annotations.

        All processes call it; rank 0 gets the scores of every object, the others []. Raises
        InputError.
        """
        tasks = [Task(0, self.tree.video(name)) for name in self.names]
        if team.rank == 0:
            forget_report(self.folder)
            remove(self.zip_path)
        scores = self.track(tasks, new_tracker, team)
        return [score for name in self.names for score in scores.get((0, name), ())]

    def prompt(self, task: Task) -> Prompt:
        return read_late_prompt(self.tree, task.video, with_bg=self.with_bg, width=self.width)

    def score(self, task: Task) -> list[ObjectScores]:
        folder = self.masks() / task.video.name
        check_complete(task.video.name, [p.stem for p in task.video.masked], folder)
        return score_objects(task.video, folder)

    def pack(self) -> str:
        """Write the server's zip if the masks of all videos are there; returns what was done."""
        there, names = videos_in(self.masks()), self.tree.names()
        missing = [name for name in names if name not in there]
        if missing:
            return (
                f"no zip yet: {len(missing)} of {len(names)} videos are not tracked, the first of "
                f"them {missing[0]}"
            )
        masks = []
        for name in names:
            frames = [path.stem for path in self.tree.video(name).masked]
            check_complete(name, frames, self.masks() / name)
            masks += [self.masks() / name / f"{frame}.png" for frame in frames]
        write_zip(self.zip_path, self.folder, masks)
        return f"wrote {self.zip_path} for the server: {len(masks)} masks of {len(names)} videos"


def score_objects(video: YoutubeVideo, folder: Path) -> list[ObjectScores]:
    """J and F of a video's masks, object by object; none without dense annotations.

    folder: holds `<frame>.png`. Raises InputError that names a file with labels out of range.
    """
    if not video.annotations:
        return []
    scores = np.stack([_score_frame(video, path, folder) for path in video.annotations], axis=-1)
    frames = [path.stem for path in video.annotations]  # in order
    return [
        ObjectScores(video.name, item, scores[:, item.number - 1, frames.index(item.first) + 1 :])
        for item in video.objects
    ]


def _score_frame(video: YoutubeVideo, path: Path, folder: Path) -> np.ndarray:
    """float64 [2, N]."""
    annotation = read_labels(path)
    largest = int(annotation.max())
    if largest > video.num_objects:
        raise InputError(
            f"{path}: label {largest}, but meta.json lists objects up to {video.num_objects}; "
            "expected a label map of these objects, 0 elsewhere"
        )
    predicted = read_prediction(folder / path.name, annotation.shape, video.num_objects)
    return frame_scores(predicted, annotation, video.num_objects)


def write_zip(path: str | Path, folder: Path, masks: Iterable[Path]) -> None:
    """Pack masks, by their names inside `folder`; the same masks give the same bytes.

    Moved into place when whole.
    """
    # PNGs don't shrink any further.
    with new_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for mask in sorted(masks):
            name = mask.relative_to(folder).as_posix()
            entry = zipfile.ZipInfo(name)  # dated 1980, whenever the mask was written
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, mask.read_bytes())
