"""Track one video into a folder of masks, reading ahead and writing behind in threads."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np

from rhmnet.data.files import read_image
from rhmnet.errors import InputError
from rhmnet.evaluation.davis import Video
from rhmnet.evaluation.prompts import Prompt
from rhmnet.evaluation.results import write_mask
from rhmnet.structures import TrackedFrame

_DEPTH = 8  # frames read ahead, and masks not yet written, at most


class VideoTracker(Protocol):
    """What is asked of a tracker; `rhmnet.Tracker` does it."""

    def start(
        self, image: np.ndarray, scribble: np.ndarray, num_objects: int | None = None
    ) -> TrackedFrame:
        """Begin a video."""

    def step(self, image: np.ndarray) -> TrackedFrame:
        """Predict its next frame."""


def track_video(
    tracker: VideoTracker,
    video: Video,
    prompt: Prompt,
    folder: Path,
    on_frame: Callable[[], object] = lambda: None,
) -> None:
    """Write `folder/<frame>.png` for every frame of a video.

    The folder gets its name when all masks are in it; what an error leaves half done is removed.
    on_frame: called after each frame. Raises InputError that names a frame that can't be used.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            writes = deque()
            for path, image in _read_ahead(reader, video.frames):
                check_size(path, image, prompt)
                if path == video.frames[0]:
                    out = tracker.start(image, prompt.scribble, num_objects=prompt.num_objects)
                else:
                    out = tracker.step(image)
                labels = out.labels.cpu().numpy()
                writes.append(writer.submit(write_mask, partial / f"{path.stem}.png", labels))
                if len(writes) > _DEPTH:
                    writes.popleft().result()
                on_frame()
            for write in writes:
                write.result()
        os.replace(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _read_ahead(reader: Executor, paths: Sequence[Path]) -> Iterator[tuple[Path, np.ndarray]]:
    """Images in order; the next few are decoded meanwhile."""
    pending = deque()
    for path in paths:
        pending.append((path, reader.submit(read_image, path)))
        if len(pending) > _DEPTH:
            first, image = pending.popleft()
            yield first, image.result()
    for first, image in pending:
        yield first, image.result()


def check_size(path: Path, image: np.ndarray, prompt: Prompt) -> None:
    """Raise InputError that names the frame if it is of another size than its strokes."""
    if image.shape[:2] != prompt.scribble.shape:
        height, width = prompt.scribble.shape
        raise InputError(
            f"{path}: {image.shape[1]}x{image.shape[0]} pixels, but {prompt.path} has "
            f"{width}x{height}; frames, annotations and strokes must be of one size"
        )
