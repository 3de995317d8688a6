"""What values may be: bounds that stand beside a declaration, are checked, and are shown.

Options of command lines are declared with them, and the fields of configurations: `number(...)`,
`choice(...)` and the like make a dataclass's field with what it means and what it may be.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import reprlib
from dataclasses import dataclass
from typing import Any

from rhmnet.errors import InputError

MOST_SEED = 2**63 - 1
"""PyTorch's generators take no larger ones, and NumPy's no negative ones."""
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


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
