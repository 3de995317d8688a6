"""Which colour of painted strokes is which object, and which the background's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from rhmnet.files.colour import NONE, davis_number, hex_of, is_grey, names_of, parse_colour
from rhmnet.files.ground import Ground, NotClear
from rhmnet.files.painting import Separated
from rhmnet.labels import BACKGROUND

_SAME = 64.0  # distance, of 441, at which a colour of another file, or a named one, is the same
Frame = np.ndarray | Callable[[], np.ndarray | None] | None
"""uint8 [H, W, 3], or what reads it where it is needed."""


@dataclass
class Legend:
    """Which colour is which object, kept over the files of one video."""

    colours: list[np.ndarray] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    by_order: bool = False
    """Whether any colour was numbered by its place, not by DAVIS' palette."""

    def number(self, colours: np.ndarray, tolerance: int) -> list[int]:
        """The objects of one file's colours, uint8 [N, 3], in order of their appearance.

        Those of DAVIS' palette (up to `tolerance` in each channel), where all are in it; else those
        that a colour has already, or the next ones.
        """
        davis = davis_numbers(colours, tolerance)
        if davis is not None and not self.by_order:
            self._add(colours, davis)
            return davis
        self.by_order = True
        numbers: list[int] = []
        for colour in colours:
            off = [
                np.inf if number in numbers else float(np.linalg.norm(known - colour.astype(float)))
                for known, number in zip(self.colours, self.numbers, strict=True)
            ]
            if min(off, default=np.inf) <= _SAME:
                numbers.append(self.numbers[int(np.argmin(off))])
                continue
            numbers.append(max([*self.numbers, *numbers], default=0) + 1)
            self._add(colour[None], numbers[-1:])
        return numbers

    def _add(self, colours: np.ndarray, numbers: list[int]) -> None:
        self.colours += list(colours.astype(float))
        self.numbers += numbers


@dataclass
class PaintOptions:
    """What a painted file does not say itself."""

    frame: Frame = None
    """The frame that the strokes are on."""
    background_color: str | None = None
    """The background strokes' colour, as `white`, `#ff8800` or `none`."""
    num_objects: int | None = None
    """N, where it is known: tells whether a grey or white is one of the objects."""
    legend: Legend = field(default_factory=Legend)


def number_strokes(
    found: Separated, ground: Ground, options: PaintOptions
) -> tuple[np.ndarray, str]:
    """Labels, uint8 [H, W] with 255 for background, of strokes by colour; and which they got.

    Raises NotClear, with the colours found, where it is open which is the background's.
    """
    colours = found.colours
    if not len(colours):
        raise NotClear("holds no stroke; nothing in it differs from what is painted on")
    names = names_of(colours)
    behind = _background_of(found, names, ground, options)
    objects = [n for n in range(len(colours)) if n not in behind]
    numbers = options.legend.number(colours[objects], _tolerance(ground))
    count = options.num_objects
    if max(numbers, default=0) > (count if count and options.legend.by_order else BACKGROUND):
        raise NotClear(_listed(found, names, "it has more colours than objects"))
    table = np.full(len(colours) + 1, BACKGROUND)
    table[0] = 0
    for n, number in zip(objects, numbers, strict=True):
        table[n + 1] = number
    places = {"layer": "a transparent layer", "frame": "the frame"}
    place = places.get(ground.kind) or names_of(ground.pixels[None])[0]
    parts = [
        f"{names[n]} → "
        + (f"object {number}" if number not in (BACKGROUND, count and count + 1) else "background")
        for n, number in zip(objects, numbers, strict=True)
    ]
    said = f"; background: {', '.join(names[n] for n in behind)}" if behind else ""
    labels = table[found.index].astype(np.uint8)
    return labels, f"painted on {place}: {', '.join(parts)}{said}"


def _background_of(
    found: Separated, names: list[str], ground: Ground, options: PaintOptions
) -> list[int]:
    """Which of the colours are the background's; raises NotClear where that is open."""
    colours, total = found.colours, len(found.colours)
    if options.background_color is not None:
        wanted = parse_colour(options.background_color)
        if wanted is None:
            return []
        said = options.background_color.strip().lower()
        if said in names:  # as messages call it: #00ff00 is green, not the web's dark green
            return [names.index(said)]
        off = np.linalg.norm(colours.astype(float) - wanted, axis=1)
        if off.min() > 1.5 * _SAME:
            told = f"--background-color {options.background_color} is none of its colours"
            raise NotClear(_listed(found, names, told))
        return [int(off.argmin())]
    greys = [n for n in range(total) if is_grey(colours[n])]
    davis = davis_numbers(colours, _tolerance(ground))
    if not greys or (davis and set(range(1, max(davis))) <= set(davis)):
        return []
    if ground.kind == "layer":
        if len(greys) == total:
            told = "is all grey or white, which is the background's on a transparent layer"
            raise NotClear(_listed(found, names, told))
        return greys
    if total == 1 or options.num_objects == total:
        return []
    if len(greys) == 1 and options.num_objects == total - 1:
        return greys
    told = f"{names[greys[0]]} may be an object or the background"
    raise NotClear(_listed(found, names, told, names[greys[0]].split()[0]))


def _listed(found: Separated, names: list[str], why: str, remedy: str = "COLOUR") -> str:
    """A message that shows the colours and the option that settles it."""
    counts = np.bincount(found.index.ravel(), minlength=len(names) + 1)[1:]
    colours = ", ".join(
        f"{name.split(' #')[0]} {hex_of(colour)} ({count} pixels)"
        for name, colour, count in zip(names, found.colours, counts, strict=True)
    )
    return (
        f"{why}; found {colours}; say which is the background's by --background-color {remedy}, "
        f"or that none is by --background-color {NONE}"
    )


def _tolerance(ground: Ground) -> int:
    """How far a channel may be off DAVIS' palette."""
    return 12 if ground.lossy else 2


def davis_numbers(colours: np.ndarray, tolerance: int) -> list[int] | None:
    """Their labels in DAVIS' palette, where all are in it."""
    numbers = [davis_number(colour, tolerance) for colour in colours]
    return None if None in numbers or len(set(numbers)) < len(numbers) else numbers
