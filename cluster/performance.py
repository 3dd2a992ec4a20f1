"""Dask's performance report of a whole run, as one page that loads nothing from the network."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import html
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributed import Client

WRITE_SECONDS = 300
"""How long the scheduler may take to draw it."""
_FROM_OUTSIDE = re.compile(r"<link[^>]*https?://[^>]*>")
"""Dask's icon, from its web site."""


@contextmanager
def reporting(client: Client, path: str, name: str) -> Iterator[None]:
    """Watch the cluster's tasks until the end of the context, and write the report then, also after an error.

    Unlike `distributed.performance_report` it needs no default client, its page loads no scripts from the network, and
    it shows the cluster's name instead of the calling code. A report that can't be made is a warning: the work is done.
    """
    begun = time.time()
    count = client.sync(_watch, client)
    try:
        yield
    finally:
        try:
            text = client.sync(_drawn, client, begun, count, name, callback_timeout=WRITE_SECONDS)
            Path(path).write_text(_FROM_OUTSIDE.sub("", text), encoding="utf-8")
        except Exception as error:
            logging.getLogger(__name__).warning("no performance report %s: %s: %s", path, type(error).__name__, error)


async def _watch(client: Client) -> int:
    """Have the scheduler record tasks from now on; return how many samples of its machine it has taken so far."""
    await client.get_task_stream(start=0, stop=0)
    count: int = await client.run_on_scheduler(_looks)
    return count


def _looks(dask_scheduler: Any) -> int:
    return int(dask_scheduler.monitor.count)


async def _drawn(client: Client, begun: float, count: int, name: str) -> str:
    scheduler: Any = client.scheduler
    found: str = await scheduler.performance_report(
        start=begun, last_count=count, code=html.escape(name), mode="inline"
    )
    return found
