"""What a run says of itself: progress bar, log lines, metrics.jsonl, TensorBoard, pictures."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from rhmnet.errors import InputError, is_whole_number, shown
from rhmnet.files.writing import add_line, make_folder, write_text
from rhmnet.model import HEAD_STRIDE, RHMNet
from rhmnet.runtime import missing
from rhmnet.runtime.processes import Processes
from rhmnet.structures import REDRAW_REASONS, Clip
from rhmnet.visualize import contact_sheet, draw_scribble, overlay

if TYPE_CHECKING:
    from rhmnet.training import Run

T = TypeVar("T")
_EVENTS = "events.out.tfevents.*"
"""TensorBoard's file, whose name ends in a time and a host."""
_HEIGHT = 192
"""Pixels of one picture of the sheet."""


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


class Meter:
    """Means of the loss terms since the last reading; redraws by reason since the epoch began.

    A part of the resume state, so that a run that was killed logs the same lines.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._sums: Tensor | None = None
        self._count = 0
        self._redraws = torch.zeros(len(REDRAW_REASONS), dtype=torch.int64)

    def add(self, terms: Mapping[str, Tensor], redraws: Tensor) -> None:
        """Take in one forward pass. terms: scalars; redraws: int64 [B, R], on the CPU."""
        values = torch.stack([term.detach() for term in terms.values()])
        self._sums = values if self._sums is None else self._sums.to(values.device) + values
        self._names = list(terms)
        self._count += 1
        self._redraws += redraws.sum(dim=0)

    def read(self, processes: Processes) -> dict[str, float]:
        """Mean of each term over all processes (call it on all), then begin anew."""
        sums = processes.sum((self._sums / self._count).cpu()) / processes.size
        self._sums, self._count = None, 0
        return dict(zip(self._names, sums.tolist(), strict=True))

    def redraws(self, processes: Processes) -> dict[str, int]:
        """Redraws of this epoch by reason, over all processes (call it on all)."""
        counts = processes.sum(self._redraws.clone())
        return dict(zip(REDRAW_REASONS, counts.tolist(), strict=True))

    def begin_epoch(self) -> None:
        """Count redraws from zero."""
        self._redraws.zero_()

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        sums = None if self._sums is None else self._sums.cpu()
        return {
            "names": self._names,
            "sums": sums,
            "count": self._count,
            "redraws": self._redraws.clone(),
        }

    @staticmethod
    def is_state(state: Any) -> bool:
        """Whether a value is one that `state_dict` may have returned."""
        if not isinstance(state, Mapping) or not state.keys() >= Meter().state_dict().keys():
            return False
        names, sums, redraws = state["names"], state["sums"], state["redraws"]
        counts = isinstance(redraws, Tensor) and redraws.dtype == torch.int64
        if not isinstance(names, list) or not is_whole_number(state["count"], 0) or not counts:
            return False
        summed = sums is None or (isinstance(sums, Tensor) and sums.shape == (len(names),))
        return summed and redraws.shape == (len(REDRAW_REASONS),)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._names, self._sums = list(state["names"]), state["sums"]
        self._count, self._redraws = state["count"], state["redraws"].clone()


class Timed(Iterator[T]):
    """An iterator that adds up the seconds that its reader waits for it."""

    def __init__(self, iterator: Iterator[T]) -> None:
        self._iterator = iterator
        self._waited = 0.0

    def __next__(self) -> T:
        start = time.perf_counter()
        try:
            return next(self._iterator)
        finally:
            self._waited += time.perf_counter() - start

    def take_waited(self) -> float:
        """Seconds waited since the last call."""
        waited, self._waited = self._waited, 0.0
        return waited


class LogWindow:
    """The iterations between two log lines, and the clock over them."""

    def __init__(self, run: Run, processes: Processes) -> None:
        self._run, self._processes = run, processes
        self._start, self._first = time.perf_counter(), run.total_iteration

    def log(self, logger: RunLogger, values: dict[str, float], clips: Timed[Clip]) -> None:
        """Log the losses and rates of the window with its speed; then a new one begins."""
        run, config, now = self._run, self._run.config.train, time.perf_counter()
        iterations, seconds = run.total_iteration - self._first, now - self._start
        clips_made = iterations * config.batch_size * config.accumulation * self._processes.size
        speed, waiting = clips_made / seconds, clips.take_waited() / seconds
        redraws = run.meter.redraws(self._processes)
        left = config.epochs * run.iterations_per_epoch - run.total_iteration
        hours, minutes = divmod(int(left * seconds / iterations / 60), 60)
        text = "  ".join(
            [
                f"epoch {run.epoch + 1}/{config.epochs}",
                f"iteration {run.total_iteration}",
                *(f"{name} {value:.4g}" for name, value in values.items()),
                f"{speed:.2f} clips/s",
                f"data wait {waiting:.0%}",
                f"redraws {sum(redraws.values())}",
                f"left {hours}:{minutes:02d} h",
            ]
        )
        values["lr_backbone"] = values["lr"] * config.backbone_lr_factor
        values |= {"clips_per_second": speed, "data_wait": waiting}
        values |= {f"redraws_{reason}": count for reason, count in redraws.items()}
        logger.scalars("train", run.total_iteration, run.epoch + 1, values, text)
        self._start, self._first = time.perf_counter(), run.total_iteration


@torch.no_grad()
def draw_clip(model: RHMNet, clip: Clip) -> np.ndarray:
    """Contact sheet uint8 [H, W, 3] of the first clip of a batch, a row a frame.

    Columns: the frame, its supervision, the reliable region, the entire target; then, beside the
    first frame, the similarity map of its initial scribble. Without dropout.
    """
    clip = Clip(*(x[:1] for x in clip))
    training = model.training
    model.eval()
    try:
        prediction = model(clip.frames, clip.first_scribble, clip.num_objects)
        first = model.encode_frame(model.feature_extractor.normalize(clip.frames[:, 0]))
        similarity = model.scribble_labels(first, clip.first_scribble, int(clip.num_objects))
    finally:
        model.train(training)
    pictures, captions = [], []
    frames = clip.frames[0].permute(0, 2, 3, 1).cpu().numpy()
    for t, frame in enumerate(frames):
        scribble = clip.scribbles[0, t].cpu().numpy()
        reliable = _labels(prediction.reliable_prob_s4[0, t])
        reliable = reliable.repeat(HEAD_STRIDE, 0).repeat(HEAD_STRIDE, 1)
        row = {
            "frame": frame,
            "scribble": draw_scribble(frame, scribble),
            "reliable region": overlay(frame, reliable),
            "entire target": overlay(frame, _labels(prediction.entire_prob[0, t, -1])),
        }
        blank = np.full_like(frame, 255)
        row["similarity"] = _heat(similarity[0, :-1], blank.shape) if t == 0 else blank
        pictures += row.values()
        captions += row if t == 0 else [""] * len(row)
    return contact_sheet(pictures, captions, columns=len(row), height=_HEIGHT)


def _heat(maps: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    """uint8 [H, W, 3]: the largest of maps [O, h, w], blue at 0 or below, red at 1."""
    largest = maps.amax(dim=0).clamp(0, 1).mul(255).to(torch.uint8).cpu().numpy()
    heat = cv2.applyColorMap(largest, cv2.COLORMAP_TURBO)
    return cv2.resize(heat[..., ::-1], shape[1::-1], interpolation=cv2.INTER_NEAREST)


def _labels(prob: Tensor) -> np.ndarray:
    """uint8 [H, W], 0 background, from [O + 1, H, W] with background last."""
    return ((prob.argmax(dim=0) + 1) % len(prob)).to(torch.uint8).cpu().numpy()
