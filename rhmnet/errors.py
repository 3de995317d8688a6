"""The one error that a user's input can cause, and how text of files and users is shown."""

from __future__ import annotations

from typing import TextIO

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
