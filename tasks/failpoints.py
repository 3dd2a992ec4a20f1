"""Named points of a run at which tests inject faults.

PATCHLAKE_FAULT=NAME kills the whole process group at a point. With PATCHLAKE_FAULT=NAME:N:FILE the first process that
reaches the point for the N-th time creates FILE, writes its process id into FILE.here and waits until that file is
removed: time for the test to kill, stop or disconnect something. FILE stays, so this happens once. Several faults may
be given, separated by commas.

At each point another part of the work has become durable; they test DESIGN.md's order of commits.
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
"""Points of ingestion."""
REDUCE_POINTS = ("reducing", "reduced", "reduction_written")
"""On a worker for each slot; in the flow before the result is written; and before it is marked as complete."""
RANK_POINTS = ("training_step", "epoch_trained", "checkpoint_written", "model_written")
"""In the training processes; the last two only in rank 0."""
TRAIN_POINTS = (*RANK_POINTS, "trained")
"""`trained` is in the flow, before the result is written."""
_met: Counter[str] = Counter()


def reach(point: str) -> None:
    """Mark a point as reached: nothing happens unless the environment requests a fault here."""
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
    os.link(file, f"{file}.here")  # appears complete, with its content
    while os.path.exists(f"{file}.here"):
        time.sleep(0.02)
