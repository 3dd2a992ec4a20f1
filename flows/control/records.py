"""Records of runs: a folder PATCHLAKE_HOME/runs/RUN_ID with a small file per writer.

`asked.json` is written by whoever started the run; `coordinator.json` by the coordinator, which touches it as a
heartbeat; `ended.json` by the coordinator at its end, or by whoever ended it. So no file has two writers.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
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
from patchlake.flows.control.exit import DONE, FAILED, STOPPED
from patchlake.flows.control.home import own_folder
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.lake.lock import BEAT_SECONDS, EXPIRE_SECONDS
from patchlake.tasks.storage.process_identity import Process, this_process

State = Literal["queued", "running", "done", "failed", "cancelled", "dead"]
TAIL_BYTES = 1 << 16
"""How much of a log's end is searched for its last line: more than a hundred units."""


def new_id() -> str:
    """Return a new run id."""
    return uuid.uuid4().hex[:12]


def name_of(run_id: str) -> str:
    """Return the name of a run's jobs, which is also the tag of its Prefect flow run."""
    return f"patchlake-{run_id}"


def home() -> Path:
    """Return the folder of the records of all runs."""
    return own_folder() / "runs"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to run; the fields are the keys of `asked.json`."""

    recipe: str
    overrides: Sequence[str]
    lake: str
    """LAKE/NAME."""
    asked: float = field(default_factory=time.time)
    """When it was asked for: seconds since 1970, like all times here."""
    detached: bool = False
    queue: str | None = None
    """The kind of queue whose jobs the workers, and a detached coordinator, are."""
    job_id: str | None = None
    """The coordinator's job in that queue."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run ended; the fields are the keys of `ended.json`."""

    state: State
    exit_code: int
    ended: float = field(default_factory=time.time)


@dataclass(frozen=True)
class RunRecord:
    """The record of one run."""

    run_id: str

    @property
    def folder(self) -> Path:
        """The record's folder."""
        return home() / self.run_id

    @property
    def log(self) -> Path:
        """The file with what a detached coordinator prints."""
        return self.folder / "log"

    @cached_property
    def request(self) -> Request:
        """What is to run; raises RecipeError where there is no such record."""
        data = self._read("asked")
        if data is None:
            raise RecipeError(f"got the run {self.run_id!r}, expected one of {home()}; `patchlake status` lists them")
        return Request(**data)

    @property
    def coordinator(self) -> Process | None:
        """The coordinator's process, once it has started."""
        data = self._read("coordinator")
        return None if data is None else Process(**data)

    @property
    def ended(self) -> Ended | None:
        """How it ended, or None while it has not."""
        data = self._read("ended")
        return None if data is None else Ended(**data)

    @property
    def state(self) -> State:
        """The run's state. Dead is one whose coordinator is gone without having recorded an end."""
        if (state := self._state_unless_ended()) != "dead":
            return state
        return self.ended.state if self.ended else "dead"  # it may have ended in the meantime

    def _state_unless_ended(self) -> State:
        if ended := self.ended:
            return ended.state
        process, request = self.coordinator, self.request
        if process is not None and process.is_here:
            return "running" if process.is_alive else "dead"
        if request.job_id and (found := jobs.job_state(str(request.queue), request.job_id)) is not None:
            return "dead" if found == "gone" else found
        if process is None:
            return "queued" if request.job_id or time.time() - request.asked < EXPIRE_SECONDS else "dead"
        return "running" if time.time() - self._beat() < EXPIRE_SECONDS else "dead"

    @property
    def started(self) -> float:
        """When the run was asked for, in seconds since 1970."""
        return self.request.asked

    @property
    def last_line(self) -> str:
        """The last line of the log that is not the JSON of a unit, if there is one near its end."""
        with suppress(OSError), self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = [line for line in map(_unframed, file.read().decode(errors="replace").splitlines()) if line]
            return next((line for line in reversed(lines) if not line.startswith("{")), lines[-1] if lines else "")
        return ""

    def write(self, name: str, value: Request | Ended | Process) -> None:
        """Write one of the record's files, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = self.folder / f".{name}-{os.getpid()}"
        part.write_text(json.dumps(asdict(value)))
        part.replace(self.folder / f"{name}.json")

    def touch(self) -> None:
        """Send a heartbeat of the coordinator."""
        os.utime(self.folder / "coordinator.json")

    def forget(self) -> None:
        """Remove the record."""
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


def _unframed(line: str) -> str:
    """Return a line without the frame of a table: the last line of a run is its table's.

    >>> _unframed("│ report │ page.html │"), _unframed("└────────┴───────────┘")
    ('report  page.html', '')
    """
    return line.translate(dict.fromkeys(range(0x2500, 0x2580))).strip()


def known_runs() -> list[RunRecord]:
    """List the recorded runs, the newest last."""
    found = [RunRecord(path.parent.name) for path in home().glob("*/asked.json")]
    return sorted(found, key=lambda record: (record.started, record.run_id))


@dataclass
class Ending:
    """What `coordinating` records at the run's end."""

    exit_code: int = FAILED


@contextmanager
def coordinating(run_id: str, request: Request) -> Iterator[Ending]:
    """Be the run's coordinator: record the run, send heartbeats, and record how it ended.

    The record of a run in the foreground is removed at its end; if it can't be written the run continues without
    one. If the coordinator is killed, `patchlake reap` finds the run by its record.
    """
    record, over, ending = RunRecord(run_id), threading.Event(), Ending()
    try:
        if not request.detached:
            record.write("asked", request)
        record.write("coordinator", this_process())
    except OSError:
        if request.detached:
            raise
    beating = threading.Thread(target=_show_life, args=(record, over), name="patchlake-run", daemon=True)
    beating.start()
    try:
        yield ending
    finally:
        over.set()
        beating.join()
        if request.detached:
            states: dict[int, State] = {DONE: "done", STOPPED: "cancelled"}
            record.write("ended", Ended(state=states.get(ending.exit_code, "failed"), exit_code=ending.exit_code))
        else:
            record.forget()


def _show_life(record: RunRecord, over: threading.Event) -> None:
    while not over.wait(BEAT_SECONDS):
        with suppress(OSError):
            record.touch()


def flow_run_id() -> str | None:
    """Return the id of the Prefect flow run that this code runs in, or None outside of one."""
    if "prefect" not in sys.modules:
        return None
    from prefect.runtime import flow_run

    return flow_run.id or None


def tag_flow_run(run_id: str) -> None:
    """Tag the Prefect flow run that this code runs in with the run's name: `reap` finds it by its tag."""
    if flow_run_id() is None:
        return
    from uuid import UUID

    from prefect.client.orchestration import get_client
    from prefect.runtime import flow_run

    with get_client(sync_client=True) as client:
        client.update_flow_run(UUID(flow_run.id), tags={*flow_run.tags, name_of(run_id)})
