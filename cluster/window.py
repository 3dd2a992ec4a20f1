"""How many tasks of a cluster are in flight, counted over all the threads that submit."""

from __future__ import annotations

import threading

TASKS_PER_SLOT = 3
"""Tasks in flight per worker thread: one runs, two wait, so no worker idles while the coordinator commits."""


class Window:
    """Admits tasks up to a limit for each share; one owner at a time may claim the cluster for itself.

    A share is a class of tasks that only some workers can do, e.g. those that need a GPU: other tasks in flight must
    not keep them out. A place is freed when its task ends, not when somebody looks at the result, so a batch that is
    busy committing holds nothing, and `claim` always succeeds in the end.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        """Notified when a task ends and when the owner or the stop flag changes."""
        self._keys: dict[str, str] = {}
        self._owner: object | None = None

    def admit(self, key: str, owner: object, limit: int, share: str = "") -> bool:
        """Take a place in a share for a task; False if there is none for this owner now."""
        with self.changed:
            taken = sum(other == share for other in self._keys.values())
            if taken >= limit or self._owner not in (None, owner):
                return False
            self._keys[key] = share
            return True

    def leave(self, key: str) -> None:
        """Free a task's place; a second time does nothing."""
        with self.changed:
            self._keys.pop(key, None)
            self.changed.notify_all()

    def claim(self, owner: object) -> bool:
        """Keep others from submitting; True once the owner has the window and nothing is in flight."""
        with self.changed:
            if self._owner is None:
                self._owner = owner
            return self._owner is owner and not self._keys

    def yield_claim(self, owner: object) -> None:
        """Let others submit again; does nothing if the owner has no claim."""
        with self.changed:
            if self._owner is owner:
                self._owner = None
                self.changed.notify_all()

    def __len__(self) -> int:
        return len(self._keys)
