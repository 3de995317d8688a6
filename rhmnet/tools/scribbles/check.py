"""Check scribbles, file by file: what is wrong, how to mend it, what there is.

    %(prog)s datasets
    %(prog)s datasets/DAVIS --sheet strokes.png
    %(prog)s --images my/images --scribbles my/scribbles
    %(prog)s datasets --arrange downloads

The last one first links the authors' scribbles, unpacked anywhere under `downloads`, into the tree
(`--copy` copies them). Ends with a table, and a contact sheet of strokes over images. The exit code
is 1 where anything would break training or evaluation.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from rhmnet.data.coco import COCO, LIST, CocoFolder, CocoScribbles
from rhmnet.data.davis import DAVIS, DavisFolder
from rhmnet.data.youtube import YOUTUBE, YoutubeFolder
from rhmnet.errors import InputError, say
from rhmnet.files import MAP_SUFFIXES, check_name, from_windows, is_hidden, list_folders, walk
from rhmnet.files.reading import read_json
from rhmnet.files.writing import link_or_copy, write_picture
from rhmnet.labels import RELEASE_CHANNELS
from rhmnet.runtime import CommandParser
from rhmnet.tools.scribbles import BACKGROUND_COLOR_HELP
from rhmnet.tools.scribbles.check_videos import check_davis, check_own_folders, check_youtube
from rhmnet.tools.scribbles.findings import (
    Report,
    TableRow,
    check_gaps,
    check_map,
    labels_in,
    settle,
)

_TREES = (COCO, DAVIS, YOUTUBE)
_MANY_OBJECTS = RELEASE_CHANNELS - 2
_YOUTUBE_ID = re.compile(r"[0-9a-f]{10}")


def main(argv: Sequence[str] | None = None, prog: str = "rhmnet scribbles check") -> int:
    """Parse the command line, arrange if asked to, and check."""
    parser = CommandParser(prog, description=__doc__)
    add = parser.add_argument
    trees = "a COCO, DAVIS or Youtube-VOS folder, or one of these (default datasets)"
    add("root", type=Path, nargs="?", help=trees)
    add("--images", type=Path, help="images of your own, flat or a folder a video")
    add("--scribbles", type=Path, help="the scribbles that lie on them")
    color = f"{BACKGROUND_COLOR_HELP} (with --images)"
    add("--background-color", metavar="COLOR", help=color)
    add("--arrange", type=Path, help="folder of unpacked archives to put into ROOT")
    add("--copy", action="store_true", help="arrange copies instead of links")
    sheet = Path("results/scribbles.png")
    add("--sheet", type=Path, default=sheet, help="contact sheet to write (default %(default)s)")
    arguments = parser.parse_args(argv)
    own = (arguments.images, arguments.scribbles)
    if any(own) and (not all(own) or arguments.root or arguments.arrange):
        raise InputError("--images and --scribbles go together, without a folder of trees")
    root = arguments.root or Path("datasets")
    if arguments.arrange:
        for target, source in arrange(arguments.arrange, root, arguments.copy):
            say(f"{target} {'copied from' if arguments.copy else 'links to'} {source}")
    report = check_own(*own, arguments.background_color) if all(own) else check_root(root)
    for finding in report.findings:
        say(finding)
    errors = sum(finding.severe for finding in report.findings)
    print(f"\n{errors} errors, {len(report.findings) - errors} notes\n\n{report.table()}")
    sheet = report.sheet()
    if sheet is not None:
        _save(arguments.sheet, sheet)
        print()
        say(f"strokes over images: {arguments.sheet}")
    return int(report.broken())


def _save(path: Path, picture: np.ndarray) -> None:
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise InputError(f"--sheet {path}: expected the name of a picture, as in strokes.png")
    write_picture(path, Image.fromarray(picture), kind)


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
            what = f"the folder is one level off: the tree lies in {tree.name}/"
            report.error(tree.parent, what, f"move what is in {tree} one level up")
        elif child.name not in _TREES:
            what = f"loaders read {', '.join(_TREES)} under {root}"
            report.error(child, what, "rename the folder to the one that it is")
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
    check_own_folders(images, scribbles, report)
    return report


def _check_tree(folder: Path, report: Report) -> bool:
    kind = _kind(folder)
    if kind is not None:
        kind(folder, report)
    return kind is not None


def _kind(folder: Path) -> Callable[[Path, Report], None] | None:
    """The check that fits a folder's content."""

    def has(*names: str) -> bool:
        return any((folder / name).exists() for name in names)

    if has(LIST) or (folder.name == COCO and has("scribbles")):
        return check_coco
    if has("images") and has("scribbles"):
        return lambda own, report: check_own_folders(own / "images", own / "scribbles", report)
    davis = ("JPEGImages", "ImageSets", "valid_scribbles0")
    if has(*davis) or (folder.name == DAVIS and has("train_scribbles")):
        return check_davis
    if has("train/JPEGImages", "valid/JPEGImages", "train_scribbles", "valid_scribbles"):
        return check_youtube
    return None


