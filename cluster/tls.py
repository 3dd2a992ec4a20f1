"""Encryption between scheduler, workers and client; each must show a certificate."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from distributed.security import Security

from patchlake.cluster.errors import ClusterError
from patchlake.cluster.spec import TlsFiles

CA, CERT, KEY = "ca.pem", "cert.pem", "key.pem"
"""Names in a folder of certificates."""


@contextmanager
def open_security(tls: bool | str | TlsFiles, *, folder: str | None = None) -> Iterator[Security | None]:
    """Yield Dask's settings: none, certificates that last as long as the context, or those of the files.

    New ones lie in `folder` if other machines have to read them, else in a temporary one.
    """
    if tls is False:
        yield None
    elif tls is True:
        with TemporaryDirectory(prefix="tls-", dir=folder) as place:  # mode 0700
            yield security_of(make_certificates(place))
    else:
        yield security_of(files_in(tls) if isinstance(tls, str) else tls)


def security_of(files: TlsFiles) -> Security:
    """Return Dask's settings for one certificate that scheduler, workers and client share.

    Raises ClusterError for files that can't be read.
    """
    for name, path in files:
        if not os.access(path, os.R_OK):
            raise ClusterError(f"cluster.tls.{name}: {path} can't be read: give the path of a PEM file.")
    roles = ("client", "scheduler", "worker")
    both = {"cert": files.cert, "key": files.key}
    pairs = {f"tls_{role}_{name}": path for role in roles for name, path in both.items()}
    return Security(require_encryption=True, tls_ca_file=files.ca, **pairs)


def files_in(folder: str | os.PathLike[str]) -> TlsFiles:
    """Name the files in a folder of certificates."""
    place = Path(folder)
    return TlsFiles(ca=str(place / CA), cert=str(place / CERT), key=str(place / KEY))


def make_certificates(folder: str | os.PathLike[str]) -> TlsFiles:
    """Write a new authority, certificate and key into a folder that only its owner may read."""
    try:
        made = Security.temporary()
    except ImportError as error:
        raise ClusterError(
            "TLS with certificates of its own needs cryptography: pip install 'patchlake[tls]', or give cluster.tls "
            "the files ca, cert and key."
        ) from error
    files = files_in(folder)
    Path(folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    contents = (made.tls_ca_file, made.tls_worker_cert, made.tls_worker_key)
    for path, text in zip((files.ca, files.cert, files.key), contents, strict=True):
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
    return files
