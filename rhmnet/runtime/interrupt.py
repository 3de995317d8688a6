"""SIGTERM, Ctrl-C and a launcher's death: requests that the loop reads between two steps."""

from __future__ import annotations

import os
import signal
from types import FrameType

STOPPED = {signal.SIGINT: 130, signal.SIGTERM: 143}
"""Exit codes of a run that was asked to stop, saved its state and left."""


class StopRequest:
    """Context in which a signal is remembered instead of ending the process.

    patient: keep remembering. Otherwise a second Ctrl-C ends the process at once. (A launcher
    passes on the Ctrl-C that its processes have already had from the terminal.)
    launched: the parent's death is a request too. A launcher may be killed without a word to its
    processes, and they must not train on beside those that a new launcher starts.
    """

    def __init__(self, patient: bool, launched: bool = False) -> None:
        self._patient, self._launched = patient, launched
        self._parent = os.getppid()
        self._code = 0
        self._before: dict[signal.Signals, signal.Handlers] = {}

    @property
    def exit_code(self) -> int:
        """0 until a signal comes or the launcher is gone, then one of `STOPPED`."""
        if not self._code and self._launched and os.getppid() != self._parent:
            self._code = STOPPED[signal.SIGTERM]
        return self._code

    def __enter__(self) -> StopRequest:
        for number in STOPPED:
            self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self._code and number == signal.SIGINT and not self._patient:
            raise KeyboardInterrupt
        self._code = STOPPED[signal.Signals(number)]
