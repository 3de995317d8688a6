"""Check whole trees: COCO, DAVIS, YouTube-VOS, or folders of one's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from rhmnet.errors import InputError
from rhmnet.files.names import list_folders
from rhmnet.files.reading import read_list
from rhmnet.tools.scribbles.check import places
from rhmnet.tools.scribbles.check.coco import LIST, check_coco
from rhmnet.tools.scribbles.check.maps import check_gaps, check_map, check_order
from rhmnet.tools.scribbles.check.report import Report, Row
from rhmnet.tools.scribbles.check.validation import check_appearances, check_first_frames
from rhmnet.tools.scribbles.check.videos import check_videos

_NAMES = ("COCO", "DAVIS", "Youtube-VOS")


def check_root(root: Path) -> Report:
    """Check every tree under a folder, or the one that the folder is.

    Raises InputError where no tree is found.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; name the folder that holds the data")
    report = Report()
    if _check_tree(root, report):
        return report
    found = False
    for child in list_folders(root):
        tree = child if _kind(child) else next(filter(_kind, list_folders(child)), None)
        if tree is None:
            continue
        if tree != child or child.name == root.name:
            report.error(
                tree.parent,
                f"the folder is one level off: the tree lies in {tree.name}/",
                f"move what is in {tree} one level up",
            )
        elif child.name not in _NAMES:
            report.error(
                child,
                f"loaders read {', '.join(_NAMES)} under {root}",
                "rename the folder to the one that it is",
            )
        _check_tree(tree, report)
        found = True
    if not found:
        raise InputError(
            f"{root}: no COCO, DAVIS or Youtube-VOS tree in it; for other folders give --images "
            "and --scribbles"
        )
    return report


def check_own(images: Path, scribbles: Path, background_color: str | None = None) -> Report:
    """Check folders of one's own: images and scribbles side by side, or a folder a video.

    background_color: of painted background strokes.
    """
    for folder in (images, scribbles):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; name the folders of images and scribbles")
    report = Report(background_color=background_color)
    _check_own(images, scribbles, report)
    return report


def _check_own(images: Path, scribbles: Path, report: Report) -> None:
    flat, pictures = places.scribbles(scribbles), places.images(images)
    if not flat:
        check_videos(scribbles.name, images, scribbles, report, painted=True)
        return
    row = Row(scribbles.name)
    report.rows.append(row)
    if len(flat) != len(pictures):
        what = f"counts differ: {len(pictures)} images but {len(flat)} scribbles"
        report.error(scribbles, what, "complete them, or remove what is too much")
    for stem, path in flat.items():
        if stem not in pictures:
            report.error(path, "no image of the same name", "name the scribble as its image")
        labels = check_map(path, pictures.get(stem), report, painted=True)
        if labels is not None:
            background = report.background_of(path, labels)
            report.count_image(row, labels, background, pictures.get(stem), path)
            found = set(np.unique(labels).tolist()) - {0}
            check_gaps(path, found, max(found), report)
            if len(found) == 1 or background not in found:
                report.error(path, "no background label", "draw background strokes: label N + 1")


def check_davis(root: Path, report: Report) -> None:
    """Training videos and the validation sets under a DAVIS folder."""
    frames = places.settle(
        root / "JPEGImages" / "480p",
        places.holds_videos_of(places.images),
        "<video>/<frame>.jpg",
        report,
    )
    if frames is None and places.holds_videos_of(places.images)(root / "JPEGImages"):
        report.error(
            root / "JPEGImages",
            "the folder is one level off: videos belong into JPEGImages/480p",
            "make the folder 480p and move the videos into it",
        )
        frames = root / "JPEGImages"
    annotations = root / "Annotations" / "480p"
    if (root / "train_scribbles").is_dir():
        names = _listed(root, ("2017",), "train", report)
        check_videos("DAVIS train", frames, root / "train_scribbles", report, names, annotations)
    sets = [path for path in list_folders(root) if re.fullmatch(r"valid_scribbles\d+", path.name)]
    if not sets and not (root / "train_scribbles").is_dir():
        report.error(root, "no scribbles in it", "make them, or arrange the authors' here")
    names = _listed(root, ("2016", "2017"), "val", report) if sets else []
    for video in names or ():
        for folder in (annotations,) if frames is None else (frames, annotations):
            check_order(folder / video, list(places.images(folder / video)), report)
    for folder in sets:
        check_first_frames(folder, names or [], frames, annotations, report)


def check_youtube(root: Path, report: Report) -> None:
    """Training and validation videos under a YouTube-VOS folder."""
    parts = [split for split in ("train", "valid") if (root / f"{split}_scribbles").is_dir()]
    if not parts:
        report.error(root, "no scribbles in it", "make them, or arrange the authors' here")
    for split in parts:
        frames = places.settle(
            root / split / "JPEGImages",
            places.holds_videos_of(places.images),
            "<video>/<frame>.jpg",
            report,
        )
        if split == "train":
            check_videos("Youtube-VOS train", frames, root / "train_scribbles", report)
        else:
            check_appearances(root, frames, report)


def _listed(root: Path, years: Sequence[str], split: str, report: Report) -> list[str] | None:
    """The videos of all lists that are there, in order; None, and reported, where none is."""
    lists = [root / "ImageSets" / year / f"{split}.txt" for year in years]
    try:
        names = [name for path in lists if path.is_file() for name in read_list(path)]
    except InputError as error:
        what = str(error).removeprefix(f"{lists[-1]}: ")
        report.error(lists[-1], what, "restore DAVIS' own ImageSets")
        return None
    if not names:
        report.error(lists[-1], "no such list of videos", "restore DAVIS' own ImageSets")
        return None
    return list(dict.fromkeys(names))


def _check_tree(folder: Path, report: Report) -> bool:
    kind = _kind(folder)
    if kind is not None:
        kind(folder, report)
    return kind is not None


def _kind(folder: Path) -> Callable[[Path, Report], None] | None:
    """The check that fits a folder's content."""

    def has(*names: str) -> bool:
        return any((folder / name).exists() for name in names)

    if has(LIST) or (folder.name == "COCO" and has("scribbles")):
        return check_coco
    if has("images") and has("scribbles"):
        return lambda folder, report: _check_own(folder / "images", folder / "scribbles", report)
    davis = ("JPEGImages", "ImageSets", "valid_scribbles0")
    if has(*davis) or (folder.name == "DAVIS" and has("train_scribbles")):
        return check_davis
    if has("train/JPEGImages", "valid/JPEGImages", "train_scribbles", "valid_scribbles"):
        return check_youtube
    return None
