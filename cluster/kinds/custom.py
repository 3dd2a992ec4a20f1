"""Any Dask cluster class, by its dotted path, for example dask_kubernetes.operator.KubeCluster."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Client
from pydantic import Field, PositiveInt, field_validator, model_validator

from patchlake.cluster.errors import ClusterError
from patchlake.cluster.kinds.remote import Waiting
from patchlake.cluster.spec import ClusterSpec, Elastic


class ClassSpec(Waiting, ClusterSpec):
    """Any Dask cluster class, by its dotted path."""

    workers: PositiveInt | Elastic = Field(default=1, description="Workers; or {min, max}: as there is work")
    options: dict[str, Any] = Field(default={}, description="Keywords of the class")
    wait: str = Field(default="10 m", description="How long its workers may take to join")

    @field_validator("kind")
    @classmethod
    def _dotted(cls, kind: str) -> str:
        if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", kind):
            raise ValueError(f"kind is {kind!r}: expected a kind's name, or a class's path such as package.Class")
        return kind

    @model_validator(mode="after")
    def _tls_is_an_option_of_the_class(self) -> ClassSpec:
        if self.tls:
            raise ValueError("tls: set it in options, by the class's own keyword")
        return self

    def size(self) -> tuple[int, int]:
        """Return the least and the most workers."""
        return (self.workers, self.workers) if isinstance(self.workers, int) else (self.workers.min, self.workers.max)

    @contextmanager
    def open(self, name: str) -> Iterator[Client]:
        """Make the cluster with its options, give it its size, and close it at the context's end."""
        minimum, maximum = self.size()
        with class_of(self.kind)(**self.options) as cluster:
            cluster.adapt(minimum=minimum, maximum=maximum)
            with Client(cluster, set_as_default=False) as client:
                yield client


def class_of(path: str) -> Any:
    """Import a class by its dotted path."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        extra = ": pip install 'patchlake[kubernetes]'" if path.startswith("dask_kubernetes.") else ""
        raise ClusterError(f"cluster.kind: there is no {path} here ({error}); install its package{extra}.") from error
