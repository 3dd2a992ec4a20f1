"""Prefect's record of a run. The work does not need Prefect's server: if that goes away only the record is lost."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from patchlake.flows.control import server
from patchlake.tasks.errors import PatchlakeError

TEMPORARY = "a free port of this machine (a temporary one)"
_done: dict[str, Any] | None = None
_is_silent = False


class ServerError(PatchlakeError):
    """The Prefect server does not answer."""


def note_done(figures: dict[str, Any]) -> dict[str, Any]:
    """Remember that the flow's work is done; only reporting it to the server may still fail."""
    global _done
    _done = figures
    return figures


def call(flow: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    """Run a flow and return its figures, also if the server went away once its work was done.

    Raises ServerError if the server was needed and did not answer.
    """
    global _done, _is_silent
    _done = None
    try:
        return flow(*args)
    except Exception as error:
        if (why := _silence(error)) is None:
            raise
        _is_silent = True
        said = f"the Prefect server at {_address()} does not answer: {why}"
        if _done is None:
            advice = "start it (`prefect server start`), or unset PREFECT_API_URL for a temporary one, then "
            advice = "" if server.is_in_use() else advice
            raise ServerError(
                f"{said}. What was committed stays; {advice}run again: it continues from there"
            ) from error
        print(f"patchlake: {said}. The run itself is done; only its record on the server is not", file=sys.stderr)
        return _done


def is_silent() -> bool:
    """Tell whether the server went away during a flow."""
    return _is_silent


def _silence(error: BaseException) -> str | None:
    """Return why a request to the server failed, or None if the error is another one."""
    import httpx

    if isinstance(error, RuntimeError) and str(error).startswith("Failed to reach API at"):
        cause = error.__cause__ or error.__context__ or error
    elif isinstance(error, httpx.TransportError | httpx.HTTPStatusError) and _is_ours(error):
        cause = error
    else:
        return None
    return " ".join(str(cause).split()) or type(cause).__name__


def _is_ours(error: Any) -> bool:
    """Tell whether a request went to the Prefect server: httpx is also used for others, e.g. to a model's hub."""
    if getattr(error, "response", None) is not None and error.response.status_code < 500:
        return False
    url = str(error.request.url)
    address = _address()
    return "/api/" in url if address == TEMPORARY else url.startswith(address)


def _address() -> str:
    from prefect.settings import PREFECT_API_URL

    return PREFECT_API_URL.value() or TEMPORARY
