"""Command lines: one parser for all commands, and options that are numbers with bounds."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from rhmnet.bounds import Range, short
from rhmnet.errors import InputError

MOST_WORKERS = 256
MOST_SEED = 2**63 - 1
_MOST_NAME, _MOST_PATH = 255, 4095  # bytes, of the file systems of today
GROUPS = ("model", "data", "train", "loss", "test")
_SETTING = re.compile(r"([A-Za-z]\w*)\.[A-Za-z]\w*=")
_WHOLE = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
_SETTINGS_HELP = (
    "Settings, as test.precision=bfloat16 or data.root=DIR, may stand anywhere. `rhmnet config`\n"
    "(or `python -m rhmnet config`) lists them all, with bounds and defaults."
)


class Number:
    """An option's type: a number within bounds, which --help shows."""

    def __init__(self, kind: type, bounds: Range) -> None:
        self._kind, self.bounds = kind, bounds

    def __call__(self, text: str) -> float:
        """The number that the text says."""
        value = self._read(text)
        if value is None or not self.bounds.holds(value):
            raise argparse.ArgumentTypeError(f"{short(text)}: expected {self.bounds}")
        return value

    def _read(self, text: str) -> float | None:
        if self._kind is int:
            return int(text) if _WHOLE.fullmatch(text) else None
        try:
            return float(text)
        except ValueError:
            return None


def whole(least: int, most: int, **more: Any) -> Number:
    """The type of an option that is a whole number; more: the other fields of `Range`."""
    return Number(int, Range(least, most, **more))


def real(least: float, most: float, **more: Any) -> Number:
    """The type of an option that is a number; more: the other fields of `Range`."""
    return Number(float, Range(least, most, **more))


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors are InputError, which refuses empty words and shows bounds.

    settings: take `group.field=value` from wherever it stands, also after an option that takes all
    the words that follow it; they come as the list `overrides`. What follows `--` is taken as it
    is, settings aside.
    """

    def __init__(self, prog: str | None = None, settings: bool = False, **options: Any) -> None:
        options.setdefault("formatter_class", _HelpFormatter)
        if settings:
            options.setdefault("epilog", _SETTINGS_HELP)
        super().__init__(prog, **options)
        self._settings = settings

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Read the words; None for the process's own. Raises InputError."""
        words = list(sys.argv[1:] if args is None else args)
        for index, word in enumerate(words):
            if not word or (word.startswith("--") and word.endswith("=")):
                before = words[index - 1] if index else ""
                named = word or (before if before.startswith("-") else f"argument {index + 1}")
                raise InputError(
                    f"{named.rstrip('=')}: expected a value, found an empty one (a variable of the "
                    "shell that is not set?)"
                )
        if not self._settings:
            return _check_paths(super().parse_args(words, namespace))
        taken = _settings_in(words)
        rest = [word for index, word in enumerate(words) if index not in taken]
        parsed = _check_paths(super().parse_args(rest, namespace))
        parsed.overrides = [words[index] for index in taken]
        return parsed

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the command line, on one line."""
        raise InputError(f"{' '.join(message.split())}; see {self.prog} --help")


def _check_paths(parsed: argparse.Namespace) -> argparse.Namespace:
    """Refuse what no file system holds: every other look at such a path raises an OSError."""
    for value in vars(parsed).values():
        for path in value if isinstance(value, list) else [value]:
            if isinstance(path, str | os.PathLike):
                data = os.fsencode(path)
                longest = max(map(len, data.split(os.sep.encode())))
                if longest > _MOST_NAME or len(data) > _MOST_PATH:
                    raise InputError(
                        f"{short(os.fspath(path))}: a name of {longest} bytes in a path of "
                        f"{len(data)}; expected at most {_MOST_NAME} in {_MOST_PATH}"
                    )
                if b"\0" in data:
                    raise InputError(f"{short(os.fspath(path))}: holds a zero byte; name a file")
    return parsed


def _settings_in(words: Sequence[str]) -> list[int]:
    """Where settings stand.

    One whose group is misspelled counts, so that the right one can be named, unless it is a file or
    an option's value.
    """
    found = []
    for index, word in enumerate(words):
        match = _SETTING.match(word)
        if not match:
            continue
        after_option = index > 0 and words[index - 1].startswith("-")
        if match[1] in GROUPS or not (after_option or os.path.exists(word)):
            found.append(index)
    return found


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps a description's lines, and adds bounds to what an option says."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = super()._get_help_string(action)
        if text and text is not argparse.SUPPRESS and isinstance(action.type, Number):
            return f"{text} [{action.type.bounds}]"
        return text
