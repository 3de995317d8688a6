"""Where the parts of a data tree lie, one level off perhaps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rhmnet.data.readers import IMAGE_SUFFIXES, SCRIBBLE_SUFFIXES
from rhmnet.tools.scribbles.check.report import Report


def settle(
    folder: Path, fits: Callable[[Path], bool], expected: str, report: Report
) -> Path | None:
    """The folder that fits: this one, or one inside it, which is then reported as one level off.

    expected: what it holds, in words. None where none fits, which is reported too.
    """
    if not folder.is_dir():
        report.error(folder, "no such folder", "put it there; --arrange does so with scribbles")
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
    report.error(
        folder, f"holds no {expected}", "put them there; docs/scribbles.md shows the trees"
    )
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


def report_twins(folder: Path, report: Report) -> None:
    """Report files that loaders cannot tell apart, as 00000.bmp and 00000.png."""
    suffixes = {*IMAGE_SUFFIXES, *SCRIBBLE_SUFFIXES}
    stems = Counter(path.stem for path in _files(folder, tuple(suffixes)))
    for stem in (stem for stem, count in stems.items() if count > 1):
        report.error(folder, f"more than one file is named {stem}", "keep one: loaders take any")


def holds_videos_of(files: Callable[[Path], dict[str, Path]]) -> Callable[[Path], bool]:
    """Whether a folder holds folders of such files."""
    return lambda folder: any(files(child) for child in subfolders(folder))


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    return {path.stem: path for path in _files(folder, suffixes)}


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)
