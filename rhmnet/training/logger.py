"""What a run says of itself: progress bar, log lines, metrics.jsonl, TensorBoard."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm


class RunLogger:
    """Writes to one folder: `log.txt`, `metrics.jsonl` (a JSON object a line), TensorBoard events.

    enabled: False on all processes but the main one, where nothing is written then.
    done, total: iterations that are finished already, and of the whole run. What an earlier,
    killed part of the run wrote about iterations after `done` is dropped: they are run again.
    validated: whether the validation at iteration `done` is finished too.
    """

    def __init__(
        self, folder: Path, enabled: bool, done: int, total: int, validated: bool = True
    ) -> None:
        self._enabled = enabled
        if not enabled:
            return
        # imported here, because it takes seconds and few processes need it
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        metrics = folder / "metrics.jsonl"
        _forget_after(metrics, done, validated)
        self._metrics = metrics.open("a")
        self._log = (folder / "log.txt").open("a")
        self._writer = SummaryWriter(str(folder), purge_step=done + 1)
        self._bar = tqdm(total=total, initial=done, unit="it", disable=None, dynamic_ncols=True)

    def message(self, text: str) -> None:
        """A line for people, above the progress bar and into log.txt."""
        if not self._enabled:
            return
        self._bar.write(text, file=sys.stdout)
        sys.stdout.flush()
        print(text, file=self._log, flush=True)

    def advance(self) -> None:
        """One iteration more on the progress bar."""
        if self._enabled:
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
        print(json.dumps(line), file=self._metrics, flush=True)
        for name, value in values.items():
            self._writer.add_scalar(f"{kind}/{name}", value, iteration)
        self.message(text)

    def pictures(self, iteration: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Pictures to TensorBoard: uint8 [H, W, 3] each, by name."""
        if self._enabled:
            for name, picture in pictures.items():
                self._writer.add_image(name, picture, iteration, dataformats="HWC")
            self._writer.flush()

    def close(self) -> None:
        """Finish the progress bar and the files."""
        if self._enabled:
            self._bar.close()
            self._writer.close()
            self._metrics.close()
            self._log.close()


def _forget_after(metrics: Path, done: int, validated: bool) -> None:
    """Drop the lines about what will be run again, and a line that was cut off."""
    if not metrics.is_file():
        return
    kept = []
    for line in metrics.read_text().splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            break
        pending = entry["kind"] == "validation" and entry["iteration"] == done and not validated
        if entry["iteration"] <= done and not pending:
            kept.append(line + "\n")
    temporary = metrics.with_suffix(".tmp")
    temporary.write_text("".join(kept))
    os.replace(temporary, metrics)
