"""Where the parts of a data tree lie, one level off perhaps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rhmnet.data.readers import IMAGE_SUFFIXES, SCRIBBLE_SUFFIXES
from rhmnet.scribbles.check.report import Report


def settle(folder: Path, fits: Callable[[Path], bool], report: Report) -> Path | None:
    """The folder that fits: this one, or one inside it, which is then reported as one level off.

    None where there is none, which is reported too.
    """
    if not folder.is_dir():
        report.error(folder, "no such folder", "put it there, or arrange it with --arrange")
        return None
    if fits(folder):
        return folder
    for child in subfolders(folder):
        if fits(child):
            report.error(
                folder,
                f"the folder is one level off: its content lies in {child.name}/",
                f"move what is in {child} one level up",
            )
            return child
    return None


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, in order of their names; none if there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir())


def images(folder: Path) -> dict[str, Path]:
    """Images in a folder by stem."""
    return _by_stem(folder, IMAGE_SUFFIXES)


def scribbles(folder: Path) -> dict[str, Path]:
    """Scribbles in a folder by stem."""
    return _by_stem(folder, SCRIBBLE_SUFFIXES)


def holds_videos_of(files: Callable[[Path], dict[str, Path]]) -> Callable[[Path], bool]:
    """Whether a folder holds folders of such files."""
    return lambda folder: any(files(child) for child in subfolders(folder))


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)
    return {path.stem: path for path in files}
