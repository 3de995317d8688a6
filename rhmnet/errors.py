"""The one error that a user's input can cause, and how a command line reports it."""

from __future__ import annotations

import sys
from collections.abc import Callable


class InputError(ValueError):
    """Bad input: a file, a key or a value that the user can mend.

    The message is one line that names the file or key, what was expected, and the remedy.
    """


def run_command(main: Callable[[], int | None]) -> None:
    """Run a command line's `main`; an `InputError` becomes one line on stderr and exit code 2.

    Ctrl-C exits with 130. Anything else is a defect of ours and keeps its traceback.
    """
    try:
        code = main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    sys.exit(code or 0)
