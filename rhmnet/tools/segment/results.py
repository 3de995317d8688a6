"""The folder of one video's results, and what is kept in it to go on after a stop.

OUT/masks/<frame>.png      palette masks: the result that all others are made from
OUT/statistics.jsonl       one line a frame, in the order of tracking
OUT/manifest.json          what the masks depend on
OUT/.resume/               state of the tracker; probabilities that wait for the second pass
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from rhmnet.errors import InputError
from rhmnet.evaluation.results import write_mask
from rhmnet.files.label_maps import read_labels
from rhmnet.files.writing import write_encoded
from rhmnet.memory_bank import STATE_CLASSES

_FOLDERS = ("masks", "objects", "cutouts", ".resume")
_FILES = (
    *("overlay.mp4", "overlay.webm", "coco.json", "summary.json"),
    *("statistics.jsonl", "manifest.json"),
)


class State(NamedTuple):
    """How far a run has come."""

    stage: str
    """The pass under way, `forward` or `backward`; `done` when all masks are there."""
    frame: int
    """The frame that comes next; of `done` the number of frames."""
    tracker: dict[str, Any] | None
    """The tracker's snapshot before that frame, None where a pass begins."""


class Results:
    """One folder of results. Its methods may run in a thread, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.masks = folder / "masks"
        self._waiting = folder / ".resume" / "waiting"
        self._state = folder / ".resume" / "state.pth"
        self._manifest = folder / "manifest.json"
        self._statistics = folder / "statistics.jsonl"

    def prepare(self, manifest: dict[str, Any], resume: bool, overwrite: bool) -> None:
        """Make the folder ready: empty, or with what the same manifest made.

        Raises InputError where it holds masks and neither `resume` nor `overwrite` is asked for,
        or they were made otherwise.
        """
        manifest = json.loads(json.dumps(manifest))  # as it will be read: tuples are lists
        if self.masks.exists() and not self._manifest.is_file():
            raise InputError(
                f"{self.masks}: is there, without a {self._manifest.name} that says what made it; "
                "give another --out"
            )
        if overwrite or not (self._state.exists() or self.count_masks()):
            self._clear()
        elif not resume:
            raise InputError(
                f"{self.folder}: holds results already; give --resume to go on, --overwrite to "
                "begin anew, or another --out"
            )
        elif changed := self._differences(manifest):
            raise InputError(
                f"{self.folder}: was made with other {', '.join(changed)}; go on with the same, or "
                "begin anew with --overwrite or another --out"
            )
        self.masks.mkdir(parents=True, exist_ok=True)
        self._waiting.mkdir(parents=True, exist_ok=True)
        _write_text(self._manifest, json.dumps(manifest, indent=1) + "\n")

    def write_frame(self, index: int, name: str, labels: np.ndarray, measures: np.ndarray) -> None:
        """Write a finished frame. labels: uint8 [H, W]; measures: float32 [2, O]."""
        num_objects = measures.shape[1]
        write_mask(self.masks / f"{name}.png", labels)
        area = np.bincount(labels.ravel(), minlength=num_objects + 1)[1 : num_objects + 1]
        probability, reliability = ([_plain(v) for v in row] for row in measures.tolist())
        line = {
            "frame": index,
            "area": area.tolist(),
            "probability": probability,
            "reliability": reliability,
        }
        with open(self._statistics, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def statistics(self, count: int, num_objects: int) -> np.ndarray:
        """float64 [T, 3, O]: area in pixels, mean probability and reliability, NaN where unknown.

        Of a frame that was tracked twice, after a stop, the later line counts.
        """
        table = np.full((count, 3, num_objects), np.nan)
        for line in self._lines():
            rows = (line["area"], line["probability"], line["reliability"])
            table[line["frame"]] = np.array(rows, np.float64)
        return table

    def put_waiting(self, index: int, maps: np.ndarray) -> None:
        """Keep uint8 [M, h, w] of a frame until the second pass comes to it."""
        tall = maps.reshape(-1, maps.shape[-1])
        path = self._waiting / f"{index}.png"
        write_encoded(path, tall, [cv2.IMWRITE_PNG_COMPRESSION, 1])

    def get_waiting(self, index: int, count: int) -> np.ndarray:
        """What `put_waiting` kept, uint8 [count, h, w]."""
        try:
            tall = read_labels(self._waiting / f"{index}.png")
        except InputError:
            raise InputError(
                f"{self._waiting}: the forward pass' frame {index} is gone; give --overwrite"
            ) from None
        return tall.reshape(count, -1, tall.shape[1])

    def save_state(self, state: State) -> None:
        """Say how far the run has come; call it after all frames before were written."""
        partial = self._state.with_suffix(".partial")
        torch.save(state._asdict(), partial)
        os.replace(partial, self._state)

    def load_state(self, device: torch.device) -> State | None:
        """The state that was saved last, None if none was; runs no code from the file."""
        if not self._state.is_file():
            return None
        torch.serialization.add_safe_globals(STATE_CLASSES)
        try:
            return State(**torch.load(self._state, map_location=device, weights_only=True))
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise InputError(f"{self._state}: no state ({reason}); give --overwrite") from None

    def count_masks(self) -> int:
        """Frames whose mask is finished."""
        return sum(1 for _ in self.masks.glob("*.png"))

    def finish(self, count: int) -> None:
        """All masks are there: forget what was kept to go on."""
        self.save_state(State("done", count, None))
        shutil.rmtree(self._waiting, ignore_errors=True)

    def _differences(self, manifest: dict[str, Any]) -> list[str]:
        """What a run that goes on would make otherwise."""
        try:
            before = json.loads(self._manifest.read_text(encoding="utf-8"))
        except ValueError:
            before = {}
        return [key for key in {**before, **manifest} if before.get(key) != manifest.get(key)]

    def _clear(self) -> None:
        """Remove what an earlier run left, and nothing else that lies in the folder."""
        if self._manifest.is_file():
            for name in _FOLDERS:
                shutil.rmtree(self.folder / name, ignore_errors=True)
            for name in _FILES:
                (self.folder / name).unlink(missing_ok=True)

    def _lines(self) -> Iterator[dict[str, Any]]:
        with open(self._statistics, encoding="utf-8") as file:
            for text in file:
                try:
                    yield json.loads(text)
                except ValueError:  # cut off where a run was killed; the frame was tracked again
                    continue


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 5)


def _write_text(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
