"""Any cluster class of Dask's kind, by its dotted path, as dask_kubernetes.operator.KubeCluster."""

# mypy: untyped-calls-exclude=distributed

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Client

from patchlake.cluster.errors import ClusterError
from patchlake.cluster.spec import ClassSpec


@contextmanager
def open_class(spec: ClassSpec) -> Iterator[Client]:
    """Make the cluster with its options, give it its size, and close it at the context's end."""
    minimum, maximum = spec.size()
    with class_of(spec.kind)(**spec.options) as cluster:
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
