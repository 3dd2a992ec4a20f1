"""`patchlake logs`: what a detached run prints."""

from __future__ import annotations

import sys
import time
from contextlib import suppress

from patchlake.flows.control.records import RunRecord
from patchlake.tasks.errors import PatchlakeError

LOOK_SECONDS = 0.3


def follow(record: RunRecord, *, until_over: bool) -> None:
    """Print a run's log; with `until_over` go on until the run is over."""
    if not record.request.detached:
        raise PatchlakeError(f"run {record.run_id} is not detached: its output is on its own terminal")
    place = 0
    while True:
        over = not until_over or record.state not in ("queued", "running")  # looked up first: its last words are read
        with suppress(FileNotFoundError), record.log.open("rb") as file:
            file.seek(place)
            text = file.read()
            place += len(text)
            sys.stdout.buffer.write(text)
            sys.stdout.buffer.flush()
        if over:
            return
        time.sleep(LOOK_SECONDS)
