"""Progress of long stages: a bar on a terminal, a line now and then elsewhere. Goes to stderr."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
LINE_SECONDS = 10.0


class Progress:
    """Counts towards a total; safe to use from several threads."""

    def __init__(self, name: str, *, total: int, unit: str = "items") -> None:
        self._name, self._total, self._unit = name, total, unit
        self._done = 0
        self._started = self._said = time.monotonic()
        self._lock = threading.Lock()
        self._live = sys.stderr.isatty()

    def advance(self, count: int = 1) -> None:
        """Count, and say so when it is time."""
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._said >= (0.2 if self._live else LINE_SECONDS):
                self._said = now
                self._say(end="\r" if self._live else "\n")

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """Yield items, counting each."""
        for item in items:
            self.advance()
            yield item
        self.close()

    def close(self) -> None:
        """Say the end."""
        self._say(end="\n")

    def _say(self, *, end: str) -> None:
        rate = self._done / max(time.monotonic() - self._started, 1e-9)
        text = f"{self._name}: {self._done:,} of {self._total:,} {self._unit}, {rate:,.0f}/s"
        print(text.ljust(70) if end == "\r" else text, end=end, file=sys.stderr, flush=True)
