"""What a user can get wrong: the one error for it, how text is shown, and what values may be.

Bounds stand beside a declaration, are checked, and are shown. Options of command lines are declared
with them, and the fields of configurations: `number(...)`, `choice(...)` and the like make a
dataclass's field with what it means and what it may be.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import reprlib
from dataclasses import dataclass
from typing import Any, TextIO

MOST_SEED = 2**63 - 1
"""PyTorch's generators take no larger ones, and NumPy's no negative ones."""
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_LAYOUT = str.maketrans("", "", "\n\r\t")
_LONGEST, _LONGEST_END = 2000, 500
"""Characters of a message, and of its end, where it is cut in the middle."""


class InputError(ValueError):
    """Bad input: a file, a key or a value that the user can mend.

    The message is one line that names the file or key, what was expected, and the remedy; what
    would break the line, or speak to the terminal, is escaped in it, and a long one cut.
    """

    def __init__(self, message: object = "") -> None:
        text = shown(message)
        if len(text) > _LONGEST:  # a value of a file, of any length; what follows it is the remedy
            text = f"{text[:-_LONGEST_END][: _LONGEST - _LONGEST_END]} ... {text[-_LONGEST_END:]}"
        super().__init__(text)


def shown(text: object) -> str:
    """Text, a path say, as one line that any terminal can show.

    Newlines, terminal escapes, characters that turn the direction of writing, and bytes of names
    that are no UTF-8 become \\n, \\x1b, \\u202e, \\xff.
    """
    text = str(text)
    return text if text.isprintable() else "".join(map(_shown, text))


def say(line: object, file: TextIO | None = None) -> None:
    """Print a line, which stays one whatever names are in it. file: None for standard output."""
    print(shown(line), file=file, flush=file is not None)


def laid_out(text: str) -> str:
    """Text of several lines, as a table or a progress bar, that no terminal takes for orders."""
    if text.translate(_LAYOUT).isprintable():
        return text
    return "".join(c if c in "\n\r\t" else _shown(c) for c in text)


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # a byte, as Python holds those of names
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def short(value: Any) -> str:
    """A value for a message, on one line and cut short, however much it holds."""
    value = list(value) if isinstance(value, tuple) else value
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python refuses to write out integers of thousands of digits
        return f"a number of {value.bit_length()} bits" if isinstance(value, int) else "a value"


@dataclass(frozen=True)
class Range:
    """Finite numbers from `least` to `most`, both included."""

    least: float
    most: float
    multiple: int = 1  # whole multiples of it alone
    odd: bool = False
    below: bool = False  # `most` itself is excluded
    or_zero: bool = False  # 0 too, which switches off what is counted
    words: tuple[str, ...] = ()  # and these words

    def holds(self, value: Any) -> bool:
        """True if the value is one of them."""
        if isinstance(value, str):
            return value in self.words
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if isinstance(value, float) and not math.isfinite(value):
            return False
        if self.or_zero and value == 0:
            return True
        inside = self.least <= value < self.most if self.below else self.least <= value <= self.most
        fits = self.multiple == 1 or value % self.multiple == 0
        return inside and fits and not (self.odd and value % 2 != 1)

    def __str__(self) -> str:
        parts = [_plain(self.least), "to below" if self.below else "to", _plain(self.most)]
        kind = "an odd number, " if self.odd else ""
        kind = f"a multiple of {self.multiple}, " if self.multiple > 1 else kind
        zero = "0, or " if self.or_zero else ""
        words = "".join(f"{word}, or " for word in self.words)
        return f"{words}{zero}{kind}{' '.join(parts)}"


@dataclass(frozen=True)
class Choice:
    """One of these words."""

    words: tuple[str, ...]

    def holds(self, value: Any) -> bool:
        """True if the value is one of them."""
        return isinstance(value, str) and value in self.words

    def __str__(self) -> str:
        return f"one of {', '.join(self.words)}"


@dataclass(frozen=True)
class Text:
    """A name or a path."""

    what: str = "a name or a path"
    or_none: bool = False

    def holds(self, value: Any) -> bool:
        """True if it is text, not empty, without control characters."""
        if value is None:
            return self.or_none
        return isinstance(value, str) and bool(value.strip()) and value.isprintable()

    def __str__(self) -> str:
        return f"{self.what}, or null" if self.or_none else self.what


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def holds(self, value: Any) -> bool:
        """True if it is either."""
        return isinstance(value, bool)

    def __str__(self) -> str:
        return "true or false"


@dataclass(frozen=True)
class Several:
    """A list; each of its values is one of `each`."""

    each: Range
    least: int = 1  # values
    most: int = 16

    def holds(self, value: Any) -> bool:
        """True if it is such a list."""
        whole = isinstance(value, (list, tuple)) and self.least <= len(value) <= self.most
        return whole and all(map(self.each.holds, value))

    def __str__(self) -> str:
        count = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"
        return f"a list of {count}, each {self.each}"


FINITE = Range(-math.inf, math.inf)
Rule = Range | Choice | Text | Flag | Several


def check(name: str, value: Any, rule: Rule) -> None:
    """Raise InputError that names the value and what was expected, unless the rule holds it."""
    if not rule.holds(value):
        raise InputError(f"{name}={short(value)}: expected {rule}")


def declare(default: Any, help: str, rule: Rule) -> Any:
    """A field with what it means, with its unit, and what it may be."""
    return dataclasses.field(default=default, metadata={"help": help, "rule": rule})


def number(default: Any, help: str, least: float, most: float, **more: Any) -> Any:
    """A field that holds a number from `least` to `most`; more: the other fields of `Range`."""
    return declare(default, help, Range(least, most, **more))


def numbers(default: Any, help: str, each: Range, least: int, most: int) -> Any:
    """A field that holds `least` to `most` numbers."""
    return declare(default, help, Several(each, least, most))


def choice(default: str, help: str, words: tuple[str, ...]) -> Any:
    """A field that holds one of the words."""
    return declare(default, help, Choice(words))


def flag(default: bool, help: str) -> Any:
    """A field that is true or false."""
    return declare(default, help, Flag())


def text(default: str | None, help: str, **more: Any) -> Any:
    """A field that holds a name or a path; more: the fields of `Text`."""
    return declare(default, help, Text(**more))


def check_fields(config: Any) -> None:
    """Check every field of every group; raises InputError that names the field."""
    for group in dataclasses.fields(config):
        fields = getattr(config, group.name)
        for field in dataclasses.fields(fields):
            value = getattr(fields, field.name)
            check(f"{group.name}.{field.name}", value, field.metadata["rule"])


def check_number(value: Any, name: str) -> int:
    """A whole number, of Python or NumPy, as an int; a truth value is none."""
    try:
        if type(value).__name__ in ("bool", "bool_"):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise InputError(f"{name}={short(value)}: expected a whole number, as 2") from None


def is_whole_number(value: Any, least: int, most: int = 2**62) -> bool:
    """Whether a value is a whole number of Python's, no truth value, from `least` to `most`."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _plain(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"
