"""YouTube-VOS: where everything lies, the training videos, and the parts that are evaluated.

    <part>/meta.json                            objects of each video, their categories and frames
    <part>/JPEGImages/<video>/<frame>.jpg
    <part>_all_frames/JPEGImages/...            every frame of the film, as the official archive
    <part>/Annotations/<video>/<frame>.png      label maps
    <part>_scribbles/<video>/<frame>.bmp        of every frame for training, else of those at which
                                                objects first appear; .png as well

<part> is valid, test or train; training reads no meta.json. The official `valid/Annotations` hold
the frames at which objects appear alone; scores need one for every frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rhmnet.data import Appearance, Prompt, VideoScribbles, read_painted, size_text
from rhmnet.errors import InputError
from rhmnet.files import FRAME_SUFFIXES, MAP_SUFFIXES, by_stem, check_name, natural_key
from rhmnet.files.legend import Legend
from rhmnet.files.reading import read_json
from rhmnet.inputs import capped_size, resize_labels
from rhmnet.labels import BACKGROUND, MAX_OBJECTS, UNLABELLED, from_disk

YOUTUBE = "Youtube-VOS"
"""The folder's name under `data.root`."""
FRAME_SPACING = 5
"""Frames of the film from one annotated frame to the next."""
SETS = {"val": "valid", "test": "test", "train-split": "train"}
"""{--set: folder of the tree}; train-split is those training videos that have dense masks."""


@dataclass(frozen=True)
class YoutubeFolder:
    """Where everything lies below a YouTube-VOS folder; `part` is valid, test or train."""

    root: Path

    def meta(self, part: str) -> Path:
        return self.root / part / "meta.json"

    def images(self, part: str) -> Path:
        return self.root / part / "JPEGImages"

    def every_image(self, part: str) -> Path:
        """All frames of the film, which need not be there."""
        return self.root / f"{part}_all_frames" / "JPEGImages"

    def annotations(self, part: str) -> Path:
        return self.root / part / "Annotations"

    def scribbles(self, part: str) -> Path:
        return self.root / f"{part}_scribbles"


def open_youtube_training(root: Path, min_length: int) -> VideoScribbles:
    """The training videos under `root`, the folder that holds `Youtube-VOS`."""
    folder = YoutubeFolder(root / YOUTUBE)
    return VideoScribbles(
        YOUTUBE,
        folder.images("train"),
        folder.scribbles("train"),
        min_length=min_length,
        frame_spacing=FRAME_SPACING,
    )


class Object(NamedTuple):
    """One object of a video."""

    number: int
    category: str | None
    first: str
    """The frame at which it appears, without suffix."""


class YoutubeVideo(NamedTuple):
    """One video's files, in order."""

    name: str
    frames: tuple[Path, ...]
    """Tracked through: from the first annotated frame to the last of meta.json."""
    masked: tuple[Path, ...]
    """Those of meta.json, whose masks are written; all of `frames` unless more were asked for."""
    annotations: tuple[Path, ...]
    """A label map for each of `masked`, or none."""
    objects: tuple[Object, ...]

    @property
    def num_objects(self) -> int:
        """N, the largest number in the video, of objects that appear late included."""
        return max(item.number for item in self.objects)

    def appearances(self) -> dict[str, list[int]]:
        """`appearances_of` its objects."""
        return appearances_of(self.objects)


def appearances_of(objects: Sequence[Object]) -> dict[str, list[int]]:
    """{frame: numbers of the objects that appear there}, in order of frames."""
    frames: dict[str, list[int]] = {}
    for item in sorted(objects, key=lambda item: (natural_key(item.first), item.number)):
        frames.setdefault(item.first, []).append(item.number)
    return frames


