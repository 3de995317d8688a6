"""The open video: its strokes and masks, and the one thread that owns the network.

Requests only write edits down, read what is known, and leave wishes (a preview, run, pause, the
frame that is looked at); the thread takes them up between two steps of the network.
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import os
import secrets
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from rhmnet.errors import InputError, short, shown
from rhmnet.labels import BACKGROUND, MAX_OBJECTS
from rhmnet.tools.canvas.pictures import Pictures
from rhmnet.tools.canvas.request_guard import Stale
from rhmnet.tools.canvas.transfers import Exports, Views, apply_edit
from rhmnet.tools.segment import Session

if TYPE_CHECKING:
    from rhmnet.checkpoint import Loaded

_BETWEEN_TOLD = 0.25  # seconds between two words on progress
_RATE_WINDOW = 40  # steps that frames a second are the mean of

Publish = Callable[[dict[str, Any]], None]


class OpenVideo:
    """One video with its project. All but the thread's own work may be called from any thread."""

    def __init__(
        self,
        number: int,
        session: Session,
        pictures: Pictures,
        network: Future[Loaded],
        publish: Publish,
    ) -> None:
        """network: is loaded meanwhile; until then nothing is computed."""
        self.number, self.session, self.source = number, session, session.source
        self.folder, self._network = session.folder, network
        self.frames, self.pictures = len(self.source), pictures
        self.running = False
        self._publish = publish
        self._boot, self._count = f"b{secrets.token_hex(3)}", itertools.count(1)
        self._tags: dict[int, str] = {}
        self._views = Views(self.folder)
        self._stroked = session.stroked
        self._looked_at = 0
        self._wanted: list[int] = []
        self._advice: dict[str, Any] | None = None
        self._times: deque[tuple[float, int]] = deque(maxlen=_RATE_WINDOW)
        self._told = 0.0
        self._edits, self._wake = threading.Lock(), threading.Condition()
        self._closing = False
        self.exports = Exports(self, publish)
        network.add_done_callback(self._notify)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    # what is known

    @property
    def revision(self) -> int:
        """Edits so far."""
        return self.session.revision

    @property
    def id(self) -> str:
        """What the page keeps its own settings by."""
        place = hashlib.sha256(os.fsencode(self.folder.resolve())).hexdigest()[:12]
        return shown(f"{self.source.name}@{place}")

    def describe(self) -> dict[str, Any]:
        """All that the page begins with."""
        names = self.source.names
        plain = all(name.isdecimal() and int(name) == i for i, name in enumerate(names))
        return {
            "video": self.number,
            "id": self.id,
            "name": shown(self.source.name),
            "frames": self.frames,
            "size": list(self.source.size),
            "fps": self.source.fps,
            "names": None if plain else [*map(shown, names)],
            "note": self.source.note,
            "can_coco": importlib.util.find_spec("pycocotools") is not None,
            "objects": self.objects(),
            "stroked": self.session.stroked,
            "default_tag": self._boot,
            "next": self._advice,
            "folder": shown(self.folder),
            "settings": self._settings(),
            **self._standing(),
            **self.progress(),
        }

    def _settings(self) -> dict[str, Any] | None:
        settings = self.session.settings()
        return settings and {"network": self._network.result().which(), **settings}

    def objects(self) -> list[dict[str, Any]]:
        """Number and name of each, and whether it is locked and hidden; 255 is the background."""
        named = self.session.objects.items()
        told = [{"number": n, "name": name or f"object {n}"} for n, name in named]
        if not told:  # to draw on at once: the first stroke adds it
            told = [{"number": 1, "name": "object 1", "virtual": True}]
        told.append({"number": BACKGROUND, "name": "Background"})
        return [{**one, **self._views.of(one["number"])} for one in told]

    def progress(self) -> dict[str, Any]:
        """Steps done and left, how fast, and which frames are in which state."""
        session, times = self.session, self._times
        rate = None
        if self.running and len(times) > 1 and times[-1][0] > times[0][0]:
            rate = (times[-1][1] - times[0][1]) / (times[-1][0] - times[0][0])
        left = session.pending
        states = {
            state: [[r.start, r.stop - 1] for r in getattr(session, state)]
            for state in ("done", "provisional", "stale")
        }
        done = sum(b - a + 1 for a, b in states["done"])
        told = {"running": self.running, "done": done, "left": left, "states": states}
        return {**told, "rate": rate, "seconds_left": left / rate if rate else None}

    def tag(self, frame: int) -> str:
        """Another one whenever the frame's mask changed."""
        return self._tags.get(frame, self._boot)

    def tags(self, first: int, last: int) -> dict[str, Any]:
        """Tags of masks that changed since this start; all others have the default one."""
        frames = {f: tag for f, tag in list(self._tags.items()) if first <= f <= last}
        return {"default": self._boot, "frames": frames}

    # changes

    def edit(self, operation: dict[str, Any], base: int, edit: str, client: str) -> dict[str, Any]:
        """Write an edit down, on disk when this returns; what became of it.

        operation: see `apply_edit`; or {"op": "undo"}, {"op": "redo"}. base: the revision that it
        was made on; `Stale` for another one. edit: its id; one that is written down already (the
        page did not hear so, and sent it again) is not applied again.
        """
        with self._edits:
            added = None
            if not self._is_known(edit):
                if base != self.revision:
                    raise Stale(self.revision)
                added = apply_edit(self.session, operation, edit, self._views.locked)
            told = self._changed()
        self._tell_edit(told, client)
        return {**told, "added": added}

    def bring_in(
        self, maps: dict[int, np.ndarray], base: int, edit: str, client: str
    ) -> dict[str, Any]:
        """Paint label maps over the strokes of their frames, an edit each; see `edit`."""
        with self._edits:
            if not self._is_known(f"{edit}.{max(maps)}"):
                if base != self.revision:
                    raise Stale(self.revision)
                for frame, labels in maps.items():
                    self.session.add_strokes(frame, labels, id=f"{edit}.{frame}")
            told = {**self._changed(), "frame": min(maps)}
        self._tell_edit(told, client)
        return told

    def describe_object(self, content: dict[str, Any]) -> list[dict[str, Any]]:
        """Lock and hide an object, or not; this is kept, but is no edit."""
        number = content.get("number")
        if number != BACKGROUND and number not in self.session.objects:
            raise InputError(f"number: no object {short(number)}; expected one that was added")
        with self._edits:
            self._views.put(number, content)
        self._publish({"type": "objects", "objects": self.objects()})
        return self.objects()

    # wishes

    def look_at(self, frame: int) -> None:
        """The page shows this frame: its side comes first."""
        self._looked_at = frame

    def ask_preview(self, frame: int) -> None:
        """Have a mask of this frame at once, before the passes come to it."""
        with self._wake:
            self._wanted = [frame]
            self._wake.notify()

    def run(self) -> bool:
        """Have all masks computed; raises InputError where no stroke says of what."""
        if not any(1 <= n <= MAX_OBJECTS for numbers in self._stroked.values() for n in numbers):
            raise InputError("no stroke on an object yet; draw one, then run")
        with self._wake:
            self.running = True
            self._times.clear()
            self._wake.notify()
        return True

    def pause(self) -> None:
        """Stop after the step under way; all that is computed is kept."""
        with self._wake:
            self.running = False

    def close(self) -> None:
        """Stop the thread after its step, and give the project back."""
        with self._wake:
            self._closing, self.running = True, False
            self._wake.notify()
        self.exports.stopped = True
        self.pictures.close()
        self._thread.join()
        self.session.close()

    # helpers of changes

    def _is_known(self, edit: str) -> bool:
        """Whether an edit was written down before: the page lost the answer, and asks again."""
        return any(past.get("id") == edit for past in reversed(self.session.edits))

    def _changed(self) -> dict[str, Any]:
        """What the last edit made of strokes and objects: [] for a frame without any left."""
        before, now = self._stroked, self.session.stroked
        frame = self.session.last_frame
        self._stroked = now
        changed = {one for one in {*before, *now} if before.get(one) != now.get(one)}
        changed |= set() if frame is None else {frame}
        stroked = {one: now.get(one, []) for one in sorted(changed)}
        return {"frame": frame, "objects": self.objects(), "stroked": stroked, **self._standing()}

    def _tell_edit(self, told: dict[str, Any], client: str) -> None:
        self._advice = None
        self._publish({"type": "edit", "client": client, **told, **self.progress()})
        self._publish({"type": "saved", "revision": told["revision"]})
        if told["frame"] is not None:
            self.ask_preview(told["frame"])

    def _standing(self) -> dict[str, Any]:
        session = self.session
        can = {"can_undo": session.can_undo, "can_redo": session.can_redo}
        return {"revision": session.revision, **can}

    # the thread's own

    def _work(self) -> None:
        if not self._take_network():
            return
        with suppress(InputError):  # whatever it is, a run will tell
            if self.session.stroked and not self.session.pending:
                self._advise()
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closing or self.running or self._wanted)
                if self._closing:
                    return
            try:
                if self._wanted:
                    self._preview()
                else:
                    self._run_on()
            except InputError as error:
                self._fail(str(error))
            except Exception as error:  # a defect of ours: the page stays of use
                traceback.print_exc()
                self._fail(f"the network failed ({type(error).__name__}); see the terminal")

    def _take_network(self) -> bool:
        """Wait for it, and have the session use it; False where there will be none."""
        with self._wake:
            self._wake.wait_for(lambda: self._closing or self._network.done())
        if self._closing:
            return False
        if (error := self._network.exception()) is not None:  # with which the command ends
            self._fail(f"{error}; the canvas has stopped")
            return False
        network = self._network.result()
        while not (self.session.ready or self._closing):
            try:
                self.session.use(network.model, network.config)
            except InputError as error:  # a full disk: tried again when there is something to do
                self._fail(str(error))
                with self._wake:
                    self._wake.wait_for(lambda: self._closing or self.running or self._wanted)
        if self.session.ready:
            self._publish({"type": "settings", "settings": self._settings()})
            self._tell_progress()
        return self.session.ready

    def _notify(self, _: object) -> None:
        with self._wake:
            self._wake.notify()

    def _fail(self, why: str) -> None:
        self.running, self._wanted = False, []
        self._publish({"type": "error", "error": why})
        self._tell_progress()

    def _preview(self) -> None:
        with self._wake:
            frame = self._wanted.pop()
        self.session.preview(frame)
        self._publish({"type": "preview", "frame": frame, **self._retag(frame)})

    def _run_on(self) -> None:
        """Compute until at rest, or until told otherwise; previews come between two steps."""
        self._tell_progress()
        with closing(self.session.work(first=self._looked_at)) as steps:
            for step in steps:
                told = {"type": "frame", "frame": step.frame, **self._retag(step.frame)}
                doubt = {number: round(100 * share) for number, share in step.doubt.items()}
                self._publish({**told, "doubt": doubt if told["state"] == "done" else None})
                self._times.append((time.monotonic(), self.session.steps))
                if time.monotonic() - self._told > _BETWEEN_TOLD:
                    self._tell_progress()
                if self._wanted:
                    self._preview()
                if not self.running:
                    break
        self._advise()
        self.running = self.running and self.session.pending > 0
        self._tell_progress()

    def _advise(self) -> None:
        advice = self.session.next_stroke()
        self._advice = advice._asdict()
        self._publish({"type": "next", **self._advice})

    def _retag(self, frame: int) -> dict[str, Any]:
        self._tags[frame] = f"{self._boot}.{next(self._count)}"
        return {"rev": self._tags[frame], "state": self.session.state(frame)}

    def _tell_progress(self) -> None:
        self._told = time.monotonic()
        self._publish({"type": "progress", **self.progress()})
