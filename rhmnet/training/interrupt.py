"""SIGTERM and Ctrl-C as a request that the training loop reads between two steps."""

from __future__ import annotations

import signal
from types import FrameType

STOPPED = {signal.SIGINT: 130, signal.SIGTERM: 143}
"""Exit codes of a run that was asked to stop, saved its state and left."""


class StopRequest:
    """Context in which a signal is remembered instead of ending the process.

    patient: keep remembering. Otherwise a second Ctrl-C ends the process at once. (A launcher
    passes on the Ctrl-C that its processes have already had from the terminal.)
    """

    def __init__(self, patient: bool) -> None:
        self.exit_code = 0
        """0 until a signal comes, then one of `STOPPED`."""
        self._patient = patient
        self._before: dict[signal.Signals, signal.Handlers] = {}

    def __enter__(self) -> StopRequest:
        for number in STOPPED:
            self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.exit_code and number == signal.SIGINT and not self._patient:
            raise KeyboardInterrupt
        self.exit_code = STOPPED[signal.Signals(number)]
