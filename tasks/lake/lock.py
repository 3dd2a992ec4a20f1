"""The lake's lock: one coordinator writes at a time; a second one is refused at once, with the owner's name.

Object stores have one atomic operation, "create this object unless it exists". So each time the lock is taken it is a
new object, LAKE/NAME/.lock/000007.json, and the highest number owns the lake. To take over from a dead owner, create
the next number: of two that try, one succeeds. Only its owner rewrites an object, to renew its heartbeat.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime

import obstore
from obstore.exceptions import AlreadyExistsError

from patchlake.tasks.errors import LakeError
from patchlake.tasks.lake.layout import LOCK
from patchlake.tasks.storage.location import Location
from patchlake.tasks.storage.process_identity import Process, this_process

_LOG = logging.getLogger("patchlake.lock")
BEAT_SECONDS = 10.0
EXPIRE_SECONDS = 60.0
"""An owner without a heartbeat for this long counts as dead. Clocks of machines must agree to within seconds."""


class LockedError(LakeError):
    """Another coordinator owns the lake."""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Who holds a lake, according to its lock."""

    run_id: str
    user: str
    process: Process
    started: float
    """Seconds since 1970."""
    beat: float
    """Time of the last heartbeat, in seconds since 1970."""
    flow_run: str | None = None
    """The Prefect flow run's id."""

    @property
    def is_alive(self) -> bool:
        """Whether it still runs, judged by its process (on this machine) and its last heartbeat."""
        if self.process.is_here and not self.process.is_alive:
            return False
        return time.time() - self.beat < EXPIRE_SECONDS

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.started).astimezone().isoformat(" ", "seconds")
        return f"run {self.run_id} of {self.user} on {self.process.host} (process {self.process.pid}), since {since}"


def owners(lake: Location) -> dict[str, Owner]:
    """Return name of a lock object -> its owner, in order of numbers: the last one owns the lake."""
    names: list[str] = []
    with contextlib.suppress(FileNotFoundError):  # the folder is removed with its last object
        names = sorted(name for name, _ in lake.list(LOCK) if name.endswith(".json"))
    found = {}
    for name in names:
        if (text := lake.get(name)) is not None:
            found[name] = _owner_of(lake, name, text)
    return found


def _owner_of(lake: Location, name: str, text: bytes) -> Owner:
    """Return who wrote an object of the lock; an empty or cut-off one is a dead owner's, as its writing is atomic."""
    try:
        data = json.loads(text)
        known = {field.name: data[field.name] for field in fields(Owner) if field.name in data}
        return Owner(**{**known, "process": Process(**data["process"])})
    except (ValueError, TypeError, KeyError):
        _LOG.warning(
            "%s: %s says not who wrote it (%d bytes, e.g. after a power failure); it counts as a dead run's and is "
            "removed by the next run",
            lake,
            name,
            len(text),
        )
        number = name.rpartition("/")[2].partition(".")[0]
        nobody = Process(host="an unknown machine", machine="", pid=0, start=0)
        return Owner(run_id=f"unreadable-{number}", user="an unknown user", process=nobody, started=0.0, beat=0.0)


def refuse_if_held(lake: Location) -> None:
    """Raise LockedError if a living coordinator owns the lake."""
    for owner in owners(lake).values():
        if owner.is_alive:
            raise _refusal(lake, owner)


def remove_dead(lake: Location, known_dead: Collection[str] = ()) -> list[Owner]:
    """Remove the lock objects of dead owners, and return those owners; a living owner's object stays.

    `known_dead` are run ids that are dead whatever the lock says, because their queue reported it.
    """
    dead = {name: owner for name, owner in owners(lake).items() if owner.run_id in known_dead or not owner.is_alive}
    for name in dead:
        _remove(lake, name)
    return list(dead.values())


@contextmanager
def hold(lake: Location, run_id: str, *, wait_seconds: float = 0.0, flow_run: str | None = None) -> Iterator[Lock]:
    """Own the lake within the context; wait up to `wait_seconds` for another owner to end, then raise LockedError.

    A thread renews the heartbeat every ten seconds. If it finds the lock lost, it sends SIGTERM to this process, like
    a queue does, and the context ends with a LakeError.
    """
    lock = Lock(lake, run_id, flow_run)
    deadline = time.monotonic() + wait_seconds
    while (other := lock.try_take()) is not None:
        if time.monotonic() >= deadline:
            raise _refusal(lake, other)
        time.sleep(min(1.0, max(0.0, deadline - time.monotonic())))
    beating = threading.Thread(target=lock.keep, name="patchlake-lock", daemon=True)
    beating.start()
    try:
        yield lock
    except BaseException as error:
        if lock.lost:
            raise LakeError(lock.lost) from error
        raise
    finally:
        lock.over.set()
        beating.join()
        lock.release()


