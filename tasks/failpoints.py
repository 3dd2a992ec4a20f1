"""Named moments of a run at which tests do harm.

PATCHLAKE_FAULT=NAME kills the whole process group at a moment. PATCHLAKE_FAULT=NAME:N:FILE makes the first process
that comes to a moment for the N-th time make FILE, write its process id into FILE.here and wait until that is gone:
time to kill, stop or cut off whatever a test wants gone just then. FILE stays, so this happens once. Several of these
may be given, with commas between.

The moments are those after which another part of the work is durable; DESIGN.md's order of commits is tested by them.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter

WORKER_POINTS = ("decoding", "shard_written")
POINTS = (
    "planned", *WORKER_POINTS, "coordinates_written", "table_rows_written", "receipts_written", "after",
)  # fmt: skip
"""Of ingestion."""
REDUCE_POINTS = ("reducing", "reduced", "reduction_written")
"""On a worker for each slot; in the flow before the result is written, and before it counts as written."""
RANK_POINTS = ("training_step", "epoch_trained", "checkpoint_written", "model_written")
"""In the processes that train; the last two in the first rank alone."""
TRAIN_POINTS = (*RANK_POINTS, "trained")
"""The last one in the flow, before the result is written."""
_met: Counter[str] = Counter()


def reach(point: str) -> None:
    """Say that a moment is reached: nothing happens unless the environment asks for a fault here."""
    wanted = os.environ.get("PATCHLAKE_FAULT")
    if not wanted:
        return
    _met[point] += 1
    for fault in wanted.split(","):
        name, _, rest = fault.partition(":")
        if name == point and not rest:
            os.killpg(0, signal.SIGKILL)
        count, _, file = rest.partition(":")
        if name == point and _met[point] == int(count):
            _wait(file)


def _wait(file: str) -> None:
    try:
        with open(file, "x") as mark:
            mark.write(str(os.getpid()))
    except FileExistsError:  # another process was first
        return
    os.link(file, f"{file}.here")  # whole, with its content
    while os.path.exists(f"{file}.here"):
        time.sleep(0.02)
