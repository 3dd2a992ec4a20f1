"""Location of a lake: a folder or a prefix of a bucket, with the few operations that a lake needs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import obstore
import zarr.storage
from obstore.store import LocalStore, S3Store

from patchlake.tasks.errors import LakeError
from patchlake.tasks.storage.objects import s3_store


@dataclass(frozen=True)
class Location:
    """A folder (an absolute path) or an s3:// URL. Credentials and endpoint come only from AWS_* variables."""

    url: str

    def __post_init__(self) -> None:
        """Refuse other schemes."""
        if "://" in self.url and not self.url.startswith("s3://"):
            raise LakeError(f"lake: got {self.url!r}, expected a folder or an s3:// URL")

    def __truediv__(self, name: str) -> Location:
        return Location(f"{self.url.rstrip('/')}/{name}")

    def __str__(self) -> str:
        return self.url

    @property
    def is_local(self) -> bool:
        """Whether it is a folder."""
        return not self.url.startswith("s3://")

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.url)

    @cached_property
    def objects(self) -> LocalStore | S3Store:
        """The object store of this location; writing one object is atomic, in folders and in buckets."""
        if self.is_local:
            return LocalStore(self.path, mkdir=True)
        return s3_store(self.url)

    def zarr_store(self, *, read_only: bool = False) -> Any:
        """Return the Zarr store of this location."""
        if self.is_local:
            return zarr.storage.LocalStore(self.path, read_only=read_only)
        return zarr.storage.ObjectStore(self.objects, read_only=read_only)

    @property
    def delta_options(self) -> dict[str, str]:
        """Storage options of deltalake."""
        plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        return {"AWS_ALLOW_HTTP": "true"} if plain and not self.is_local else {}

    def put(self, name: str, data: bytes) -> None:
        """Write an object atomically."""
        obstore.put(self.objects, name, data)

    def get(self, name: str) -> bytes | None:
        """Return an object's bytes, or None if there is none."""
        if self.is_local:
            try:
                return (self.path / name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None
        try:
            return bytes(obstore.get(self.objects, name).bytes())
        except FileNotFoundError:
            return None

    def list(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Yield (name, bytes) of every object below a prefix, in no order."""
        if self.is_local and not (self.path / prefix).is_dir():
            return
        for batch in obstore.list(self.objects, prefix=prefix or None):
            for item in batch:
                yield item["path"], item["size"]

    def folders(self) -> tuple[str, ...]:
        """Return the names of the folders that lie here, in order; what they hold is not listed."""
        found = obstore.list_with_delimiter(self.objects)["common_prefixes"]
        return tuple(sorted(name.rstrip("/").rpartition("/")[2] for name in found))

    def delete(self, prefix: str) -> None:
        """Remove everything below a prefix."""
        if self.is_local:
            shutil.rmtree(self.path / prefix, ignore_errors=True)
        else:
            names = [name for name, _ in self.list(prefix)]
            if names:
                obstore.delete(self.objects, names)
