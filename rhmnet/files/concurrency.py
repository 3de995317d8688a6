"""What runs at once: threads beside the network, worker processes, other runs in a folder."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import IO, Any, TypeVar

import cv2

from rhmnet.errors import InputError, say
from rhmnet.files.writing import make_folder, no_link, refused_by_name

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

Item = TypeVar("Item")
Result = TypeVar("Result")
LOCK = ".lock"
SECONDS_TO_LEAVE = 60.0
"""How long a run waits for one before it, whose launcher was killed, to save and leave."""
_BETWEEN_LOOKS = 0.05  # seconds
_PATIENCE = 0.1  # seconds between two looks at whether the reader is still wanted


def read_ahead(items: Generator[Item, None, None], depth: int) -> Generator[Item, None, None]:
    """The items of a generator that runs in a thread, at most `depth` of them ahead.

    What it raises is raised here, after the items before it. Close this generator
    (`contextlib.closing`) to stop the thread
    early and close the other.
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


_POOLS: set[ThreadPoolExecutor] = set()
"""Those at work. Of what is forgotten with its pool, as a generator that nobody closed, the garbage
collector would end the pool's threads first; then whatever its `finally` waits for never comes."""


class WriteBehind:
    """Context in which calls run in threads, begun in order; `depth` of them may be unfinished.

    With one worker they also end in order. What a call raises is raised by a later `submit` or on
    leaving, which waits for all calls.
    """

    def __init__(self, workers: int, depth: int) -> None:
        self._pool = ThreadPoolExecutor(workers)
        _POOLS.add(self._pool)
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
        _POOLS.discard(self._pool)
        if kind is None:
            self.wait()


def usable_cores() -> int:
    """Cores this process may use, which a container may have made fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_processes(
    function: Callable[..., Result], work: Iterable, arguments: tuple, workers: int
) -> Iterator[Result]:
    """Yield `function(one, *arguments)` for each of the work, in whatever order they end.

    workers: processes; 1 works in this one. Raises InputError where one is killed.
    They neither hang nor outlive the process that started them.
    """
    if workers == 1:
        yield from (function(one, *arguments) for one in work)
        return
    # A plain fork of this process, whose progress bar has a thread, may hang for ever. A fork
    # server has none, and imports everything once for all workers.
    context = get_context("spawn" if sys.platform == "win32" else "forkserver")
    if sys.platform != "win32":
        context.set_forkserver_preload([function.__module__])
    pool = ProcessPoolExecutor(workers, context, _begin_worker)
    with pool:
        pending: set[Future] = set()
        try:
            for one in work:
                pending.add(pool.submit(function, one, *arguments))
                if len(pending) >= 4 * workers:  # no more than needed lies in the queue
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BrokenProcessPool:
            raise InputError(
                "a worker process was killed, perhaps for want of memory; give the command again, "
                "with fewer --workers"
            ) from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _begin_worker() -> None:
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process' to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when the main process was killed; it would wait for jobs for ever."""
    parent_process().join()
    os._exit(1)


@contextmanager
def alone_in(
    folder: Path, remedy: str, seconds: float | None = None, tidy: bool = False
) -> Iterator[None]:
    """Keep other runs out of a folder, which is made if need be, while the context lasts.

    A record lock: the system drops it however the process ends, and no worker process inherits
    it, which might outlive this one. It does not keep the threads of one process apart.
    remedy: what to do about a run that stays. seconds: waited for it to leave; None for a minute.
    tidy: remove the lock's file in the end.
    Raises InputError where one stays, or the folder cannot be made.
    """
    until = time.monotonic() + (SECONDS_TO_LEAVE if seconds is None else seconds)
    told = False
    while True:
        make_folder(folder)
        with refused_by_name(folder):
            try:
                file = open(folder / LOCK, "a", opener=no_link)  # noqa: SIM115  closed below
            except FileNotFoundError:  # the run that left has moved the folder to its place
                continue
        try:
            if _locked(file):
                if not _is_at(file, folder / LOCK):  # removed by the run that left
                    continue
                try:
                    yield
                finally:
                    if tidy:
                        with suppress(OSError):
                            os.unlink(folder / LOCK)
                return
            if time.monotonic() >= until:
                raise InputError(f"another run writes to {folder}; {remedy}")
            if not told:
                say(f"waiting for the run that writes to {folder} to leave", sys.stderr)
                told = True
            time.sleep(_BETWEEN_LOOKS)
        finally:
            file.close()


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _locked(file: IO[str]) -> bool:
    """False if another process holds the file's lock."""
    if fcntl is None:
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks is no reason not to work
        return True
    return True
