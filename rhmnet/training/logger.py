"""What a run says of itself: progress bar, log lines, metrics.jsonl, TensorBoard."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rhmnet.errors import InputError, shown
from rhmnet.files.writing import add_line, make_folder, write_text
from rhmnet.runtime.command import missing

_EVENTS = "events.out.tfevents.*"
"""TensorBoard's file, whose name ends in a time and a host."""


class RunLogger:
    """Writes to one folder: `log.txt`, `metrics.jsonl` (a JSON object a line), TensorBoard events.

    enabled: False on all processes but the main one, where nothing is written then.
    done, total: iterations that are finished already, and of the whole run. What an earlier,
    killed part of the run wrote about iterations after `done` is dropped: they are run again.
    validated: whether the validation at iteration `done` is finished too.
    What cannot be written, on a full disk say, is warned of once a file, and training goes on.
    Raises InputError where the folder cannot be made.
    """

    def __init__(
        self, folder: Path, enabled: bool, done: int, total: int, validated: bool = True
    ) -> None:
        self._enabled = enabled
        if not enabled:
            return
        # imported here, because it takes seconds and few processes need it
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise missing(error) from None
        try:
            make_folder(folder)
        except InputError as error:
            raise InputError(f"--runs: {error}") from None
        self._folder = folder
        self._warned: set[str] = set()
        with self._writing("metrics.jsonl"):
            _forget_after(folder / "metrics.jsonl", done, validated)
        self._writer = None
        with self._writing(_EVENTS):
            self._writer = SummaryWriter(str(folder), purge_step=done + 1)
        self._bar = tqdm(total=total, initial=done, unit="it", disable=None, dynamic_ncols=True)

    def message(self, text: str) -> None:
        """A line for people, above the progress bar and into log.txt."""
        if not self._enabled:
            return
        with self._writing("the terminal"):  # a pipe whose reader has gone, a file on a full disk
            self._bar.write(shown(text), file=sys.stdout)
            sys.stdout.flush()
        self._print(shown(text), "log.txt")

    def advance(self) -> None:
        """One iteration more on the progress bar."""
        if self._enabled:
            with self._writing("the terminal"):
                self._bar.update()

    def scalars(
        self, kind: str, iteration: int, epoch: int, values: Mapping[str, float], text: str
    ) -> None:
        """Numbers to metrics.jsonl and TensorBoard, `text` to the log.

        kind: train or validation. epoch: the one under way, from 1.
        """
        if not self._enabled:
            return
        # JSON knows no infinity, the gradient norm of a step that the scaler skips
        finite = {k: v if math.isfinite(v) else None for k, v in values.items()}
        line = {"kind": kind, "iteration": iteration, "epoch": epoch, **finite}
        self._print(json.dumps(line), "metrics.jsonl")
        if self._writer:
            with self._writing(_EVENTS):
                for name, value in values.items():
                    self._writer.add_scalar(f"{kind}/{name}", value, iteration)
        self.message(text)

    def pictures(self, iteration: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Pictures to TensorBoard: uint8 [H, W, 3] each, by name."""
        if self._enabled and self._writer:
            with self._writing(_EVENTS):
                for name, picture in pictures.items():
                    self._writer.add_image(name, picture, iteration, dataformats="HWC")
                self._writer.flush()

    def close(self) -> None:
        """Finish the progress bar and the files. It never raises: an error may be on its way."""
        if not self._enabled:
            return
        for name, file in (("the terminal", self._bar), (_EVENTS, self._writer)):
            with self._writing(name):
                if file is not None:
                    file.close()

    def _print(self, line: str, name: str) -> None:
        with self._writing(name):
            add_line(self._folder / name, line)

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        """Turn a failure to write into one warning on stderr."""
        try:
            yield
        except (
            OSError,
            ValueError,
        ) as error:  # ValueError: TensorBoard's file, closed by a failure
            if name == _EVENTS:
                self._writer = None  # its thread has ended, and would not take more
            if name in self._warned:
                return
            self._warned.add(name)
            place = name if name == "the terminal" else self._folder / name
            told = (
                error if isinstance(error, InputError) else f"{place}: cannot be written ({error})"
            )
            warning = f"warning: {told}; training goes on without it"
            with suppress(OSError):
                print(warning, file=sys.stderr, flush=True)


def _forget_after(metrics: Path, done: int, validated: bool) -> None:
    """Drop the lines about what will be run again, and a line that was cut off."""
    if not metrics.is_file():
        return
    kept = []
    for line in metrics.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
            kind, iteration = entry["kind"], int(entry["iteration"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue  # cut off by the end of a run, or by a disk that was full for a while
        pending = kind == "validation" and iteration == done and not validated
        if iteration <= done and not pending:
            kept.append(line + "\n")
    write_text(metrics, "".join(kept))
