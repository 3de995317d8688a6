"""What a check finds: findings, a table, a contact sheet; what is wrong with one label map."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rhmnet.errors import InputError, shown
from rhmnet.files import FRAME_SUFFIXES, MAP_SUFFIXES, list_files, list_folders
from rhmnet.files.images import SUSPECT, image_size, is_blended, is_whole_jpeg, read_image
from rhmnet.files.legend import Frame, PaintOptions
from rhmnet.files.scribble_file import read_strokes_file
from rhmnet.labels import BACKGROUND, to_disk
from rhmnet.visualize import contact_sheet, draw_scribble

SHEET_PICTURES = 24
SHEET_COLUMNS = 4
_CONVERT = "scripts/convert_scribbles.py"


class Finding(NamedTuple):
    """One thing that is wrong, or worth knowing."""

    where: Path
    what: str
    remedy: str
    severe: bool = True
    """True where it would break training or evaluation."""

    def __str__(self) -> str:
        return f"{'error' if self.severe else 'note'}: {self.where}: {self.what}; {self.remedy}"


class SheetPicture(NamedTuple):
    """A frame for the contact sheet."""

    image: Path
    scribble: Path
    background: int
    """Label value of its background's strokes."""


@dataclass
class TableRow:
    """One set's line in the table."""

    name: str
    videos: int = 0
    frames: int = 0
    objects: int = 0
    """Of images, or of videos, together."""
    object_pixels: int = 0
    background_pixels: int = 0
    pixels: int = 0

    def count(self, labels: np.ndarray, background: int) -> None:
        """Add one scribble, uint8 [H, W]."""
        drawn, behind = np.count_nonzero(labels), np.count_nonzero(labels == background)
        self.frames += 1
        self.object_pixels += drawn - behind
        self.background_pixels += behind
        self.pixels += labels.size


@dataclass
class Report:
    """Everything that a check found."""

    findings: list[Finding] = field(default_factory=list)
    rows: list[TableRow] = field(default_factory=list)
    samples: list[SheetPicture] = field(default_factory=list)
    painted: dict[Path, int] = field(default_factory=dict)
    """N of files that were painted in colours: their background, where there is any, is N + 1."""
    background_color: str | None = None
    """Of painted background strokes, as the user says."""

    def add_row(self, name: str) -> TableRow:
        """A new line of the table."""
        self.rows.append(TableRow(name))
        return self.rows[-1]

    def paint_options(self, frame: Frame) -> PaintOptions:
        """How to understand a painted file."""
        return PaintOptions(frame, self.background_color)

    def background_of(self, path: Path, labels: np.ndarray) -> int:
        """The label of the background in a map as on disk: the largest, where it does not say."""
        return self.painted[path] + 1 if path in self.painted else int(labels.max())

    def error(self, where: Path, what: str, remedy: str) -> None:
        """Add what would break training or evaluation."""
        self.findings.append(Finding(where, what, remedy))

    def note(self, where: Path, what: str, remedy: str) -> None:
        """Add what is worth knowing, but breaks nothing."""
        self.findings.append(Finding(where, what, remedy, severe=False))

    def count_image(
        self, row: TableRow, labels: np.ndarray, background: int, image: Path | None, path: Path
    ) -> None:
        """Add one scribbled image to a row, and to the contact sheet where its image is there."""
        row.count(labels, background)
        row.objects += background - 1
        if image is not None:
            self.samples.append(SheetPicture(image, path, background))

    def broken(self) -> bool:
        """Whether anything would break training or evaluation."""
        return any(finding.severe for finding in self.findings)

    def table(self) -> str:
        """Videos, frames, objects and strokes' share of pixels, one line a set."""
        head = ("set", "videos", "frames", "objects", "object strokes", "background strokes")
        lines = [head, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        )

    def sheet(self) -> np.ndarray | None:
        """Strokes over images, spread evenly over the samples; uint8 [H, W, 3] RGB, or None."""
        pictures, captions = [], []
        for sample in _spread(self.samples, SHEET_PICTURES):
            try:
                image = read_image(sample.image)
                labels, how, _ = read_strokes_file(sample.scribble, self.paint_options(image))
            except InputError:
                continue
            if image.shape[:2] == labels.shape:
                strokes = np.where(labels == sample.background, np.uint8(BACKGROUND), labels)
                pictures.append(draw_scribble(image, strokes))
                name = f"{sample.scribble.parent.name}/{sample.scribble.stem}"
                name = name.encode("ascii", "replace").decode()[-28:]
                captions.append(f"{sample.scribble.stem[-12:]}: {_short(how)}" if how else name)
        return contact_sheet(pictures, captions, SHEET_COLUMNS) if pictures else None


def check_map(
    path: Path, image: Path | None, report: Report, painted: bool = False
) -> np.ndarray | None:
    """Report what is wrong with a scribble file; returns its labels, None if they are no use.

    image: the frame that it lies on; its size must be the same. painted: whether strokes painted
    in colours may stay so; loaders of training read label maps alone.
    """
    labels = _read(path, image, report, painted)
    if labels is None:
        return None
    size = _image_size(image, report)
    if size is not None and size != labels.shape:
        shape = f"{labels.shape[1]}x{labels.shape[0]}"
        what = f"size {shape} differs from its image's, {size[1]}x{size[0]}"
        remedy = "draw it on the image as it is, or resize it with nearest neighbours"
        report.error(path, what, remedy)
    if not labels.any():
        report.error(path, "empty: no stroke in it", "draw at least one stroke")
        return None
    if (labels == BACKGROUND).any():
        what = "255 in it: background strokes have the label N + 1 on disk"
        remedy = (
            f"make it 0 where it means void; {_CONVERT} --to bmp makes it N + 1, for background"
        )
        report.error(path, what, remedy)
        return None
    return labels


