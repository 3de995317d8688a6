"""Threads beside the network: one reads ahead, others write behind, both within bounds."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any, TypeVar

Item = TypeVar("Item")
_PATIENCE = 0.1  # seconds between two looks at whether the reader is still wanted


def read_ahead(items: Generator[Item, None, None], depth: int) -> Generator[Item, None, None]:
    """The items of a generator that runs in a thread, at most `depth` of them ahead.

    What it raises is raised here, after the items before it. Close this generator
    (`contextlib.closing`) to stop the thread early
    and close the other.
    """
    waiting: queue.Queue = queue.Queue(depth)
    unwanted = threading.Event()

    def put(kind: str, value: Any) -> None:
        while not unwanted.is_set():
            try:
                return waiting.put((kind, value), timeout=_PATIENCE)
            except queue.Full:
                continue

    def read() -> None:
        try:
            with closing(items):
                for item in items:
                    put("item", item)
                    if unwanted.is_set():
                        return
            put("end", None)
        except BaseException as error:  # handed over to the thread that asked
            put("error", error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while True:
            kind, value = waiting.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        unwanted.set()
        thread.join()


class WriteBehind:
    """Context in which calls run in threads, begun in order; `depth` of them may be unfinished.

    With one worker they also end in order. What a call raises is raised by a later `submit` or on
    leaving, which waits for all calls.
    """

    def __init__(self, workers: int, depth: int) -> None:
        self._pool = ThreadPoolExecutor(workers)
        self._depth = depth
        self._pending: deque[Future] = deque()

    def submit(self, call: Callable[..., object], *args: Any) -> None:
        """Run call(*args) in a thread, waiting while there are too many before it."""
        self._pending.append(self._pool.submit(call, *args))
        while len(self._pending) > self._depth:
            self._pending.popleft().result()

    def wait(self) -> None:
        """Return when all calls so far are finished."""
        while self._pending:
            self._pending.popleft().result()

    def __enter__(self) -> WriteBehind:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown()
        if kind is None:
            self.wait()
