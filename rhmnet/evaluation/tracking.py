"""Track one video into a folder of masks, reading ahead and writing behind in threads."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

import numpy as np

from rhmnet.data.sources import Prompt
from rhmnet.errors import InputError
from rhmnet.files.concurrency import WriteBehind, read_ahead
from rhmnet.files.images import read_image
from rhmnet.files.label_maps import write_mask
from rhmnet.inputs import capped_size, resize_image, resize_labels
from rhmnet.tracked_frame import TrackedFrame

_DEPTH = 8  # frames read ahead, and masks not yet written, at most


class VideoTracker(Protocol):
    """What is asked of a tracker; `rhmnet.Tracker` does it."""

    def start(
        self, image: np.ndarray, scribble: np.ndarray, num_objects: int | None = None
    ) -> TrackedFrame:
        """Begin a video."""

    def step(self, image: np.ndarray, scribble: np.ndarray | None = None) -> TrackedFrame:
        """Predict its next frame, on which objects may appear."""


class VideoFiles(Protocol):
    """A video of a benchmark."""

    name: str
    frames: Sequence[Path]
    """The frames to be tracked through, in order; the first has a prompt."""

    @property
    def masked(self) -> Sequence[Path]:
        """The frames whose masks are wanted."""


def track_video(
    tracker: VideoTracker,
    video: VideoFiles,
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
        for path, image in frames:
            if path == video.frames[0]:
                scribble = resize_labels(prompt.scribble, size)
                out = tracker.start(image, scribble, num_objects=prompt.num_objects)
            elif path.stem in prompt.later:
                scribble = resize_labels(prompt.later[path.stem].scribble, size)
                out = tracker.step(image, scribble)
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
