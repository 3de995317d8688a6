"""Check the scribbles of videos: DAVIS, YouTube-VOS, or folders of one's own."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from rhmnet.data.davis import DavisFolder
from rhmnet.data.youtube import YoutubeFolder, YoutubeVos, appearances_of
from rhmnet.errors import InputError
from rhmnet.files import FRAME_SUFFIXES, MAP_SUFFIXES, by_stem, list_files, list_folders
from rhmnet.files.images import read_labels
from rhmnet.files.reading import read_list
from rhmnet.tools.scribbles.findings import (
    Report,
    SheetPicture,
    TableRow,
    check_gaps,
    check_map,
    check_order,
    holds_videos,
    labels_in,
    report_twins,
    settle,
    settle_videos,
)

_LEAST_FRAMES = 3  # T, frames of a training clip
_NO_SCRIBBLES = ("no scribbles in it", "make them, or arrange the authors' here")


def check_davis(root: Path, report: Report) -> None:
    """Training videos and the validation sets under a DAVIS folder."""
    tree = DavisFolder(root)
    frames = settle_videos(tree.images, FRAME_SUFFIXES, report)
    if frames is None and holds_videos(tree.images.parent, FRAME_SUFFIXES):
        frames = tree.images.parent
        what = "the folder is one level off: videos belong into JPEGImages/480p"
        report.error(frames, what, "make the folder 480p and move the videos into it")
    trains, groups = tree.train_scribbles.is_dir(), tree.groups()
    if trains:
        names = _listed([tree.list_file(2017, "train")], report)
        _check_videos("DAVIS train", frames, tree.train_scribbles, report, names, tree.annotations)
    if not groups and not trains:
        report.error(root, *_NO_SCRIBBLES)
    lists = [tree.list_file(year, "val") for year in (2016, 2017)]
    names = _listed(lists, report) if groups else []
    for video in names or ():
        for folder in (tree.annotations,) if frames is None else (frames, tree.annotations):
            check_order(folder / video, list(by_stem(folder / video, FRAME_SUFFIXES)), report)
    for group in groups:
        place = tree.valid_scribbles(group)
        _check_first_frames(place, names or [], frames, tree.annotations, report)


def check_youtube(root: Path, report: Report) -> None:
    """Training and validation videos under a YouTube-VOS folder."""
    tree = YoutubeFolder(root)
    parts = [part for part in ("train", "valid") if tree.scribbles(part).is_dir()]
    if not parts:
        report.error(root, *_NO_SCRIBBLES)
    for part in parts:
        frames = settle_videos(tree.images(part), FRAME_SUFFIXES, report)
        if part == "train":
            _check_videos("Youtube-VOS train", frames, tree.scribbles(part), report)
        else:
            _check_appearances(root, frames, report)


def check_own_folders(images: Path, scribbles: Path, report: Report) -> None:
    """Images and scribbles of one's own, side by side or a folder a video; they may be painted."""
    flat, pictures = by_stem(scribbles, MAP_SUFFIXES), by_stem(images, FRAME_SUFFIXES)
    if not flat:
        _check_videos(scribbles.name, images, scribbles, report, painted=True)
        return
    row = report.add_row(scribbles.name)
    if len(flat) != len(pictures):
        what = f"counts differ: {len(pictures)} images but {len(flat)} scribbles"
        report.error(scribbles, what, "complete them, or remove what is too much")
    for stem, path in flat.items():
        if stem not in pictures:
            report.error(path, "no image of the same name", "name the scribble as its image")
        labels = check_map(path, pictures.get(stem), report, painted=True)
        if labels is not None:
            background, found = report.background_of(path, labels), labels_in(labels)
            report.count_image(row, labels, background, pictures.get(stem), path)
            check_gaps(path, found, max(found), report)
            if len(found) == 1 or background not in found:
                report.error(path, "no background label", "draw background strokes: label N + 1")


def _check_videos(
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
    row = report.add_row(name)
    folder = settle_videos(folder, MAP_SUFFIXES, report) or folder
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
    row: TableRow,
    report: Report,
    painted: bool,
) -> None:
    pictures = {} if images is None else by_stem(images, FRAME_SUFFIXES)
    scribbles = by_stem(folder, MAP_SUFFIXES)
    row.videos += 1
    report_twins(folder, report)
    if images is not None:
        report_twins(images, report)
        _check_pairs(images, folder, pictures, scribbles, report)
        check_order(images, list(pictures), report)
    check_order(folder, list(scribbles), report)
    found: dict[Path, set[int]] = {}
    for stem, path in scribbles.items():
        labels = check_map(path, pictures.get(stem), report, painted)
        if labels is not None:
            found[path] = labels_in(labels)
            background = report.background_of(path, labels)
            row.count(labels, background)
            if stem in pictures:
                report.samples.append(SheetPicture(pictures[stem], path, background))
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
        what = f"counts differ: {len(pictures)} images but {len(scribbles)} scribbles"
        remedy = f"training skips the video; complete it, or remove what {images} has too much"
        report.error(folder, what, remedy)
    alone = sorted(pictures.keys() ^ scribbles.keys())
    if alone:
        which = "image" if alone[0] in pictures else "scribble"
        what = f"{len(alone)} names are not in pairs, the first that of {which} {alone[0]}"
        report.error(folder, what, "name each scribble as its image")
    elif not pictures:
        report.error(folder, "neither images nor scribbles", "put the video there, or unlist it")
    elif len(pictures) < _LEAST_FRAMES:
        what = f"{len(pictures)} frames, fewer than a clip's {_LEAST_FRAMES}"
        report.note(folder, what, "it is skipped")


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
            objects = labels_in(read_labels(mask))
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


