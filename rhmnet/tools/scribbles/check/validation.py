"""Check the scribbles that videos are evaluated from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rhmnet.errors import InputError
from rhmnet.files.images import read_labels
from rhmnet.files.names import check_name, list_files, natural_key
from rhmnet.files.reading import read_json
from rhmnet.tools.scribbles.check import places
from rhmnet.tools.scribbles.check.maps import check_gaps, check_map, check_order
from rhmnet.tools.scribbles.check.report import Report, Row, Sample


def check_first_frames(
    folder: Path, names: Sequence[str], frames: Path | None, annotations: Path, report: Report
) -> None:
    """A validation set: one scribble a video, `<video>.bmp` or `<video>/00000.bmp`."""
    row = Row(f"DAVIS {folder.name}")
    report.rows.append(row)
    inner = folder / folder.name
    if inner.is_dir():
        folder = places.settle(folder, lambda path: path == inner, "set", report) or folder
    flat = places.scribbles(folder)
    for video in names:
        pictures = {} if frames is None else places.images(frames / video)
        image = next(iter(pictures.values()), None)
        own = places.scribbles(folder / video)
        path = flat.get(video) or own.get(image.stem if image else "00000") or own.get("00000")
        if path is None:
            remedy = f"draw its first frame's strokes as {video}.bmp"
            report.error(folder, f"no scribble of {video}", remedy)
            continue
        if image is None and frames is not None:
            report.error(
                frames / video, "no images", "put the video there, or take it off the list"
            )
        labels = check_map(path, image, report, painted=True)
        if labels is None:
            continue
        found = set(np.unique(labels).tolist()) - {0}
        objects = _annotated_objects(next(iter(list_files(annotations / video, (".png",))), None))
        background = max(found) if objects is None else objects + 1
        row.videos += 1
        report.count_image(row, labels, background, image, path)
        check_gaps(path, found, background - 1, report)
        if max(found) > background:
            what = f"label {max(found)} is out of range: {objects} objects are annotated"
            report.error(path, what, f"objects are 1..{objects}, background is {background}")
        elif background not in found or len(found) == 1:
            report.note(path, "no background label", "only --with_bg needs it")


def check_appearances(root: Path, frames: Path | None, report: Report) -> None:
    """YouTube-VOS validation: a scribble for each frame at which objects appear."""
    row = Row("Youtube-VOS valid")
    report.rows.append(row)
    meta = root / "valid" / "meta.json"
    try:
        videos = read_json(meta)["videos"]
        appear = {
            video: {
                int(i): min(entry["frames"], key=natural_key)
                for i, entry in content["objects"].items()
            }
            for video, content in videos.items()
        }
        for video, objects in appear.items():
            for name in (video, *objects.values()):
                check_name(name, meta)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        what = f"cannot be read ({type(error).__name__}: {error})".replace(f"{meta}: ", "")
        report.error(meta, what, "restore YouTube-VOS' own meta.json")
        return
    folder = root / "valid_scribbles"
    settled = places.settle(
        folder, places.holds_videos_of(places.scribbles), "<video>/<frame>.bmp", report
    )
    folder = settled or folder
    for video, objects in appear.items():
        row.videos += 1
        row.objects += len(objects)
        pictures = {} if frames is None else places.images(frames / video)
        scribbles = places.scribbles(folder / video)
        if frames is not None:
            check_order(frames / video, list(pictures), report)
        background = max(objects, default=0) + 1
        for frame in sorted(set(objects.values()), key=natural_key):
            if frame not in scribbles:
                new = ", ".join(str(i) for i, first in objects.items() if first == frame)
                what = f"no scribble of frame {frame}, where object {new} appears"
                report.error(folder / video, what, f"draw {frame}.bmp")
                continue
            path = scribbles[frame]
            labels = check_map(path, pictures.get(frame), report, painted=True)
            if labels is None:
                continue
            row.count(labels, background)
            if frame in pictures:
                report.samples.append(Sample(pictures[frame], path, background))
            found = set(np.unique(labels).tolist()) - {0}
            for new in (i for i, first in objects.items() if first == frame and i not in found):
                report.error(path, f"no stroke of object {new}, which appears here", "draw one")
            if max(found) > background:
                what = f"label {max(found)} is out of range: there are {background - 1} objects"
                report.error(path, what, f"background is {background}")


def _annotated_objects(path: Path | None) -> int | None:
    """N of an annotation that tells objects apart; None where there is none such."""
    if path is None:
        return None
    try:
        labels = read_labels(path)
    except InputError:
        return None
    largest = int(labels.max())
    return None if largest in (0, 255) else largest
