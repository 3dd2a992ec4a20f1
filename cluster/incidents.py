"""Incidents that Dask repairs silently: workers killed for memory, tasks cut off, tasks moved."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from contextlib import ExitStack, suppress
from typing import Any

from distributed import Client

from patchlake.cluster.dask_internals import ALL_EVENTS, WORKER_KILLED_FOR_MEMORY
from patchlake.cluster.worker.leave import CUT


class Incidents:
    """Filled by a thread of Dask's, read by runs. A task's name is the last word of its key."""

    def __init__(self) -> None:
        self.memory_kills = 0
        """How many workers were ended because they took more memory than they may."""
        self.cuts: Counter[str] = Counter()
        """Name of a task in flight -> how often its worker had to leave before it ended."""
        self.moved: list[str] = []
        """Names of tasks whose worker went away; a run takes out its own."""

    def follow(self, client: Client, stack: ExitStack) -> None:
        """Listen to the cluster's topics until the stack is closed."""
        client.subscribe_topic(WORKER_KILLED_FOR_MEMORY, self._note_memory_kill)
        client.subscribe_topic(CUT, self._note_cut)
        client.subscribe_topic(ALL_EVENTS, self._note_moved)
        stack.callback(_leave_topic, client, ALL_EVENTS)

    def take_moved(self, names: Container[str]) -> list[str]:
        """Return the moved tasks among these names, and forget them."""
        found = [name for name in self.moved if name in names]
        for name in found:
            self.moved.remove(name)
        return found

    def _note_memory_kill(self, _: object) -> None:
        self.memory_kills += 1

    def _note_cut(self, event: tuple[float, dict[str, Any]]) -> None:
        self.cuts[_item_name(event[1]["key"])] += 1

    def _note_moved(self, event: tuple[float, dict[str, Any]]) -> None:
        if event[1].get("action") == "remove-worker":
            self.moved += [_item_name(key) for key in event[1]["processing-tasks"]]


def _item_name(key: object) -> str:
    """Return the end of a task's key, which is unique.

    >>> _item_name("extract_unit-0007-4f1c")
    '4f1c'
    """
    return str(key).rpartition("-")[2]


def _leave_topic(client: Client, topic: str) -> None:
    """Stop listening: otherwise the scheduler finds the client gone when it reports there."""
    with suppress(Exception):  # the scheduler may be gone
        client.unsubscribe_topic(topic)
