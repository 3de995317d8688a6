"""Track a benchmark's videos with a network: which one, the videos shared out, scores beside it.

Frames are read ahead and masks written behind in threads; a thread scores each video while the next
is tracked.
"""

from __future__ import annotations

import argparse
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from tqdm import tqdm

from rhmnet.checkpoint import (
    DEFAULT_CONFIG,
    Loaded,
    epoch_path,
    epochs_in,
    open_model,
    run_folder,
    run_name,
    size_of,
)
from rhmnet.config import Config, load_config
from rhmnet.data import Prompt
from rhmnet.data.davis import DavisVideo
from rhmnet.data.youtube import YoutubeVideo
from rhmnet.errors import InputError, say, shown
from rhmnet.evaluation.manifest import Manifest, fingerprint, prepare_folder, publish, unfinished
from rhmnet.files.concurrency import WriteBehind, read_ahead
from rhmnet.files.images import read_image, read_labels, resize_image, write_mask
from rhmnet.files.writing import write_encoded
from rhmnet.inputs import capped_size, resize_labels
from rhmnet.model import RHMNet, build_model
from rhmnet.runtime.processes import Processes, read_launcher
from rhmnet.tracker import Tracker
from rhmnet.visualize import contact_sheet, overlay

BenchmarkVideo = DavisVideo | YoutubeVideo
_DEPTH = 8  # frames read ahead, and masks not yet written, at most
_SHEET_FRAMES = 5
_RANDOM = ("random", "none")


class Network(NamedTuple):
    """What is evaluated."""

    model: RHMNet
    config: Config
    name: str
    """Of the configuration and the epoch, as the release names its results."""
    checkpoint: Path | None
    """None: untrained."""
    which: str

    def describe(self, device: torch.device) -> str:
        """One line: which network runs, where, at which size, and how to name another."""
        size = size_of(self.config)
        return f"network: {self.which}, {size} on {device}; --checkpoint FILE names another"


def choose_network(args: argparse.Namespace, small: bool = False) -> Network:
    """The network that --checkpoint, --ckpt_num, --config and settings name.

    small: without any of the first two it is the one that comes with the project; otherwise it is
    the last epoch of --config's training, as in the release. `random` names the untrained one.
    """
    if args.checkpoint in _RANDOM:
        config = load_config(args.config or DEFAULT_CONFIG, args.overrides)
        stem = Path(args.config or DEFAULT_CONFIG).stem
        return Network(build_untrained(config), config, f"{stem}_random", None, "untrained")
    path = args.checkpoint
    if path is None and (args.ckpt_num is not None or not small):
        path = find_epoch(args.config or DEFAULT_CONFIG, args.ckpt_num)
    found = open_model(path, args.overrides, args.config)
    name = f"{_name(args.config, found)}_{found.epoch}"
    return Network(found.model, found.config, name, found.path, found.which())


def _name(config: str | None, found: Loaded) -> str:
    """What masks of a network are called: by its configuration, or else by its file."""
    if config is not None:
        return Path(config).stem
    if (run := run_name(found.path.parent)) is not None:
        return run
    return found.path.name.split(".")[0] if found.carries_config else DEFAULT_CONFIG


def build_untrained(config: Config) -> RHMNet:
    """The network before training: the same one every time."""
    torch.manual_seed(config.train.seed)
    return build_model(config)


def choose_device(device: str | None, gpu: int) -> str:
    """--device, or CUDA device --gpu where there is CUDA, else the CPU, saying so."""
    if device:
        return device
    if not torch.cuda.is_available():
        if read_launcher().rank == 0:
            say(f"--gpu {gpu}: there is no CUDA device; running on the CPU")
        return "cpu"
    # Under a launcher each process takes the GPU of its own number.
    return "cuda" if read_launcher().size > 1 else f"cuda:{gpu}"


