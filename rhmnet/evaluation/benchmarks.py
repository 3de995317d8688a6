"""The evaluations on DAVIS and YouTube-VOS, their options, and the score of a run in training.

DAVIS: every video from every scribble set, scored like the official package. YouTube-VOS: objects
that appear late, scores where there are dense masks, and the zip that the server takes.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np

from rhmnet.checkpoint import DEFAULT_CONFIG
from rhmnet.config import Config
from rhmnet.data import Prompt
from rhmnet.data.davis import DAVIS, Davis, DavisError, open_davis, read_prompt
from rhmnet.data.youtube import YoutubeVos, read_late_prompt
from rhmnet.errors import InputError, short
from rhmnet.evaluation import (
    ObjectScores,
    Reading,
    check_complete,
    reading_of,
    score_objects,
    score_video,
)
from rhmnet.evaluation.manifest import videos_in
from rhmnet.evaluation.report import VideoScores, build_report, forget_report, write_report
from rhmnet.evaluation.tracking import Evaluation, Task
from rhmnet.files.writing import new_file, remove
from rhmnet.model import RHMNet
from rhmnet.runtime import CommandParser, whole
from rhmnet.runtime.processes import Processes
from rhmnet.tracker import Tracker

_CONFIG = (
    "name under configs/, or a YAML file: names the run, holds test.*, and all else where weights "
    f"carry no configuration (default: what they carry, else {DEFAULT_CONFIG})"
)
_LAST = (
    " (default: the last; --checkpoint names another file)",
    " (default: `--checkpoint small`)",
)
_CHECKPOINT = (
    "a file of weights instead; `small` for the network that comes with the project, `random` for "
    "the untrained one"
)
_DAVIS16 = "how DAVIS-2016 is scored: all objects merged (standard), or the release's object 1"
_MASKS = "Annotations"
"""What the server's zip calls the folder of masks."""
_VALIDATED = 0
"""The scribble set of a validation: one is enough to compare epochs."""


@dataclass(frozen=True, kw_only=True)
class DavisEvaluation(Evaluation):
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

    def run(self, new_tracker: Callable[[], Tracker], team: Processes) -> dict[str, VideoScores]:
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


@dataclass(frozen=True, kw_only=True)
class YoutubeEvaluation(Evaluation):
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

    def run(self, new_tracker: Callable[[], Tracker], team: Processes) -> list[ObjectScores]:
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
        """Write the server's zip if the masks of all videos are there; returns what was done.

        The same masks give the same bytes, whenever they were written.
        """
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
        # PNGs don't shrink any further.
        with new_file(self.zip_path) as file, ZipFile(file, "w", ZIP_STORED) as archive:
            for mask in sorted(masks):
                entry = ZipInfo(mask.relative_to(self.folder).as_posix())  # dated 1980
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, mask.read_bytes())
        return f"wrote {self.zip_path} for the server: {len(masks)} masks of {len(names)} videos"


def davis_validation(
    config: Config, folder: Path
) -> Callable[[RHMNet, Processes], float | None] | None:
    """The validation that a run calls every `train.eval_every` epochs; None where it never does.

    It tracks `val` of the DAVIS folder under data.root from its scribble set 0, shared out among
    the processes, leaves masks and scores in `folder`, and returns J&F on the main process.
    Raises InputError where a video or its strokes cannot be used: now, not after an epoch.
    """
    if config.train.eval_every == 0:
        return None
    try:
        evaluation = _open_validation(config, folder)
    except InputError as error:
        found = error.found if isinstance(error, DavisError) else str(error)
        raise InputError(
            f"validation: {found}; data.root is the folder that holds DAVIS, or set "
            "train.eval_every=0 to train without validation"
        ) from None

    def validate(model: RHMNet, team: Processes) -> float | None:
        scores = evaluation.run(lambda: Tracker(model, config), team)
        if not scores:
            return None
        report = build_report(evaluation.describe(), scores)
        write_report(report, folder)
        return report["mean"]["J&F-Mean"]

    return validate


