"""Helpers for tests on a real S3 server: any key whatever, and how many bytes a reader takes."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import hmac
import http.client
import socket
import threading
from collections.abc import Iterator, Mapping
from urllib.parse import quote_from_bytes

BUCKET = "lakes"


def put(env: Mapping[str, str], key: str, data: bytes) -> None:
    """Write an object under any key: obstore refuses some keys that others may have written (AWS Signature V4)."""
    host, day = env["AWS_ENDPOINT_URL"].split("//")[1], f"{datetime.datetime.now(datetime.UTC):%Y%m%d}"
    path = f"/{BUCKET}/" + quote_from_bytes(key.encode(), safe="/-_.~")
    digest = hashlib.sha256(data).hexdigest()
    stamp = f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}"
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    signed = ";".join(headers)
    request = "\n".join(["PUT", path, "", *(f"{name}:{value}" for name, value in headers.items()), "", signed, digest])
    scope = f"{day}/{env['AWS_REGION']}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    secret = ("AWS4" + env["AWS_SECRET_ACCESS_KEY"]).encode()
    for part in (*scope.split("/"), text):
        last = hmac.new(secret, part.encode(), hashlib.sha256)
        secret = last.digest()
    who = f"Credential={env['AWS_ACCESS_KEY_ID']}/{scope}, SignedHeaders={signed}, Signature={last.hexdigest()}"
    connection = http.client.HTTPConnection(host)
    with contextlib.closing(connection):
        connection.request("PUT", path, data, {**headers, "authorization": f"AWS4-HMAC-SHA256 {who}"})
        answer = connection.getresponse()
        assert answer.status == 200, (key, answer.status, answer.read())


class Meter:
    """A door before a server: counts the bytes that come out, and can be shut."""

    def __init__(self, server: str) -> None:
        host, port = server.split("//")[1].split(":")
        self._server = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.num_bytes = 0
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def shut(self) -> None:
        """End all connections and take no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._open += [client, server]
                threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, is_counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if is_counted:
                    self.num_bytes += len(data)
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def metered(server: str) -> Iterator[Meter]:
    """Put a meter before a server."""
    meter = Meter(server)
    try:
        yield meter
    finally:
        with contextlib.suppress(OSError):
            meter.shut()
