"""Check videos with a scribble for each frame: those for training, or one's own."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rhmnet.errors import InputError
from rhmnet.files.images import read_labels
from rhmnet.files.names import list_folders
from rhmnet.tools.scribbles.check import places
from rhmnet.tools.scribbles.check.maps import check_gaps, check_map, check_order
from rhmnet.tools.scribbles.check.report import Report, Row, Sample

_LEAST_FRAMES = 3  # T, frames of a training clip


def check_videos(
    name: str,
    frames: Path | None,
    folder: Path,
    report: Report,
    names: Sequence[str] | None = None,
    annotations: Path | None = None,
    painted: bool = False,
) -> None:
    """Videos with a scribble for each frame, `<folder>/<video>/<frame>.bmp`.

    names: the videos that must be there; None takes those of either folder. annotations: dense
    masks by video, which tell objects from background where they are there. painted: whether
    strokes painted in colours may stay so.
    """
    row = Row(name)
    report.rows.append(row)
    settled = places.settle(
        folder, places.holds_videos_of(places.scribbles), "<video>/<frame>.bmp", report
    )
    folder = settled or folder
    if names is None:
        roots = [folder] if frames is None else [folder, frames]
        names = sorted({path.name for root in roots for path in list_folders(root)})
    for video in names:
        masks = annotations / video if annotations is not None else None
        images = None if frames is None else frames / video
        _check_video(images, folder / video, masks, row, report, painted)


def _check_video(
    images: Path | None,
    folder: Path,
    masks: Path | None,
    row: Row,
    report: Report,
    painted: bool,
) -> None:
    pictures = {} if images is None else places.images(images)
    scribbles = places.scribbles(folder)
    row.videos += 1
    places.report_twins(folder, report)
    if images is not None:
        places.report_twins(images, report)
        _check_pairs(images, folder, pictures, scribbles, report)
        check_order(images, list(pictures), report)
    check_order(folder, list(scribbles), report)
    found: dict[Path, set[int]] = {}
    for stem, path in scribbles.items():
        labels = check_map(path, pictures.get(stem), report, painted)
        if labels is not None:
            found[path] = set(np.unique(labels).tolist()) - {0}
            background = report.background_of(path, labels)
            row.count(labels, background)
            if stem in pictures:
                report.samples.append(Sample(pictures[stem], path, background))
    if not found:
        return
    row.objects += len(set().union(*found.values())) - 1
    usual = statistics.mode(max(values) for values in found.values())
    for path, values in found.items():
        mask = None if masks is None else masks / f"{path.stem}.png"
        if max(values) > usual and max(values) - 1 not in values:  # background was moved up
            check_gaps(path, values, max(values), report)
        else:
            _check_background(path, values, usual, mask, report)


def _check_pairs(
    images: Path, folder: Path, pictures: dict, scribbles: dict, report: Report
) -> None:
    if len(pictures) != len(scribbles):
        report.error(
            folder,
            f"counts differ: {len(pictures)} images but {len(scribbles)} scribbles",
            f"training skips the video; complete it, or remove what {images} has too much",
        )
    alone = sorted(pictures.keys() ^ scribbles.keys())
    if alone:
        which = "image" if alone[0] in pictures else "scribble"
        report.error(
            folder,
            f"{len(alone)} names are not in pairs, the first that of {which} {alone[0]}",
            "name each scribble as its image",
        )
    elif not pictures:
        report.error(folder, "neither images nor scribbles", "put the video there, or unlist it")
    elif len(pictures) < _LEAST_FRAMES:
        report.note(
            folder, f"{len(pictures)} frames, fewer than a clip's {_LEAST_FRAMES}", "it is skipped"
        )


def _check_background(
    path: Path, values: set[int], usual: int, mask: Path | None, report: Report
) -> None:
    """Report a training frame whose largest label, its background, is an object's.

    usual: the label that most frames of the video have for background. mask: the frame's dense
    annotation; where it is there, it decides.
    """
    what = f"no background label: its largest label is {max(values)}"
    remedy = "draw background strokes: training takes the largest label for them"
    if mask is not None and mask.is_file():
        try:
            objects = set(np.unique(read_labels(mask)).tolist()) - {0}
        except InputError:
            objects = set()
        if objects == {255}:
            objects = {1}
        if max(values) in objects:
            report.error(path, f"{what}, an object's", remedy)
    elif len(values) == 1 and (max(values) < usual or usual == 1):
        report.error(path, what, remedy)
    elif max(values) < usual:
        told = f"its largest label is {max(values)}, in most frames of the video {usual}"
        report.note(path, told, "right if objects are out of view, wrong if background is missing")
