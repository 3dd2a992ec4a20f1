"""What workers offer, what items ask for, and the sentence where the two do not meet."""

from __future__ import annotations

from typing import Any

from patchlake.cluster.errors import ClusterError
from patchlake.cluster.spec import MEMORY, ClusterSpec, Resources


def refuse(spec: ClusterSpec, resources: Resources | None) -> None:
    """Raise ClusterError where the spec shows that no worker will offer the resources; nothing is started."""
    if "GPU" in (resources or {}) and spec.num_gpus() == 0:
        raise ClusterError(
            f"No worker offers {resources}: the {spec.kind} cluster has no GPU. Set cluster.gpus, or run "
            "where there are some."
        )


def missing(workers: dict[str, dict[str, Any]], resources: Resources) -> str:
    """Return the sentence that says what no worker offers."""
    others = {name: amount for name, amount in resources.items() if name != MEMORY}
    if MEMORY in resources and (fitting := offering(workers, others)):
        most = max(workers[address]["resources"].get(MEMORY, 0) for address in fitting)
        return (
            f"A unit takes at least {resources[MEMORY] / 2**20:,.0f} MiB, and a worker that could do it may use "
            f"at most {most / 2**20:,.0f} MiB: give workers more memory, or make units.slot_frames smaller."
        )
    offered = sorted({name for worker in workers.values() for name in worker["resources"]})
    return (
        f"No worker offers {others or 'a thread'}: {len(workers)} workers offer "
        f"{', '.join(offered) or 'no resources'}. Expected at least one that does: for GPUs set "
        "cluster.gpus, or start workers with --resources GPU=1."
    )


def offering(workers: dict[str, dict[str, Any]], resources: Resources | None) -> list[str]:
    """List those of the workers that offer the resources."""
    wanted = (resources or {}).items()
    return [
        address
        for address, worker in workers.items()
        if all(worker["resources"].get(name, 0) >= amount for name, amount in wanted)
    ]
