"""Where the parts of a data tree lie, one level off perhaps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rhmnet.files.names import FRAME_SUFFIXES, MAP_SUFFIXES, by_stem, list_files, list_folders
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
    for child in list_folders(folder):
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


def images(folder: Path) -> dict[str, Path]:
    """Images in a folder by stem."""
    return by_stem(folder, FRAME_SUFFIXES)


def scribbles(folder: Path) -> dict[str, Path]:
    """Scribbles in a folder by stem."""
    return by_stem(folder, MAP_SUFFIXES)


def report_twins(folder: Path, report: Report) -> None:
    """Report files that loaders cannot tell apart, as 00000.bmp and 00000.png."""
    suffixes = {*FRAME_SUFFIXES, *MAP_SUFFIXES}
    stems = Counter(path.stem for path in list_files(folder, tuple(suffixes)))
    for stem in (stem for stem, count in stems.items() if count > 1):
        report.error(folder, f"more than one file is named {stem}", "keep one: loaders take any")


def holds_videos_of(files: Callable[[Path], dict[str, Path]]) -> Callable[[Path], bool]:
    """Whether a folder holds folders of such files."""
    return lambda folder: any(files(child) for child in list_folders(folder))
