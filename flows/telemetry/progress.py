"""Progress of work that can be counted, on stderr: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from patchlake.flows.telemetry.events import Event, Listener, StageEnded, WorkAdvanced, WorkEnded, WorkStarted

LINE_SECONDS = 10.0


def show_progress() -> Listener:
    """Return the listener that suits stderr."""
    return Bars() if sys.stderr.isatty() else Lines()


@dataclass
class _Work:
    """Work under way."""

    total: int
    unit: str
    started: float
    said: float
    done: int = 0


class Lines:
    """A listener that prints a line now and then, and one at the end of each work."""

    def __init__(self, every_seconds: float = LINE_SECONDS) -> None:
        self._every_seconds = every_seconds
        self._works: dict[str, _Work] = {}

    def __call__(self, event: Event) -> None:
        """Count, and print a line when it is time."""
        if isinstance(event, WorkStarted):
            now = time.monotonic()
            self._works[event.name] = _Work(event.total, event.unit, started=now, said=now)
        elif isinstance(event, WorkAdvanced):
            work = self._works[event.name]
            work.done += event.count
            if time.monotonic() - work.said >= self._every_seconds:
                work.said = time.monotonic()
                _print_line(event.name, work)
        elif isinstance(event, WorkEnded):
            _print_line(event.name, self._works.pop(event.name))


def _print_line(name: str, work: _Work) -> None:
    rate = work.done / max(time.monotonic() - work.started, 1e-9)
    text = f"{name}: {work.done:,} of {work.total:,} {work.unit}, {rate:,.0f}/s"
    print(text, file=sys.stderr, flush=True)


class Bars:
    """A listener that draws a bar while work is under way, and leaves a line at its end."""

    def __init__(self) -> None:
        self._lines = Lines(every_seconds=math.inf)
        self._bars: dict[str, tuple[Progress, TaskID]] = {}

    def __call__(self, event: Event) -> None:
        """Move the bar of the event's work."""
        if isinstance(event, WorkStarted):
            columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
            bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
            self._bars[event.name] = bar, bar.add_task(event.name, total=event.total)
            bar.start()
        elif isinstance(event, WorkAdvanced):
            bar, task = self._bars[event.name]
            bar.advance(task, event.count)
        elif isinstance(event, WorkEnded):
            self._stop(event.name)
        elif isinstance(event, StageEnded):  # by an error, perhaps: the terminal's cursor must come back
            for name in list(self._bars):
                self._stop(name)
        self._lines(event)

    def _stop(self, name: str) -> None:
        bar, _ = self._bars.pop(name)
        bar.stop()