def find_epoch(config_name: str, epoch: str | None) -> Path:
    """The weights that training wrote for a configuration after `epoch`, or after the last one.

    Raises InputError that says how to get weights where there are none.
    """
    folder = run_folder(Path("checkpoints"), Path(config_name).stem)
    path = epoch_path(folder, epoch or next(iter(epochs_in(folder).values()), "*"))
    if not path.is_file():
        raise InputError(
            f"checkpoint {path}: no such file; make it with train_video.py --config {config_name}, "
            "put the authors' there (README), or give --checkpoint FILE (`small`: the network that "
            "comes with the project; `random`: untrained)"
        )
    return path


class Task(NamedTuple):
    """One video, tracked from one set of strokes."""

    group: int
    """Number of the scribble set; 0 where there is one alone."""
    video: BenchmarkVideo

    @property
    def key(self) -> tuple[int, str]:
        """What a result is known by."""
        return self.group, self.video.name


@dataclass(frozen=True, kw_only=True)
class Evaluation(ABC):
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
        self, tasks: Sequence[Task], new_tracker: Callable[[], Tracker], team: Processes
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
        tracker: Tracker,
        team: Processes,
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


def track_video(
    tracker: Tracker,
    video: BenchmarkVideo,
    prompt: Prompt,
    folder: Path,
    on_frame: Callable[[], object] = lambda: None,
    width: int | None = None,
) -> None:
    """Write `folder/<frame>.png` for every frame of a video whose mask is wanted.

    on_frame: called after each frame. width: wider frames are tracked at this width, in pixels;
    masks have the frames' own size all the same.
    Raises InputError that names a frame that can't be used.
    """
    full_size = prompt.scribble.shape
    size = capped_size(full_size, width)
    masked = set(video.masked)

    def read() -> Generator[tuple[Path, np.ndarray], None, None]:
        for path in video.frames:
            image = read_image(path)
            check_size(path, image, prompt)
            yield path, resize_image(image, size)

    def write(path: Path, labels: np.ndarray) -> None:
        write_mask(folder / f"{path.stem}.png", resize_labels(labels, full_size))

    with WriteBehind(1, _DEPTH) as writer, closing(read_ahead(read(), _DEPTH)) as frames:
        for index, (path, image) in enumerate(frames):
            strokes = prompt.strokes_on(index, path)
            if index == 0:
                strokes = resize_labels(strokes, size)
                out = tracker.start(image, strokes, num_objects=prompt.num_objects)
            elif strokes is not None:
                out = tracker.step(image, resize_labels(strokes, size))
            else:
                out = tracker.step(image)
            if path in masked:
                writer.submit(write, path, out.labels.cpu().numpy())
            on_frame()


def check_size(path: Path, image: np.ndarray, prompt: Prompt) -> None:
    """Raise InputError that names the frame if it is of another size than its strokes."""
    if image.shape[:2] != prompt.scribble.shape:
        height, width = prompt.scribble.shape
        raise InputError(
            f"{path}: {image.shape[1]}x{image.shape[0]} pixels, but {prompt.path} has "
            f"{width}x{height}; frames, annotations and strokes must be of one size"
        )


def write_overlays(video: BenchmarkVideo, prompt: Prompt, masks: Path, folder: Path) -> None:
    """Write `folder/<video>/<frame>.jpg` and `folder/<video>.jpg`, a sheet of a few of them.

    masks: the folder of the video's masks. Strokes are drawn where there are any.
    """
    picked = np.linspace(0, len(video.masked) - 1, _SHEET_FRAMES).round().astype(int)
    pictures = {}
    for index, path in enumerate(video.masked):
        labels = read_labels(masks / f"{path.stem}.png")
        picture = overlay(read_image(path), labels, prompt.strokes_on(index, path))
        _write_picture(folder / video.name / f"{path.stem}.jpg", picture)
        if index in picked:
            pictures[path.stem] = picture
    captions = [f"{video.name} {stem}" for stem in pictures]
    _write_picture(folder / f"{video.name}.jpg", contact_sheet(list(pictures.values()), captions))


def _write_picture(path: Path, picture: np.ndarray) -> None:
    write_encoded(path, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
