"""A Prefect server that does not answer: what needs it fails with a sentence, other errors stay what they are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from command_line import free_port, run_patchlake
from prefect.settings import PREFECT_API_URL, temporary_settings

from patchlake.flows.control import prefect_record


def test_without_a_server_nothing_begins(recipe: Callable[..., Path], tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    done = run_patchlake("run", str(recipe()), env={"PREFECT_API_URL": url}, timeout=60)
    assert done.code == 1
    assert f"patchlake: the Prefect server at {url} does not answer: " in done.err.splitlines()[-1]
    assert "run again: it continues from there" in done.err.splitlines()[-1]


@pytest.fixture
def failing() -> Iterator[str]:
    """A server that answers 503 below /api/ and 404 elsewhere."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503 if self.path.startswith("/api/") else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    listener = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listener.server_port}"
    listener.shutdown()


@pytest.fixture
def at_failing(failing: str) -> Iterator[None]:
    with temporary_settings({PREFECT_API_URL: f"{failing}/api"}):  # Prefect has read the environment long ago
        yield


def get(url: str) -> dict[str, object]:
    with httpx.Client(trust_env=False) as client:
        client.get(url).raise_for_status()
    return prefect_record.note_done({"clips": 3})


def done_then_get(url: str) -> dict[str, object]:
    prefect_record.note_done({"clips": 3})
    return get(url)


def test_only_the_server_s_own_silence_is_reported(
    failing: str, at_failing: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(
        prefect_record.ServerError, match=rf"the Prefect server at {failing}/api does not answer: .*503"
    ):
        prefect_record.call(get, f"{failing}/api/flows")
    assert prefect_record.call(done_then_get, f"{failing}/api/flows") == {"clips": 3}
    assert "The run itself is done" in capsys.readouterr().err
    for other in (f"{failing}/models", "http://127.0.0.1:9/models"):
        with pytest.raises(httpx.HTTPError):
            prefect_record.call(get, other)
    with pytest.raises(RuntimeError, match="mine"):
        prefect_record.call(raise_mine)


def raise_mine() -> dict[str, object]:
    raise RuntimeError("mine")
