"""Check COCO's list with its images and scribbles."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from rhmnet.data.coco import CocoScribbles
from rhmnet.errors import InputError
from rhmnet.files.names import MAP_SUFFIXES, walk
from rhmnet.labels import RELEASE_CHANNELS
from rhmnet.tools.scribbles.check import places
from rhmnet.tools.scribbles.check.maps import check_gaps, check_map
from rhmnet.tools.scribbles.check.report import Report, Row

LIST = "COCO_scribbles.json"
_MANY_OBJECTS = RELEASE_CHANNELS - 2


def check_coco(root: Path, report: Report) -> None:
    """The list, images and scribbles of a COCO folder."""
    row = Row("COCO")
    report.rows.append(row)
    try:
        listed = list(CocoScribbles(root))
    except InputError as error:
        what = f"cannot be read: {str(error).removeprefix(f'{root / LIST}: ')}"
        remedy = 'write {"images": [{"file_name", "anno_name", "num_objects"}, ...]} into it'
        report.error(root / LIST, what, remedy)
        return
    # relative, as the folders may lie one level off
    entries = [
        (
            os.path.relpath(frame.image, root / "images"),
            os.path.relpath(frame.scribble, root / "scribbles"),
            frame.num_objects,
        )
        for frame in listed
    ]
    images, folder = (
        places.settle(
            root / part,
            lambda place, column=column: any((place / one[column]).is_file() for one in entries),
            f"file of those in {LIST}",
            report,
        )
        for column, part in enumerate(("images", "scribbles"))
    )
    if folder is None:
        return
    count = sum(path.suffix.lower() in MAP_SUFFIXES for _, files in walk(folder) for path in files)
    if count != len(entries):
        what = f"counts differ: {len(entries)} images listed but {count} scribbles"
        report.error(root / LIST, what, "complete the scribbles, or list those that are there")
    for file_name, anno_name, num_objects in entries:
        image = None if images is None else images / file_name
        path = folder / anno_name
        if image is not None and not image.is_file():
            report.error(image, f"listed in {LIST} but not there", "put it there, or unlist it")
            image = None
        if not path.is_file():
            report.error(path, f"listed in {LIST} but not there", "put it there, or unlist it")
            continue
        labels = check_map(path, image, report)
        if labels is not None:
            _check_image(path, labels, num_objects, image, row, report)


def _check_image(
    path: Path, labels: np.ndarray, num_objects: int, image: Path | None, row: Row, report: Report
) -> None:
    """One image's labels against `num_objects` of the list, which counts background in."""
    found = set(np.unique(labels).tolist()) - {0}
    largest = max(found)
    background = num_objects + (largest == num_objects + 1)
    report.count_image(row, labels, background, image, path)
    check_gaps(path, found, min(largest, background) - 1, report)
    if largest > background:
        what = f"label {largest} is out of range: num_objects in {LIST} is {num_objects}"
        report.error(path, what, f"list it with {largest}, the label of background")
    elif largest < background:
        what = f"no background label: {LIST} says {num_objects}, the largest label is {largest}"
        report.error(path, what, "draw background strokes, or list it with their label")
    elif len(found) == 1:
        report.error(path, "no object label", "draw a stroke on an object, or unlist it")
    if background - 1 > _MANY_OBJECTS:
        what = f"{background - 1} objects"
        report.note(path, what, f"training drops those above {_MANY_OBJECTS}")