def _check_first_frames(
    folder: Path, names: Sequence[str], frames: Path | None, annotations: Path, report: Report
) -> None:
    """A validation set: one scribble a video, `<video>.bmp` or `<video>/00000.bmp`."""
    row = report.add_row(f"DAVIS {folder.name}")
    inner = folder / folder.name
    if inner.is_dir():
        folder = settle(folder, lambda path: path == inner, "set", report) or folder
    flat = by_stem(folder, MAP_SUFFIXES)
    for video in names:
        pictures = {} if frames is None else by_stem(frames / video, FRAME_SUFFIXES)
        image = next(iter(pictures.values()), None)
        own = by_stem(folder / video, MAP_SUFFIXES)
        path = flat.get(video) or own.get(image.stem if image else "00000") or own.get("00000")
        if path is None:
            remedy = f"draw its first frame's strokes as {video}.bmp"
            report.error(folder, f"no scribble of {video}", remedy)
            continue
        if image is None and frames is not None:
            remedy = "put the video there, or take it off the list"
            report.error(frames / video, "no images", remedy)
        labels = check_map(path, image, report, painted=True)
        if labels is None:
            continue
        found = labels_in(labels)
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


def _check_appearances(root: Path, frames: Path | None, report: Report) -> None:
    """YouTube-VOS validation: a scribble for each frame at which objects appear."""
    row = report.add_row("Youtube-VOS valid")
    tree = YoutubeFolder(root)
    try:
        valid = YoutubeVos(root, "valid")
        appear = {video: appearances_of(valid.objects(video)[0]) for video in valid.names()}
    except InputError as error:
        meta = tree.meta("valid")
        what = f"cannot be read: {str(error).removeprefix(f'{meta}: ')}"
        report.error(meta, what, "restore YouTube-VOS' own meta.json")
        return
    folder = tree.scribbles("valid")
    folder = settle_videos(folder, MAP_SUFFIXES, report) or folder
    for video, frames_of in appear.items():
        numbers = [number for new in frames_of.values() for number in new]
        row.videos += 1
        row.objects += len(numbers)
        pictures = {} if frames is None else by_stem(frames / video, FRAME_SUFFIXES)
        scribbles = by_stem(folder / video, MAP_SUFFIXES)
        if frames is not None:
            check_order(frames / video, list(pictures), report)
        background = max(numbers) + 1
        for frame, new in frames_of.items():
            if frame not in scribbles:
                told = ", ".join(map(str, new))
                what = f"no scribble of frame {frame}, where object {told} appears"
                report.error(folder / video, what, f"draw {frame}.bmp")
                continue
            path = scribbles[frame]
            labels = check_map(path, pictures.get(frame), report, painted=True)
            if labels is None:
                continue
            row.count(labels, background)
            if frame in pictures:
                report.samples.append(SheetPicture(pictures[frame], path, background))
            found = labels_in(labels)
            for number in set(new) - found:
                what = f"no stroke of object {number}, which appears here"
                report.error(path, what, "draw one")
            if max(found) > background:
                what = f"label {max(found)} is out of range: there are {background - 1} objects"
                report.error(path, what, f"background is {background}")


def _listed(lists: Sequence[Path], report: Report) -> list[str] | None:
    """The videos of all lists that are there, in order; None, and reported, where none is."""
    try:
        names = [name for path in lists if path.is_file() for name in read_list(path)]
        what = "no such list of videos"
    except InputError as error:
        names, what = [], str(error).removeprefix(f"{lists[-1]}: ")
    if not names:
        report.error(lists[-1], what, "restore DAVIS' own ImageSets")
    return list(dict.fromkeys(names)) or None


def _annotated_objects(path: Path | None) -> int | None:
    """N of an annotation that tells objects apart; None where there is none such."""
    if path is None:
        return None
    try:
        largest = int(read_labels(path).max())
    except InputError:
        return None
    return None if largest in (0, 255) else largest