def _open_validation(config: Config, folder: Path) -> DavisEvaluation:
    """Find the videos and read what each is started from. Raises InputError."""
    davis = open_davis(Path(config.data.root) / DAVIS)
    evaluation = DavisEvaluation(
        davis=davis,
        names=davis.names(),
        groups=[_VALIDATED],
        folder=folder,
        made_by={"weights": "of a run that goes on"},
        checkpoint=None,
        reading=reading_of(davis.year, "merged"),
        overwrite=True,
    )
    for name in evaluation.names:
        evaluation.prompt(Task(_VALIDATED, davis.video(name)))
    return evaluation


def davis_parser(description: str, small: bool = False) -> CommandParser:
    """The options that whatever is evaluated on DAVIS has.

    small: whether the network is the project's own where none is named, and not the last epoch.
    """
    parser = evaluation_parser(
        description, "the DAVIS folder (default: DAVIS under data.root)", small
    )
    add = parser.add_argument
    add("--set", default="val", help="list of videos (default val)")
    add("--year", help="16 or 17 (default: the newest whose list is there)")
    add("--davis16", choices=("merged", "object1"), default="merged", help=_DAVIS16)
    return parser


def evaluation_parser(description: str, data_root: str, small: bool = False) -> CommandParser:
    """The options that all evaluations have."""
    parser = CommandParser(settings=True, description=description)
    add = parser.add_argument
    add(
        "--opts",
        nargs="*",
        default=[],
        metavar="group.field=value",
        help="settings (as the release has it)",
    )
    add("--gpu", type=whole(0, 1023), default=0, help="number of the CUDA device (default 0)")
    add("--device", help="auto, cpu, cuda, cuda:N or mps, instead of --gpu")
    add("--config", help=_CONFIG)
    add("--ckpt_num", help=f"epoch of checkpoints/pretrain_weights_<config>{_LAST[small]}")
    add("--checkpoint", metavar="FILE", help=_CHECKPOINT)
    add("--start", type=whole(0, 10**9), help="first video of the list, counted from 0")
    add("--end", type=whole(0, 10**9), help="video of the list to stop before")
    add("--video_name", help="this video alone")
    add("--with_bg", action="store_true", help="use the background strokes too")
    add("--data-root", help=data_root)
    add("--save_path", type=Path, default=Path("results"), help="default: results")
    add("--overlay", action="store_true", help="draw masks over the frames, too")
    add("--overwrite", action="store_true", help="make masks anew that are there already")
    return parser


def parse(parser: CommandParser) -> argparse.Namespace:
    """Read the command line; overrides are one list, wherever they stood."""
    args = parser.parse_args()
    args.overrides += args.opts
    return args


def choose_groups(davis: Davis, text: str | None, mask_init: bool) -> list[int]:
    """Numbers of the scribble sets to run: `0,2`, `0-4`, or those that exist.

    A dense mask needs no strokes: it is one run, called 0.
    """
    if mask_init:
        return [0]
    there = davis.groups()
    if not there:
        raise InputError(
            f"{davis.root}: no valid_scribbles0..4 in it; put the scribble sets there, make some "
            "with scripts/make_scribbles.py, or start from masks with --mask_init"
        )
    if text is None:
        return there
    groups = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,4})\s*(?:-\s*([0-9]{1,4})\s*)?", part)
        if not match:
            raise InputError(
                f"--groups {short(text)}: expected numbers of up to 4 digits, as in 0,2 or 0-4"
            )
        groups += range(int(match[1]), int(match[2] or match[1]) + 1)
    missing = [g for g in groups if g not in there]
    if missing or not groups:
        raise InputError(
            f"--groups {short(text)}: there are only the sets {', '.join(map(str, there))} in "
            f"{davis.root}"
        )
    return sorted(set(groups))