def check_gaps(path: Path, found: set[int], largest: int, report: Report) -> None:
    """Report labels of 1..largest that are missing among those found."""
    missing = [value for value in range(1, largest + 1) if value not in found]
    if missing:
        names = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        what = f"labels have gaps: {names} missing of 1..{largest}"
        report.error(path, what, "renumber the labels, or draw the strokes that are missing")


def check_order(folder: Path, names: Sequence[str], report: Report) -> None:
    """Report frame names whose alphabetical order is not that of their numbers."""
    numbers = [re.findall(r"\d+", name) for name in sorted(names)]
    if not all(numbers):
        return
    last = [int(parts[-1]) for parts in numbers]
    if last != sorted(last):
        first = next(i for i in range(1, len(last)) if last[i] < last[i - 1])
        before, after = sorted(names)[first - 1 : first + 1]
        what = f"names do not sort: {before} comes before {after}"
        remedy = "rename the frames with leading zeros, as in 00002, images and scribbles alike"
        report.error(folder, what, remedy)


def _read(path: Path, image: Path | None, report: Report, painted: bool) -> np.ndarray | None:
    """Labels as on disk."""
    frame = None if image is None else functools.partial(_frame, image)
    try:
        labels, how, blended = read_strokes_file(path, report.paint_options(frame))
        blended |= how is None and is_blended(labels, SUSPECT)
    except InputError as error:
        what = str(error).removeprefix(f"{path}: ")
        report.error(path, what, "save it again as 8-bit BMP or PNG")
        return None
    if blended:
        what = "anti-aliased edges: labels in between run along the strokes"
        report.error(path, what, "draw and resize without anti-aliasing (nearest neighbours)")
        return None
    if how is None:
        return labels
    if painted:
        remedy = "if that is wrong, paint in plainer colors, or give --background-color"
        report.note(path, how, remedy)
    else:
        what = f"RGB where a label map should be ({how})"
        remedy = f"save label values; {_CONVERT} --to bmp makes them of such colours"
        report.error(path, what, remedy)
    count = report.painted[path] = int(labels[labels < BACKGROUND].max(initial=0))
    return to_disk(labels, count)


def _frame(image: Path) -> np.ndarray | None:
    try:
        return read_image(image)
    except InputError:  # told of the image itself
        return None


def _image_size(image: Path | None, report: Report) -> tuple[int, int] | None:
    """H, W of an image, from its header; its pixels are not decoded, but its end must be there."""
    if image is None:
        return None
    try:
        if not is_whole_jpeg(image):
            report.error(image, "is cut off", "replace the file")
        return image_size(image)
    except InputError as error:
        report.error(image, str(error).removeprefix(f"{image}: "), "replace the file")
        return None


def labels_in(labels: np.ndarray) -> set[int]:
    """The labels of a map's strokes."""
    return set(np.unique(labels).tolist()) - {0}


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
            what = f"the folder is one level off: its content lies in {child.name}/"
            report.error(folder, what, f"move what is in {child} one level up")
            return child
    remedy = "put them there; docs/scribbles.md shows the trees"
    report.error(folder, f"holds no {expected}", remedy)
    return None


def settle_videos(folder: Path, suffixes: tuple[str, ...], report: Report) -> Path | None:
    """`settle` for a folder of videos, each a folder of files with one of the suffixes."""
    expected = f"<video>/<frame>{suffixes[0]}"
    return settle(folder, lambda place: holds_videos(place, suffixes), expected, report)


def holds_videos(folder: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether a folder holds folders of such files."""
    return any(list_files(child, suffixes) for child in list_folders(folder))


def report_twins(folder: Path, report: Report) -> None:
    """Report files that loaders cannot tell apart, as 00000.bmp and 00000.png."""
    suffixes = {*FRAME_SUFFIXES, *MAP_SUFFIXES}
    stems = Counter(path.stem for path in list_files(folder, tuple(suffixes)))
    for stem in (stem for stem, count in stems.items() if count > 1):
        report.error(folder, f"more than one file is named {stem}", "keep one: loaders take any")


def _short(how: str) -> str:
    """How a file was read, in a caption's few letters."""
    legend = how.partition(": ")[2].replace(" → object ", "=").replace("background: ", "bg=")
    return legend.encode("ascii", "replace").decode()[:34]


def _cells(row: TableRow) -> tuple[str, ...]:
    shares = (row.object_pixels, row.background_pixels)
    videos = str(row.videos) if row.videos else "-"
    percent = [f"{100 * share / row.pixels:.2f} %" if row.pixels else "-" for share in shares]
    return (shown(row.name), videos, str(row.frames), str(row.objects), *percent)


def _spread(samples: list[SheetPicture], count: int) -> Iterable[SheetPicture]:
    if len(samples) <= count:
        return samples
    return (samples[round(i)] for i in np.linspace(0, len(samples) - 1, count))
