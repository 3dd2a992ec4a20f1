"""Stages and retries in the Prefect run's own log, where PREFECT_LOGGING_LEVEL=INFO asks for them."""

from __future__ import annotations

import sys

from patchlake.flows.telemetry.events import Event, StageEnded, UnitFailed, UnitRetried


def log_to_prefect(event: Event) -> None:
    """Log to the flow or task run that is under way, if any: a listener."""
    if isinstance(event, StageEnded):
        text = f"stage {event.name}: {event.seconds:.1f} s"
    elif isinstance(event, UnitRetried):
        text = f"unit {event.unit.unit_id} retried: {event.why}"
    elif isinstance(event, UnitFailed):
        text = f"unit {event.unit.unit_id} failed: {event.error}"
    else:
        return
    if "prefect" not in sys.modules:  # then no flow is under way
        return
    from prefect.context import get_run_context
    from prefect.exceptions import MissingContextError
    from prefect.logging import get_run_logger

    try:
        get_run_logger(get_run_context()).info(text)
    except MissingContextError:  # in a test, or in `patchlake plan`
        return
