"""From a recipe's `cluster:` to the spec of its kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from patchlake.cluster.kinds.remote import QUEUES, QueueSpec, SshSpec
from patchlake.cluster.spec import AddressSpec, ClassSpec, ClusterSpec, LocalSpec

KINDS: dict[str, type[ClusterSpec]] = {
    "local": LocalSpec, "ssh": SshSpec, "address": AddressSpec, **dict.fromkeys(QUEUES, QueueSpec),
}  # fmt: skip


def model_of(kind: object) -> type[ClusterSpec]:
    """Return the model of a kind; what is no known kind has to be a class's path."""
    return KINDS.get(str(kind), ClassSpec)


def parse(data: Mapping[str, Any]) -> ClusterSpec:
    """Return the spec of a recipe's `cluster`; raises pydantic's ValidationError."""
    kind = data.get("kind", "local")
    return model_of(kind).model_validate({**data, "kind": kind})
