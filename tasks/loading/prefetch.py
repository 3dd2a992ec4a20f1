"""Prefetching: one thread works ahead of the reader."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


def prefetch(makers: Iterator[Callable[[], T]], *, depth: int = 3) -> Iterator[T]:
    """Yield what the makers return, in order; one thread calls them ahead of time, and its errors are raised here."""
    made: queue.Queue[T | _End] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: T | _End) -> None:
        while not stopped.is_set():
            try:
                return made.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for make in makers:
                if stopped.is_set():
                    return
                put(make())
            put(_End(None))
        except BaseException as error:  # passed on to the reader
            put(_End(error))

    threading.Thread(target=work, name="prefetch", daemon=True).start()
    try:
        while not isinstance(item := made.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()


class _End:
    """The last item of a queue, with the error that ended it, if any."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error
