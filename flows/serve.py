"""`patchlake serve RECIPE`: the job on its schedule, as a Prefect deployment by module path."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any

from patchlake.flows.session import check
from patchlake.tasks.errors import PatchlakeError, RecipeError

START_SECONDS = 90.0


def serve_recipe(path: str, overrides: Sequence[str] = ()) -> int:
    """Serve the recipe's flow on its cron until stopped (Ctrl-C, SIGTERM).

    A schedule needs a real Prefect server: the one that PREFECT_API_URL names, else one started here that ends with
    this process.
    """
    recipe = check(path, overrides)
    if recipe.schedule is None:
        raise RecipeError(f'recipe {path}: schedule: missing; expected a cron line, e.g. schedule: "0 2 * * *"')
    with _server():
        from prefect import serve
        from prefect.schedules import Cron
        from prefect.types.entrypoint import EntrypointType

        from patchlake.flows.run import run

        deployment: Any = run.to_deployment(
            name=recipe.name,
            schedule=Cron(recipe.schedule),
            parameters={"recipe": os.path.abspath(path), "overrides": list(overrides)},
            concurrency_limit=1,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        print(f"serving {recipe.name} at {recipe.schedule!r} on {os.environ['PREFECT_API_URL']}", flush=True)
        serve(deployment)
    return 0


@contextlib.contextmanager
def _server() -> Iterator[None]:
    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    environment = {**os.environ, "PREFECT_UI_API_URL": url, "PREFECT_API_URL": url}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(server, url)
        os.environ["PREFECT_API_URL"] = url
        yield
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait(server: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise PatchlakeError(
                f"the Prefect server ended with {server.returncode}; try `prefect server start` by hand"
            )
        with contextlib.suppress(OSError), opener.open(f"{url}/health", timeout=2):
            return
        time.sleep(0.2)
    raise PatchlakeError(f"the Prefect server did not answer within {START_SECONDS:.0f} s at {url}")
