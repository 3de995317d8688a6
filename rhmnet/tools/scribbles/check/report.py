"""What a check finds: findings, a table, a contact sheet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rhmnet.errors import InputError, shown
from rhmnet.files.images import read_image
from rhmnet.files.legend import Frame, PaintOptions
from rhmnet.files.scribble_file import read_strokes_file
from rhmnet.labels import BACKGROUND
from rhmnet.visualize import contact_sheet, draw_scribble

SHEET_PICTURES = 24
SHEET_COLUMNS = 4


class Finding(NamedTuple):
    """One thing that is wrong, or worth knowing."""

    where: Path
    what: str
    remedy: str
    severe: bool = True
    """True where it would break training or evaluation."""

    def __str__(self) -> str:
        return f"{'error' if self.severe else 'note'}: {self.where}: {self.what}; {self.remedy}"


class Sample(NamedTuple):
    """A frame for the contact sheet."""

    image: Path
    scribble: Path
    background: int
    """Label value of its background's strokes."""


@dataclass
class Row:
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
    rows: list[Row] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    painted: dict[Path, int] = field(default_factory=dict)
    """N of files that were painted in colours: their background, where there is any, is N + 1."""
    background_color: str | None = None
    """Of painted background strokes, as the user says."""

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
        self, row: Row, labels: np.ndarray, background: int, image: Path | None, path: Path
    ) -> None:
        """Add one scribbled image to a row, and to the contact sheet where its image is there."""
        row.count(labels, background)
        row.objects += background - 1
        if image is not None:
            self.samples.append(Sample(image, path, background))

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


def _short(how: str) -> str:
    """How a file was read, in a caption's few letters."""
    legend = how.partition(": ")[2].replace(" → object ", "=").replace("background: ", "bg=")
    return legend.encode("ascii", "replace").decode()[:34]


def _cells(row: Row) -> tuple[str, ...]:
    shares = (row.object_pixels, row.background_pixels)
    videos = str(row.videos) if row.videos else "-"
    percent = [f"{100 * share / row.pixels:.2f} %" if row.pixels else "-" for share in shares]
    return (shown(row.name), videos, str(row.frames), str(row.objects), *percent)


def _spread(samples: list[Sample], count: int) -> Iterable[Sample]:
    if len(samples) <= count:
        return samples
    return (samples[round(i)] for i in np.linspace(0, len(samples) - 1, count))
