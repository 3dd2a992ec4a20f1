"""A kind of cluster: two processes."""

from typing import Literal

from patchlake.cluster.kinds.local import LocalSpec


class TwoWorkers(LocalSpec):
    kind: Literal["two"] = "two"
    workers: Literal[2] = 2