class Lock:
    """One coordinator's claim to a lake."""

    def __init__(self, lake: Location, run_id: str, flow_run: str | None = None) -> None:
        now = time.time()
        self.lake = lake
        self.owner = Owner(
            run_id=run_id, user=_user(), process=this_process(), started=now, beat=now, flow_run=flow_run
        )
        self.name = ""
        self.lost = ""
        """How the lock was lost, as a sentence; empty while it is held."""
        self.over = threading.Event()
        self.on_lost: Callable[[], None] = _stop_main_thread

    def try_take(self) -> Owner | None:
        """Take the lock and return None, or return the living owner."""
        found = owners(self.lake)
        if (other := self._other(found)) is not None:
            return other
        # A store may have written ours though its answer was lost: the client's next try then finds it there.
        name = next((name for name, owner in found.items() if owner == self.owner), "")
        if not name:
            last = int(max(found, default="0").rpartition("/")[2].partition(".")[0] or 0)
            name = f"{LOCK}/{last + 1:06}.json"
            try:
                obstore.put(self.lake.objects, name, self._text(), mode="create")
            except AlreadyExistsError:
                return self._other(owners(self.lake)) or self.try_take()
        # Another may have used an older listing, in which the number before was not there yet or not removed yet.
        found = owners(self.lake)
        found.pop(name, None)
        if (other := self._other(found)) is not None:
            _remove(self.lake, name)
            return other
        for dead in found:
            _remove(self.lake, dead)
        self.name = name
        return None

    def _other(self, found: dict[str, Owner]) -> Owner | None:
        """Return the living owner among those of the lock's objects, if it is not this one."""
        return next((owner for owner in reversed(found.values()) if owner != self.owner and owner.is_alive), None)

    def keep(self) -> None:
        """Renew the heartbeat until `over` is set or the lock is lost."""
        last = time.monotonic()
        while not self.over.wait(BEAT_SECONDS):
            try:
                self.beat()
                last = time.monotonic()
            except LakeError as error:
                self._lose(str(error))
                return
            except Exception as error:  # the store may be unreachable for a while
                if time.monotonic() - last > EXPIRE_SECONDS - BEAT_SECONDS:
                    self._lose(f"{self.lake}: its lock can't be renewed ({error}), so another run may own the lake now")
                    return

    def beat(self) -> None:
        """Renew the heartbeat; raises LakeError if another owns the lock now."""
        found = owners(self.lake)
        if self.name not in found or self.name != max(found):
            now = f"now {found[max(found)]} owns it" if found else "it was removed, e.g. by `patchlake reap`"
            raise LakeError(
                f"{self.lake}: this run lost the lock: {now}. It stops; what was committed stays, run again to continue"
            )
        self.owner = Owner(**{**asdict(self.owner), "process": self.owner.process, "beat": time.time()})
        self.lake.put(self.name, self._text())

    def check(self) -> None:
        """Raise LakeError if the lock is lost, since then nothing may be committed.

        If the last heartbeat was long ago (the machine may have been suspended), the lock is read again.
        """
        if self.lost:
            raise LakeError(self.lost)
        if time.time() - self.owner.beat > EXPIRE_SECONDS / 2:
            self.beat()

    def release(self) -> None:
        """Remove this owner's lock object."""
        with contextlib.suppress(Exception):  # if the store is unreachable, the lock expires
            _remove(self.lake, self.name)

    def _lose(self, sentence: str) -> None:
        self.lost = sentence
        self.on_lost()

    def _text(self) -> bytes:
        return json.dumps(asdict(self.owner)).encode()


def _remove(lake: Location, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        obstore.delete(lake.objects, name)
    if lake.is_local:
        with contextlib.suppress(OSError):  # not empty: it holds another owner's object
            (lake.path / LOCK).rmdir()


def _refusal(lake: Location, owner: Owner) -> LockedError:
    return LockedError(
        f"{lake} is being written by {owner}. Expected a lake that no run is writing: wait for that run to end "
        "(`--wait SECONDS` does), or end it (`patchlake cancel`)"
    )


def _stop_main_thread() -> None:
    ident = threading.main_thread().ident
    if ident is not None:
        signal.pthread_kill(ident, signal.SIGTERM)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container, a uid without a name
        return str(os.getuid())
