"""Colours of painted strokes: their names, and which is which object's or the background's."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import ImageColor

from rhmnet.errors import InputError
from rhmnet.files.painting import Ground, NotClear, Separated
from rhmnet.labels import BACKGROUND, davis_palette

_NONE = "none"  # the name for: no colour is the background's
_HUES = (  # up to which hue, of 360: its name, and those of its dark and of its pale shades
    (15, "red", "dark red", "pink"),
    (45, "orange", "brown", "orange"),
    (70, "yellow", "olive", "yellow"),
    (165, "green", "dark green", "green"),
    (200, "cyan", "teal", "cyan"),
    (260, "blue", "dark blue", "blue"),
    (290, "purple", "purple", "purple"),
    (335, "magenta", "purple", "pink"),
    (360, "red", "dark red", "pink"),
)
_DARK, _DARK_ORANGE = 153, 200  # the largest channel of dark shades; brown is lighter than most
_PALE, _PALE_LEAST = 0.6, 200  # the saturation of pale shades, and their largest channel
_WEB = {"green": "lime", "dark green": "green", "dark red": "maroon", "dark blue": "navy"}
"""What the web calls colours that have another name here."""
_GREY_SPREAD = 40  # between a grey's channels, at most
_GREY_LEAST = 56  # darker is black
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
        davis = _davis_numbers(colours, tolerance)
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
        wanted = _parse_colour(options.background_color)
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
    greys = [n for n in range(total) if _is_grey(colours[n])]
    davis = _davis_numbers(colours, _tolerance(ground))
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
        f"{name.split(' #')[0]} {_hex_of(colour)} ({count} pixels)"
        for name, colour, count in zip(names, found.colours, counts, strict=True)
    )
    return (
        f"{why}; found {colours}; say which is the background's by --background-color {remedy}, "
        f"or that none is by --background-color {_NONE}"
    )


def _tolerance(ground: Ground) -> int:
    """How far a channel may be off DAVIS' palette."""
    return 12 if ground.lossy else 2


def _davis_numbers(colours: np.ndarray, tolerance: int) -> list[int] | None:
    """Their labels in DAVIS' palette, where all are in it."""
    numbers = [davis_number(colour, tolerance) for colour in colours]
    return None if None in numbers or len(set(numbers)) < len(numbers) else numbers


def names_of(colours: np.ndarray) -> list[str]:
    """What to call colours, uint8 [N, 3]: plain names, with hex digits where two share one."""
    plain = [_plain(colour) for colour in colours.astype(np.float32)]
    return [
        name if plain.count(name) == 1 else f"{name} {_hex_of(colour)}"
        for name, colour in zip(plain, colours, strict=True)
    ]


def _hex_of(colour: np.ndarray) -> str:
    """As in #ff0000, which `_parse_colour` reads."""
    return "#" + "".join(f"{int(channel):02x}" for channel in colour)


def _parse_colour(text: str) -> np.ndarray | None:
    """uint8 [3] of `white`, `#ff8800` or `rgb(255, 136, 0)`; None of `none`."""
    word = text.strip().lower()
    if word == _NONE:
        return None
    word = _WEB.get(word, word)
    try:
        return np.array(ImageColor.getrgb(word)[:3], np.uint8)
    except ValueError:
        raise InputError(
            f"--background-color {text!r}: no colour; expected a name as white, a value as "
            f"#ff8800, or {_NONE} where no stroke is the background's"
        ) from None


def _is_grey(colour: np.ndarray) -> bool:
    """Whether a colour, [3], is a grey or white; black is neither."""
    low, high = int(colour.min()), int(colour.max())
    return high - low <= _GREY_SPREAD and high >= _GREY_LEAST


def davis_number(colour: np.ndarray, tolerance: int) -> int | None:
    """The label, 1..255, whose colour in DAVIS' palette this is; None for other colours."""
    off = np.abs(davis_palette().astype(int) - colour.astype(int)).max(axis=1)
    best = int(off.argmin())
    return best if best > 0 and off[best] <= tolerance else None


def _plain(colour: np.ndarray) -> str:
    if not _is_grey(colour) and colour.max() < 40:
        return "black"
    if _is_grey(colour):
        return "white" if colour.min() >= 216 else "grey"
    high, low = float(colour.max()), float(colour.min())
    hue = colorsys.rgb_to_hsv(*(colour / 255).tolist())[0] * 360
    plain, dark, pale = next(names for most, *names in _HUES if hue <= most)
    if high < (_DARK_ORANGE if plain == "orange" else _DARK):
        return dark
    return pale if high >= _PALE_LEAST and high - low < _PALE * high else plain
