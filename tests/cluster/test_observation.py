"""What a cluster shows of itself: dashboard, metrics, performance report, how long workers had nothing to do."""

import os
import re
import socket
import time
import urllib.request
from functools import partial
from itertools import pairwise
from urllib.parse import urlsplit

import jobs
import pytest
from pydantic import ValidationError

from patchlake.cluster.connect import connect
from patchlake.cluster.kinds.local import LocalSpec


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """A cluster that was used, ended by an error: what it said, showed and wrote."""
    found = {"report": tmp_path_factory.mktemp("report") / "report.html", "links": []}
    before = jobs.ports_of(os.getpid())
    options = {"name": "a <name>", "on_start": found["links"].append, "performance_report": str(found["report"])}
    with pytest.raises(ZeroDivisionError), connect(LocalSpec(workers=1), **options) as cluster:  # noqa: PT012
        assert len(list(cluster.run(jobs.double, range(23), key=lambda x: f"{x:04d}"))) == 23
        found["link"] = cluster.dashboard_link
        found["ports"] = jobs.ports_of(os.getpid()) - before
        found["pages"] = {path: get(cluster.dashboard_link, path) for path in ("/status", "/metrics")}
        (worker,) = cluster.client.scheduler_info()["workers"].values()
        found["worker"] = get(f"http://127.0.0.1:{worker['services']['dashboard']}", "/metrics")
        found["sockets"] = {origin: handshake(cluster.dashboard_link, origin) for origin in origins(found["link"])}
        assert not found["report"].exists()
        1 / 0  # noqa: B018
    return found


def get(link, path):
    parts = urlsplit(link)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://{parts.netloc}{path}") as page:
        return page.read().decode()


def origins(link):
    port = urlsplit(link).port
    return [f"http://127.0.0.1:{port}", "http://localhost:1234", f"http://evil.example:{port}"]


def handshake(link, origin):
    """Return the status with which the dashboard answers a page of some origin that asks for its data."""
    parts = urlsplit(link)
    lines = [
        "GET /status/ws HTTP/1.1", f"Host: {parts.netloc}", f"Origin: {origin}", "Upgrade: websocket",
        "Connection: Upgrade", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version: 13", "\r\n",
    ]  # fmt: skip
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as wire:
        wire.sendall("\r\n".join(lines).encode())
        return int(wire.recv(64).split()[1])


def test_the_dashboard_is_named_and_served_on_loopback_alone(seen):
    assert seen["links"] == [seen["link"]]
    assert seen["link"].startswith("http://127.0.0.1:")
    assert "<title>Dask Diagnostic UI</title>" in seen["pages"]["/status"]
    assert {ip for ip, _ in seen["ports"]} == {"127.0.0.1"}
    assert urlsplit(seen["link"]).port in {port for _, port in seen["ports"]}


def test_scheduler_and_workers_have_metrics(seen):
    lines = seen["pages"]["/metrics"].splitlines()
    assert 'dask_scheduler_workers{state="idle"} 1.0' in lines
    (ended,) = (line for line in lines if re.match(r'dask_scheduler_prefix_state_totals_total\{.*state="memory"', line))
    assert 'task_prefix_name="double"' in ended, "of all items one counter, or the scheduler would grow with each"
    assert ended.endswith(" 23.0")
    assert "dask_worker_threads 1.0" in seen["worker"].splitlines()


def test_pages_of_others_may_not_read_the_dashboard(seen):
    """101 and 403 are HTTP's `Switching Protocols` and `Forbidden`; the second is the near end of a tunnel."""
    assert list(seen["sockets"].values()) == [101, 101, 403]


def test_a_performance_report_is_written_at_the_end_after_an_error_too(seen):
    text = seen["report"].read_text()
    assert "number of tasks: 23" in text
    assert "a &amp;lt;name&amp;gt;" in text, "escaped by us, and by Bokeh"
    assert not re.search("<link[^>]*https?://", text)
    assert "bokeh" in text
    assert len(text) > 500_000, "the scripts that draw it are in it"


def test_a_port_of_ones_own_and_none():
    with pytest.raises(ValidationError, match="expected true, false, or a port from 1024 to 65535"):
        LocalSpec(dashboard=80)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    links = []
    with connect(LocalSpec(workers=1, dashboard=port), on_start=links.append) as cluster:
        assert cluster.dashboard_link == f"http://127.0.0.1:{port}/status"
        assert links == [cluster.dashboard_link]


def test_items_tell_how_long_they_took_and_how_long_their_worker_was_idle():
    with connect(LocalSpec(workers=1, dashboard=False)) as cluster:
        first = list(cluster.run(jobs.begin_and_end, range(5)))
        time.sleep(0.3)
        second = list(cluster.run(jobs.begin_and_end, range(5)))
        assert cluster.dashboard_link is None
        port = cluster.client.cluster.scheduler.http_server.port
        assert "dask_scheduler_workers" in get(f"http://127.0.0.1:{port}", "/metrics"), "without dashboard, too"
    outcomes = sorted([*first, *second], key=lambda o: o.result)
    for before, after in pairwise(outcomes):
        assert after.seconds >= after.result[1] - after.result[0] >= 0.02
        assert 0 <= after.idle_seconds <= after.result[0] - before.result[1]
    assert min(second, key=lambda outcome: outcome.result).idle_seconds >= 0.3


def test_on_retry_is_called_for_each_item_that_is_started_again(tmp_path):
    again = []
    with connect(LocalSpec(workers=2, dashboard=False)) as cluster:
        function = partial(jobs.die_once, victim=3, folder=str(tmp_path))
        outcomes = list(cluster.run(function, range(12), on_retry=lambda item, why: again.append((item, why))))
    assert len(outcomes) == 12
    assert (3, "worker_left") in again
    assert {why for _, why in again} <= {"worker_left", "alone"}
