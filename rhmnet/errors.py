"""The one error that a user's input can cause."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input: a file, a key or a value that the user can mend.

    The message is one line that names the file or key, what was expected, and the remedy.
    """
