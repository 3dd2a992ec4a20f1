"""Named moments of a run at which tests pull the plug: PATCHLAKE_FAULT=NAME kills the whole process group there.

The moments are those after which another part of the work is durable; DESIGN.md's order of commits is tested by them.
"""

from __future__ import annotations

import os
import signal

POINTS = (
    "planned", "decoding", "shard_written", "coordinates_written", "table_rows_written", "receipts_written", "after",
)  # fmt: skip


def reach(point: str) -> None:
    """Say that a moment is reached: nothing happens unless the environment asks for a fault here."""
    if os.environ.get("PATCHLAKE_FAULT") == point:
        os.killpg(0, signal.SIGKILL)
