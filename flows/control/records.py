"""Runs as they are written down: a folder PATCHLAKE_HOME/runs/RUN_ID with a small file per writer.

`asked.json` is by whoever started the run, `coordinator.json` by the coordinator (its time is its last sign of life),
`ended.json` by the coordinator at its end, or by who ended it. So no file is ever changed by two.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from patchlake.cluster import coordinator_job as jobs
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.lake.lock import BEAT_SECONDS, EXPIRE_SECONDS
from patchlake.tasks.storage.process_identity import Process, this_process

VARIABLE = "PATCHLAKE_RUN"
"""Environment variable by which the processes of a run are found."""
State = Literal["queued", "running", "done", "failed", "cancelled", "dead"]
TAIL_BYTES = 1 << 16
"""Of a log, what is searched for its last line: a hundred units and more."""
STOPPED = 130
"""Exit code of a run that a signal ended."""


def new_id() -> str:
    """Return a name for a run."""
    return uuid.uuid4().hex[:12]


def name_of(run_id: str) -> str:
    """Return how a run's jobs are called, and how its Prefect flow run is tagged."""
    return f"patchlake-{run_id}"


def home() -> Path:
    """Return the folder of all runs."""
    return Path(os.environ.get("PATCHLAKE_HOME", "~/.patchlake")).expanduser().absolute() / "runs"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to run."""

    recipe: str
    overrides: Sequence[str]
    lake: str
    """LAKE/NAME."""
    asked: float = field(default_factory=time.time)
    """Seconds since 1970, as all times here."""
    detached: bool = False
    queue: str | None = None
    """The kind of queue that the coordinator, or its workers, are jobs of."""
    job_id: str | None = None
    """The coordinator's job."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run ended."""

    state: State
    exit_code: int
    ended: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Run:
    """A run's folder."""

    run_id: str

    @property
    def folder(self) -> Path:
        """Where it is written down."""
        return home() / self.run_id

    @property
    def log(self) -> Path:
        """What the coordinator says, where it is detached."""
        return self.folder / "log"

    @cached_property
    def asked(self) -> Asked:
        """What is to run; raises RecipeError for a run that nobody knows."""
        data = self._read("asked")
        if data is None:
            raise RecipeError(f"got the run {self.run_id!r}, expected one of {home()}; `patchlake status` lists them")
        return Asked(**data)

    @property
    def coordinator(self) -> Process | None:
        """The coordinator's process, once it has started."""
        data = self._read("coordinator")
        return None if data is None else Process(**data)

    @property
    def ended(self) -> Ended | None:
        """How it ended, if it has."""
        data = self._read("ended")
        return None if data is None else Ended(**data)

    @property
    def state(self) -> State:
        """Return what became of it: only a coordinator that is gone and never said how it ended is dead."""
        if (state := self._state_unless_ended()) != "dead":
            return state
        return self.ended.state if self.ended else "dead"  # it may have ended while it was looked for

    def _state_unless_ended(self) -> State:
        if ended := self.ended:
            return ended.state
        process, asked = self.coordinator, self.asked
        if process is not None and process.is_here:
            return "running" if process.is_alive else "dead"
        if asked.job_id and (found := jobs.job_state(str(asked.queue), asked.job_id)) is not None:
            return "dead" if found == "gone" else found
        if process is None:
            return "queued" if asked.job_id or time.time() - asked.asked < EXPIRE_SECONDS else "dead"
        return "running" if time.time() - self._beat() < EXPIRE_SECONDS else "dead"

    @property
    def started(self) -> float:
        """When it was asked for."""
        return self.asked.asked

    @property
    def last_line(self) -> str:
        """The last line of the log that is not about a unit, among the last ones."""
        with suppress(OSError), self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
            return next((line for line in reversed(lines) if not line.startswith("{")), lines[-1] if lines else "")
        return ""

    def write(self, name: str, value: Asked | Ended | Process) -> None:
        """Write one of the files, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = self.folder / f".{name}-{os.getpid()}"
        part.write_text(json.dumps(asdict(value)))
        part.replace(self.folder / f"{name}.json")

    def touch(self) -> None:
        """Say that the coordinator lives."""
        os.utime(self.folder / "coordinator.json")

    def forget(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _beat(self) -> float:
        with suppress(OSError):
            return (self.folder / "coordinator.json").stat().st_mtime
        return 0.0

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads((self.folder / f"{name}.json").read_text())
        except FileNotFoundError:
            return None
        return found


def known_runs() -> list[Run]:
    """List the runs that are written down, the newest last."""
    found = [Run(path.parent.name) for path in home().glob("*/asked.json")]
    return sorted(found, key=lambda run: (run.started, run.run_id))


@dataclass
class Ending:
    """What a coordinator's end is to say."""

    exit_code: int = 1


@contextmanager
def coordinating(run_id: str, asked: Asked) -> Iterator[Ending]:
    """Be the run's coordinator: write it down, show signs of life, and say how it ended.

    A run in the foreground is forgotten at its end, and goes without a folder where none can be made; if it is killed,
    its folder tells `patchlake reap` of it.
    """
    run, over, ending = Run(run_id), threading.Event(), Ending()
    try:
        if not asked.detached:
            run.write("asked", asked)
        run.write("coordinator", this_process())
    except OSError:
        if asked.detached:
            raise
    beating = threading.Thread(target=_show_life, args=(run, over), name="patchlake-run", daemon=True)
    beating.start()
    try:
        yield ending
    finally:
        over.set()
        beating.join()
        if asked.detached:
            states: dict[int, State] = {0: "done", STOPPED: "cancelled"}
            run.write("ended", Ended(state=states.get(ending.exit_code, "failed"), exit_code=ending.exit_code))
        else:
            run.forget()


def _show_life(run: Run, over: threading.Event) -> None:
    while not over.wait(BEAT_SECONDS):
        with suppress(OSError):
            run.touch()


def flow_run_id() -> str | None:
    """Return the id of the Prefect flow run that this is part of, if it is one's."""
    from prefect.runtime import flow_run

    return flow_run.id or None


def tag_flow_run(run_id: str) -> None:
    """Tag the Prefect flow run with the run's name, so that it can be found by that."""
    from uuid import UUID

    from prefect.client.orchestration import get_client
    from prefect.runtime import flow_run

    if flow_run.id:
        with get_client(sync_client=True) as client:
            client.update_flow_run(UUID(flow_run.id), tags={*flow_run.tags, name_of(run_id)})
