"""COCO: the list of scribbled images that pre-training reads, and the instance files behind it.

    COCO_scribbles.json     {"images": [{"file_name", "anno_name", "num_objects"}, ...]}
    images/<file_name>      of the list
    scribbles/<anno_name>   label maps

Instance files, instances_*.json, hold every image's objects as outlines, checked before they are
decoded: pycocotools trusts what it is given. NaN ends the process, far coordinates take all memory,
and run lengths of too few pixels are filled up with what lies in memory.
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from rhmnet.data import Frame, where_from
from rhmnet.errors import InputError
from rhmnet.files import check_name, from_windows
from rhmnet.files.decoding import MAX_PIXELS
from rhmnet.files.reading import read_json

COCO = "COCO"
"""The folder's name under `data.root`."""
LIST = "COCO_scribbles.json"
WANTED = "a COCO instance file, instances_*.json with images and annotations"
LONGEST_OUTLINE = 4_000_000
"""Pixels along one polygon: drawing it takes some hundred bytes for each."""
_LONGEST_NUMBER = 7  # characters of one run length, five bits each
_brief = reprlib.Repr()  # of what a file holds: it may be huge
_brief.maxstring = 60


@dataclass(frozen=True)
class CocoFolder:
    """Where everything lies below a COCO folder."""

    root: Path

    @property
    def list_file(self) -> Path:
        return self.root / LIST

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def scribbles(self) -> Path:
        return self.root / "scribbles"


