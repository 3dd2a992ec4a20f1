"""The report of a run."""

from __future__ import annotations

from patchlake.flows.session import Session


def write_report(session: Session) -> None:
    """Write LAKE/NAME/report/index.html."""
