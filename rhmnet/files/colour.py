"""Colours of painted strokes: what they are called, which of them DAVIS numbers, which are grey."""

from __future__ import annotations

import colorsys

import numpy as np
from PIL import ImageColor

from rhmnet.errors import InputError
from rhmnet.labels import davis_palette

NONE = "none"
"""The name for: no colour is the background's."""
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


def names_of(colours: np.ndarray) -> list[str]:
    """What to call colours, uint8 [N, 3]: plain names, with hex digits where two share one."""
    plain = [_plain(colour) for colour in colours.astype(np.float32)]
    return [
        name if plain.count(name) == 1 else f"{name} {hex_of(colour)}"
        for name, colour in zip(plain, colours, strict=True)
    ]


def hex_of(colour: np.ndarray) -> str:
    """As in #ff0000, which `parse_colour` reads."""
    return "#" + "".join(f"{int(channel):02x}" for channel in colour)


def parse_colour(text: str) -> np.ndarray | None:
    """uint8 [3] of `white`, `#ff8800` or `rgb(255, 136, 0)`; None of `none`."""
    word = text.strip().lower()
    if word == NONE:
        return None
    word = _WEB.get(word, word)
    try:
        return np.array(ImageColor.getrgb(word)[:3], np.uint8)
    except ValueError:
        raise InputError(
            f"--background-color {text!r}: no colour; expected a name as white, a value as "
            f"#ff8800, or {NONE} where no stroke is the background's"
        ) from None


def is_grey(colour: np.ndarray) -> bool:
    """Whether a colour, [3], is a grey or white; black is neither."""
    low, high = int(colour.min()), int(colour.max())
    return high - low <= _GREY_SPREAD and high >= _GREY_LEAST


def davis_number(colour: np.ndarray, tolerance: int) -> int | None:
    """The label, 1..255, whose colour in DAVIS' palette this is; None for other colours."""
    off = np.abs(davis_palette().astype(int) - colour.astype(int)).max(axis=1)
    best = int(off.argmin())
    return best if best > 0 and off[best] <= tolerance else None


def _plain(colour: np.ndarray) -> str:
    if not is_grey(colour) and colour.max() < 40:
        return "black"
    if is_grey(colour):
        return "white" if colour.min() >= 216 else "grey"
    high, low = float(colour.max()), float(colour.min())
    hue = colorsys.rgb_to_hsv(*(colour / 255).tolist())[0] * 360
    plain, dark, pale = next(names for most, *names in _HUES if hue <= most)
    if high < (_DARK_ORANGE if plain == "orange" else _DARK):
        return dark
    return pale if high >= _PALE_LEAST and high - low < _PALE * high else plain