def check_coco(root: Path, report: Report) -> None:
    """The list, images and scribbles of a COCO folder."""
    row = report.add_row("COCO")
    tree = CocoFolder(root)
    try:
        listed = list(CocoScribbles(root))
    except InputError as error:
        what = f"cannot be read: {str(error).removeprefix(f'{tree.list_file}: ')}"
        remedy = 'write {"images": [{"file_name", "anno_name", "num_objects"}, ...]} into it'
        report.error(tree.list_file, what, remedy)
        return
    # relative, as the folders may lie one level off
    names = [os.path.relpath(frame.image, tree.images) for frame in listed]
    maps = [os.path.relpath(frame.scribble, tree.scribbles) for frame in listed]
    images, folder = (
        settle(
            place,
            lambda place, files=files: any((place / name).is_file() for name in files),
            f"file of those in {LIST}",
            report,
        )
        for place, files in ((tree.images, names), (tree.scribbles, maps))
    )
    if folder is None:
        return
    count = sum(path.suffix.lower() in MAP_SUFFIXES for _, files in walk(folder) for path in files)
    if count != len(listed):
        what = f"counts differ: {len(listed)} images listed but {count} scribbles"
        report.error(tree.list_file, what, "complete the scribbles, or list those that are there")
    missing = (f"listed in {LIST} but not there", "put it there, or unlist it")
    for name, anno_name, frame in zip(names, maps, listed, strict=True):
        image = None if images is None else images / name
        path = folder / anno_name
        if image is not None and not image.is_file():
            report.error(image, *missing)
            image = None
        if not path.is_file():
            report.error(path, *missing)
        else:
            _check_coco_map(path, frame.num_objects, image, row, report)


def _check_coco_map(
    path: Path, num_objects: int, image: Path | None, row: TableRow, report: Report
) -> None:
    """One image's labels against `num_objects` of the list, which counts background in."""
    labels = check_map(path, image, report)
    if labels is None:
        return
    found = labels_in(labels)
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


def arrange(source: Path, root: Path, copy: bool = False) -> list[tuple[Path, Path]]:
    """Link, or copy, every part of the scribbles found under `source` into `root`.

    Recognised are `COCO_scribbles.json` with the folder that holds its maps, `train_scribbles` of
    DAVIS and YouTube-VOS (told apart by the names above them, else by their videos'),
    `valid_scribbles` of YouTube-VOS and `valid_scribbles0` and so on of DAVIS, whether these hold
    files or folders. Folders that unpacking nested in one of the same name are seen through.
    Returns (target, source) of what was put; what lies there already is left.
    Raises InputError where nothing is found, or two different things for one place.
    """
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; name the folder of the unpacked archives")
    parts: dict[Path, Path] = {}
    for target, found in _parts(source, root.resolve()):
        other = parts.setdefault(root / target, found)
        if other.resolve() != found.resolve():
            raise InputError(f"{target}: both {other} and {found} would go there; remove one")
    if not parts:
        raise InputError(
            f"{source}: holds no scribbles; expected {LIST}, train_scribbles or valid_scribbles0"
        )
    return [(target, found) for target, found in parts.items() if link_or_copy(found, target, copy)]


def _parts(source: Path, root: Path) -> Iterator[tuple[Path, Path]]:
    """(place in the tree, folder or file) of each part found; the tree itself is not searched."""
    for name, folders, files in os.walk(source):
        here = Path(name)
        if here.resolve() == root:
            folders.clear()
            continue
        if LIST in files:
            coco = CocoFolder(Path(COCO))
            yield coco.list_file, here / LIST
            yield coco.scribbles, _maps_of(here / LIST, source)
        inside = []
        for folder in sorted(name for name in folders if not is_hidden(name)):
            target = _target(here / folder)
            if target is None:
                inside.append(folder)
            else:
                yield target, _unnested(here / folder)
        folders[:] = inside


def _target(folder: Path) -> Path | None:
    """Where a folder of scribbles belongs, by its name and content."""
    match = re.search(r"(train|valid)_scribbles(\d*)$", folder.name.lower())
    if not match:
        return None
    davis, youtube = DavisFolder(Path(DAVIS)), YoutubeFolder(Path(YOUTUBE))
    if match[2]:
        return davis.valid_scribbles(int(match[2])) if match[1] == "valid" else None
    if match[1] == "valid":
        return youtube.scribbles("valid")
    return youtube.scribbles("train") if _is_youtube(folder) else davis.train_scribbles


def _is_youtube(folder: Path) -> bool:
    videos = [path.name for path in list_folders(_unnested(folder))]
    if videos and all(map(_YOUTUBE_ID.fullmatch, videos)):
        return True
    # synthetic or renamed videos: what the archive is called
    names = [part.lower() for part in folder.parts[-3:]]
    return any("youtube" in name or "ytb" in name for name in names)


def _unnested(folder: Path) -> Path:
    """The folder, or the one of the same name that is all it holds."""
    content = [path for path in folder.iterdir() if not is_hidden(path.name)]
    if len(content) == 1 and content[0].is_dir() and content[0].name == folder.name:
        return _unnested(content[0])
    return folder


def _maps_of(listing: Path, source: Path) -> Path:
    """The folder that holds the maps of a COCO list: beside it, or anywhere in the source."""
    try:
        first = read_json(listing)["images"][0]["anno_name"]
    except (InputError, KeyError, IndexError, TypeError):
        raise InputError(f"{listing}: cannot be read; unpack the archive again") from None
    first = from_windows(check_name(first, f"{listing}: images[0]"))
    beside = listing.parent / "scribbles"
    candidates = [beside, *(path for path, _ in walk(source))]
    for folder in candidates:
        if (folder / first).is_file():
            return folder
    raise InputError(f"{listing}: {first}, its first map, is nowhere in {source}; unpack it there")
