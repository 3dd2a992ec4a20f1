"""The temporary Prefect server as a process: `python -m patchlake.flows.control.server_program FD IDLE_SECONDS RECORD`.

It serves on the listening socket FD, and ends after IDLE_SECONDS without a request, or when its record is gone.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

USE_PATH = "/patchlake/use"
"""Answers with what the server is used for now: requests under way, and seconds since the last one."""
LOOK_SECONDS = 1.0


class CountedApp:
    """An ASGI application that knows how many requests and websockets are open, or for how long none has been."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._open = 0
        self._last = time.monotonic()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, and count it while it lasts."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["path"] == USE_PATH:
            await _answer(send, {"open": self._open, "idle_seconds": self.idle_seconds})
        else:
            self._open += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._open -= 1
                self._last = time.monotonic()

    def start_to_count(self) -> None:
        """Count idle seconds from now on."""
        self._last = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last request was over; 0 while there is one."""
        return 0.0 if self._open else time.monotonic() - self._last


async def _answer(send: Any, body: dict[str, float]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


def main(file_descriptor: int, idle_seconds: float, record: Path) -> None:
    """Serve until idle."""
    import uvicorn
    from prefect.server.api.server import create_app

    app = CountedApp(create_app())
    config = uvicorn.Config(app, log_level="error", lifespan="on", timeout_graceful_shutdown=3)
    server = uvicorn.Server(config)

    def end_when_idle() -> None:
        while record.exists() and not server.started:
            time.sleep(LOOK_SECONDS)
        app.start_to_count()
        while record.exists() and app.idle_seconds < idle_seconds:
            time.sleep(LOOK_SECONDS)
        server.should_exit = True

    threading.Thread(target=end_when_idle, daemon=True).start()
    server.run(sockets=[socket.socket(fileno=file_descriptor)])


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]))
    os._exit(0)  # without waiting for its threads