class CocoScribbles:
    """COCO's scribbled images: a sequence of `Frame`, in the order of COCO_scribbles.json.

    root: the COCO folder.
    Raises InputError for a missing or malformed list, naming the entry.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folder = CocoFolder(root)
        path = self._folder.list_file
        if not path.is_file():
            raise InputError(f"{path}: no such file; {where_from(COCO)}")
        content = read_json(path, '{"images": [...]}')
        if "images" not in content:
            raise InputError(f'{path}: expected {{"images": [...]}}, found no images')
        entries = content["images"]
        if not isinstance(entries, list) or not entries:
            raise InputError(f"{path}: lists no image; expected at least one")
        self._entries = [_coco_entry(path, index, entry) for index, entry in enumerate(entries)]

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Frame:
        image, scribble, num_objects = self._entries[index]
        folder = self._folder
        return Frame(folder.images / image, folder.scribbles / scribble, num_objects)


def open_coco(root: Path) -> CocoScribbles:
    """The pre-training images under `root`, the folder that holds `COCO`."""
    return CocoScribbles(root / COCO)


@dataclass(frozen=True)
class Instance:
    """One annotation of an image."""

    number: Any
    """Its id, for messages."""
    outline: Any
    """As the file has it; `checked_outline` says what it is."""
    crowd: bool


@dataclass(frozen=True)
class CocoImage:
    """One image of the file."""

    file_name: str
    """With `/` between folders, inside the folder of the images."""
    height: int
    width: int
    instances: tuple[Instance, ...]
    source: str
    """The file that lists it, for messages."""

    @property
    def stem(self) -> str:
        return str(PurePosixPath(self.file_name).with_suffix(""))


def read_instances(path: Path) -> list[CocoImage]:
    """The images of a COCO instance file, in its order.

    Annotations of images that it does not list are passed over, if it lists some of theirs.
    Raises InputError that names the file and the entry.
    """
    content = read_json(path, WANTED)
    images, annotations = (_entries(content, key, path) for key in ("images", "annotations"))
    by_image: dict[Any, list[Instance]] = {}
    for index, entry in enumerate(annotations):
        number = _identity(entry.get("image_id"), f"{path}: annotations[{index}]", "image_id")
        by_image.setdefault(number, []).append(_instance(entry, index, path))
    found, stems = {}, set()
    for index, entry in enumerate(images):
        where = f"{path}: images[{index}]"
        number = _identity(entry.get("id"), where, "id")
        if number in found:
            raise InputError(f"{where}: id {number!r} is another image's too; number them anew")
        image = _image(entry, where, path, tuple(by_image.get(number, ())))
        if image.stem in stems:
            raise InputError(f"{path}: two images are named {image.stem}; rename one")
        stems.add(image.stem)
        found[number] = image
    if by_image and not by_image.keys() & found.keys():
        first = next(iter(by_image))
        raise InputError(
            f"{path}: no annotation is of an image that is listed (image_id {first!r}, ids as "
            f"{next(iter(found), None)!r}); expected image_id to be an image's id"
        )
    if annotations and not any("segmentation" in entry for entry in annotations):
        raise InputError(f"{path}: none of its annotations has a segmentation; expected {WANTED}")
    return list(found.values())


def checked_outline(outline: Any, height: int, width: int) -> dict | list[list[float]] | None:
    """An outline that pycocotools may be given: run lengths, polygons, or None for nothing.

    Polygons of fewer than three corners enclose nothing and are left out. Raises ValueError that
    says what is wrong.
    """
    if outline is None or outline == []:
        return None
    if isinstance(outline, dict):
        return _checked_runs(outline, height, width)
    if not isinstance(outline, list):
        raise ValueError(f"it is {_brief.repr(outline)}")
    return [p for p in outline if len(_checked_polygon(p, height, width)) >= 6] or None


def _checked_polygon(polygon: Any, height: int, width: int) -> list[float]:
    if not isinstance(polygon, list):
        raise ValueError(f"it has {_brief.repr(polygon)} in a polygon's place")
    if wrong := [value for value in polygon if type(value) not in (int, float)]:
        raise ValueError(f"a polygon has {_brief.repr(wrong[0])} in a number's place")
    if len(polygon) % 2:
        raise ValueError("a polygon has an odd number of coordinates")
    # one image beyond each border is room for all that is drawn by hand
    for values, side in ((polygon[::2], width), (polygon[1::2], height)):
        if far := [value for value in values if not -side <= value <= 2 * side]:
            raise ValueError(f"a polygon reaches to {_brief.repr(far[0])}, far from the image")
    corners = np.asarray(polygon, float).reshape(-1, 2)
    length = np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum() if polygon else 0
    if length > LONGEST_OUTLINE:
        raise ValueError(f"a polygon is longer than {LONGEST_OUTLINE} pixels")
    return polygon


def _checked_runs(outline: dict, height: int, width: int) -> dict:
    size, counts = outline.get("size"), outline.get("counts")
    if not isinstance(size, list) or size != [height, width]:
        raise ValueError(f"its size is {_brief.repr(size)}")
    if isinstance(counts, str):
        if not counts.isascii():
            raise ValueError("its counts have characters that run lengths have not")
        counts = counts.encode()
        runs = run_lengths(counts)
    elif isinstance(counts, list) and all(type(n) is int and n >= 0 for n in counts):
        runs = counts
    else:
        raise ValueError(f"its counts are {_brief.repr(counts)}")
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError("its run lengths are not of all pixels")
    return {"size": [height, width], "counts": counts}


def run_lengths(coded: bytes) -> list[int]:
    """The run lengths of COCO's compressed form, which may be negative where it is damaged.

    Six bits a character from "0" on, the lowest first: five of a number, one that says whether it
    goes on; numbers are signed, and from the fourth on the difference to the one two before.
    Raises ValueError for what is no such text.
    """
    if not coded:
        return []
    data = np.frombuffer(coded, np.uint8).astype(np.int64) - ord("0")
    if data.min() < 0 or data.max() > 63:
        raise ValueError("its counts have characters that run lengths have not")
    ends = np.flatnonzero(data < 32)
    if not len(ends) or ends[-1] != len(data) - 1:
        raise ValueError("its counts are cut off")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > _LONGEST_NUMBER:
        raise ValueError("its counts have numbers that are too large")
    places = np.arange(len(data)) - np.repeat(starts, lengths)
    runs = np.add.reduceat((data & 31) << (5 * places), starts)
    runs -= ((data[ends] & 16) > 0).astype(np.int64) << (5 * lengths)
    for first in (1, 2):
        runs[first::2] = np.cumsum(runs[first::2])
    return runs.tolist()


def _entries(content: dict, key: str, path: Path) -> list[dict]:
    entries = content.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(
            f"{path}: not a COCO instance file: its {key} are no list of objects; expected {WANTED}"
        )
    return entries


def _identity(value: Any, where: str, key: str) -> int | str:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise InputError(
            f"{where}: not a COCO instance file's: {key} is {_brief.repr(value)}; expected a number"
        )
    return value


def _image(entry: dict, where: str, path: Path, instances: tuple[Instance, ...]) -> CocoImage:
    name = check_name(entry.get("file_name"), f"{where}.file_name")
    name = PurePosixPath(from_windows(name)).as_posix()
    sides = []
    for key in ("height", "width"):
        value = entry.get(key)
        if type(value) not in (int, float) or value != int(value):
            raise InputError(
                f"{where} ({name}): {key} is {_brief.repr(value)}; expected a whole number"
            )
        sides.append(int(value))
    height, width = sides
    if min(sides) < 1:
        raise InputError(f"{path}: {name} is {width}x{height} pixels; expected at least 1x1")
    if height * width > MAX_PIXELS:
        raise InputError(
            f"{path}: {name} is {width}x{height} pixels, {MAX_PIXELS} are the most; shrink it, or "
            "leave it out"
        )
    return CocoImage(name, height, width, instances, str(path))


def _instance(entry: dict, index: int, path: Path) -> Instance:
    crowd = entry.get("iscrowd")
    if crowd is not None and (isinstance(crowd, str) or crowd not in (0, 1)):
        raise InputError(
            f"{path}: annotations[{index}]: iscrowd is {_brief.repr(crowd)}; expected 0 or 1"
        )
    return Instance(entry.get("id"), entry.get("segmentation"), bool(crowd))


def _coco_entry(path: Path, index: int, entry: object) -> tuple[str, str, int]:
    where = f"{path}: images[{index}]"
    try:
        image, scribble, num_objects = (
            entry[key] for key in ("file_name", "anno_name", "num_objects")
        )
        fits = isinstance(image, str) and isinstance(scribble, str) and 0 <= int(num_objects) < 255
    except (KeyError, TypeError, ValueError, OverflowError):
        fits = False
    if fits:
        image, scribble = (from_windows(check_name(name, where)) for name in (image, scribble))
        return image, scribble, int(num_objects)
    raise InputError(f"{where} is {entry!r:.120}; expected file_name, anno_name and num_objects")