@dataclass(frozen=True)
class YoutubeVos(YoutubeFolder):
    """One part of a YouTube-VOS folder. Use `open_youtube_vos`, which checks that it is there."""

    part: str
    """valid, test or train."""
    all_frames: bool = False
    """Track through all images of a video, not through those of meta.json alone."""

    def names(self) -> list[str]:
        """The videos, in alphabetical order."""
        names = sorted(self._videos)
        if self.part == "train":
            dense = self.annotations("train")
            names = [name for name in names if (dense / name).is_dir()]
            if not names:
                raise InputError(
                    f"{dense}: no dense masks of training videos; --set train-split is scored on "
                    "them, --set val is not"
                )
        if not names:
            raise InputError(f"{self._meta_path}: no videos in it; expected at least one")
        return names

    def video(self, name: str) -> YoutubeVideo:
        """Find a video's files. Raises InputError that names what is missing."""
        objects, wanted = self.objects(name)
        folder = self._images / name
        images = by_stem(folder, FRAME_SUFFIXES)
        missing = [frame for frame in wanted if frame not in images]
        if missing:
            raise InputError(
                f"{folder}: {len(missing)} of the {len(wanted)} frames that meta.json lists are "
                f"missing, the first of them {missing[0]}.jpg; restore it"
            )
        masked = tuple(images[frame] for frame in wanted)
        frames = masked
        if self.all_frames:
            # none before the first annotated one, and none after the last that is asked for
            stems = list(images)
            frames = tuple(
                images[s] for s in stems[stems.index(wanted[0]) : stems.index(wanted[-1]) + 1]
            )
        annotations = self._annotations(name, objects, wanted)
        return YoutubeVideo(name, frames, masked, annotations, objects)

    def scribble(self, name: str, frame: str, numbers: list[int]) -> Path:
        """The file with the strokes of the objects that appear at a frame."""
        folder = self.scribbles(self.part) / name
        for suffix in MAP_SUFFIXES:
            path = folder / f"{frame}{suffix}"
            if path.is_file():
                return path
        which = f"object{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
        raise InputError(
            f"{folder / frame}.bmp: no such file; expected the strokes of {which}, appearing there"
        )

    def seen_categories(self) -> set[str] | None:
        """The categories of the training videos (train/meta.json); None where there is no list."""
        path = self.meta("train")
        if not path.is_file():
            return None
        objects = (o for v in _read_meta(path).values() for o in _entries(path, v).values())
        return {entry["category"] for entry in objects if entry.get("category")}

    @cached_property
    def _videos(self) -> dict[str, Any]:
        return _read_meta(self._meta_path)

    @property
    def _meta_path(self) -> Path:
        return self.meta(self.part)

    @property
    def _images(self) -> Path:
        every = self.every_image(self.part)
        return every if self.all_frames and every.is_dir() else self.images(self.part)

    def objects(self, name: str) -> tuple[tuple[Object, ...], list[str]]:
        """A video's objects, and the frames of any of them, in order."""
        where = f"{self._meta_path}: video {name}"
        objects, frames = [], set()
        for key, entry in _entries(where, self._videos[name]).items():
            if not key.isdecimal() or not 1 <= int(key) <= MAX_OBJECTS:
                raise InputError(f"{where}: object {key!r}; expected a number 1..{MAX_OBJECTS}")
            listed = entry.get("frames")
            if not isinstance(listed, list) or not listed:
                raise InputError(
                    f"{where}, object {key}: no frames; expected a list of their names"
                )
            names = [check_name(str(frame), f"{where}, object {key}") for frame in listed]
            objects.append(Object(int(key), entry.get("category"), min(names, key=natural_key)))
            frames.update(names)
        return tuple(sorted(objects)), sorted(frames, key=natural_key)

    def _annotations(
        self, name: str, objects: tuple[Object, ...], wanted: list[str]
    ) -> tuple[Path, ...]:
        """A label map a frame; none where there are only those at which objects appear."""
        folder = self.annotations(self.part) / name
        present = by_stem(folder, (".png",))
        missing = [frame for frame in wanted if frame not in present]
        if not missing:
            return tuple(present[frame] for frame in wanted)
        if present.keys() & set(wanted) <= {item.first for item in objects}:
            return ()
        raise InputError(
            f"{folder}: {len(missing)} of {len(wanted)} annotations are missing, the first of them "
            f"{missing[0]}.png; restore it, or remove the folder to go without scores"
        )


