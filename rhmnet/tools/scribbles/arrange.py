"""Put the authors' scribbles, unpacked anywhere, into the tree that the loaders read."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from rhmnet.errors import InputError
from rhmnet.files.names import check_name, from_windows, is_hidden, list_folders, walk
from rhmnet.files.reading import read_json
from rhmnet.files.writing import make_folder, new_file, replacing

_LIST = "COCO_scribbles.json"
_YOUTUBE_ID = re.compile(r"[0-9a-f]{10}")


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
            f"{source}: holds no scribbles; expected {_LIST}, train_scribbles or valid_scribbles0"
        )
    return [(target, found) for target, found in parts.items() if place(found, target, copy)]


def _parts(source: Path, root: Path) -> Iterator[tuple[Path, Path]]:
    """(place in the tree, folder or file) of each part found; the tree itself is not searched."""
    for name, folders, files in os.walk(source):
        here = Path(name)
        if here.resolve() == root:
            folders.clear()
            continue
        if _LIST in files:
            yield Path("COCO", _LIST), here / _LIST
            yield Path("COCO", "scribbles"), _maps_of(here / _LIST, source)
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
    if match[2]:
        return Path("DAVIS", f"{match[1]}_scribbles{match[2]}") if match[1] == "valid" else None
    if match[1] == "valid":
        return Path("Youtube-VOS", "valid_scribbles")
    return Path("Youtube-VOS" if _is_youtube(folder) else "DAVIS", "train_scribbles")


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


def given_place(path: Path, root: Path, what: str) -> Path:
    """A path as it was given, from the current folder, or else below `root`.

    what: for the message. Raises InputError that names both places where neither is there.
    """
    places = [path] if path.is_absolute() else [path, root / path]
    for found in places:
        if os.path.exists(found):  # a name that no file system holds is not there
            return found
    looked = " and ".join(map(str, places))
    raise InputError(f"{looked}: no such file or folder; expected {what}")


def place(source: Path, target: Path, copy: bool) -> bool:
    """Make `target` a link to `source`, or a copy of it; False if it is there already.

    Raises InputError where something else lies at `target`, or links cannot be made.
    """
    if target.is_symlink() or target.exists():
        if target.resolve() == source.resolve():
            return False
        if copy and _alike(source, target):
            return False
        raise InputError(f"{target}: is there already and is not {source}; move it away")
    make_folder(target.parent)
    if not copy:
        try:
            # relative, so that a tree that lies beside its sources can move with them
            link = os.path.relpath(source.resolve(), target.parent.resolve())
            target.symlink_to(link, target_is_directory=source.is_dir())
        except OSError as error:
            raise InputError(
                f"{target}: cannot be linked ({error.strerror}); ask for copies with --copy"
            ) from None
        return True
    if source.is_dir():
        with replacing(target) as partial:
            shutil.copytree(source, partial, copy_function=_copy)
    else:
        _copy(source, target)
    return True


def _copy(source: str | Path, target: str | Path) -> None:
    try:
        data = open(source, "rb")  # noqa: SIM115  closed below
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror})") from None
    with data, new_file(target) as file:
        shutil.copyfileobj(data, file)


def _alike(source: Path, target: Path) -> bool:
    if source.is_file() or target.is_file():
        return source.is_file() and target.is_file() and source.read_bytes() == target.read_bytes()
    return _sizes(source) == _sizes(target)


def _sizes(folder: Path) -> dict[Path, int]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.stat().st_size for path in files}
