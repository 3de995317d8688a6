"""Share work among processes that neither hang nor outlive the one that started them."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import TypeVar

import cv2

from rhmnet.errors import InputError

Result = TypeVar("Result")


def default_workers() -> int:
    """Processes that can run at once here."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(
    function: Callable[..., Result], work: Iterable, arguments: tuple, workers: int
) -> Iterator[Result]:
    """Yield `function(one, *arguments)` for each of the work, in whatever order they end.

    workers: processes; 1 works in this one. Raises InputError where one is ended from outside.
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
                "a worker process was ended from outside, perhaps for want of memory; "
                "give the command again to go on, with fewer --workers"
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