def open_youtube_vos(root: str | Path, set_name: str, all_frames: bool = False) -> YoutubeVos:
    """Find a part of the tree. set_name: a key of SETS. Raises InputError if it is not there."""
    root, part = Path(root), SETS[set_name]
    meta = YoutubeFolder(root).meta(part)
    if not meta.is_file():
        raise InputError(
            f"{meta}: no such file; give the folder that holds {part}/ and "
            f"{part}_scribbles/ as --data-root"
        )
    return YoutubeVos(root, part, all_frames)


def _read_meta(path: Path) -> dict[str, Any]:
    """{video: entry} of a meta.json."""
    content = read_json(path, '{"videos": {...}}')
    if "videos" not in content:
        raise InputError(f'{path}: expected {{"videos": {{...}}}}, found no videos')
    videos = content["videos"]
    if not isinstance(videos, dict):
        raise InputError(f'{path}: "videos" must hold an entry a video, by its name')
    for name in videos:
        check_name(name, f"{path}: videos")
    return videos


def _entries(where: str | Path, video: Any) -> Mapping[str, Mapping[str, Any]]:
    """The objects of a video's entry."""
    objects = video.get("objects") if isinstance(video, dict) else None
    if (
        not isinstance(objects, dict)
        or not objects
        or not all(isinstance(entry, dict) for entry in objects.values())
        or not all(isinstance(e.get("category"), str | None) for e in objects.values())
    ):
        raise InputError(
            f'{where}: expected {{"objects": {{"1": {{"category": "...", "frames": [...]}}, ...}}}}'
        )
    return objects


def read_late_prompt(
    tree: YoutubeVos, video: YoutubeVideo, *, with_bg: bool = False, width: int | None = None
) -> Prompt:
    """Read the strokes of a YouTube-VOS video, one map for each frame at which objects appear.

    Of each map only the strokes of the objects that appear there are kept: others would correct
    what is tracked already. with_bg: keep the first frame's background strokes, too; they play no
    part where objects appear later. width: at which strokes must still be visible, pixels.
    Raises InputError that names the file for a map that is missing or of another size than the
    first, a label out of range, and an object without a stroke where it appears.
    """
    maps: dict[str, Appearance] = {}
    frames, legend = {picture.stem: picture for picture in video.frames}, Legend()
    for frame, numbers in video.appearances().items():
        path = tree.scribble(video.name, frame, numbers)
        strokes = read_painted(path, frames[frame], video.num_objects, legend)
        first = next(iter(maps.values())).scribble if maps else strokes
        if strokes.shape != first.shape:
            raise InputError(
                f"{path}: {size_text(strokes)} pixels, but the strokes on the first frame of "
                f"{video.name} have {size_text(first)}; draw them on the frames as they are"
            )
        try:
            strokes = from_disk(strokes, video.num_objects)
        except ValueError as error:
            raise InputError(f"{path}: {error} (objects as in meta.json)") from None
        kept = [*numbers, BACKGROUND] if with_bg and not maps else numbers
        scribble = np.where(np.isin(strokes, kept), strokes, np.uint8(UNLABELLED))
        _check_strokes(path, scribble, numbers, width)
        maps[frame] = Appearance(scribble, path)
    (scribble, path), *_ = maps.values()
    return Prompt(scribble, video.num_objects, path, dict(list(maps.items())[1:]))


def _check_strokes(
    path: Path, scribble: np.ndarray, numbers: Sequence[int], width: int | None
) -> None:
    """Raise InputError unless each object has a stroke, at the size at which it is tracked."""
    small = resize_labels(scribble, capped_size(scribble.shape, width))
    for number in np.setdiff1d(numbers, small):
        if number in scribble:
            raise InputError(
                f"{path}: the stroke of object {number} is too thin to be seen at --size {width}; "
                "give a larger one"
            )
        raise InputError(f"{path}: no stroke of object {number}, which appears here; draw one")
