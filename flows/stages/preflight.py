"""Before the first work of a run: does the cluster have what the recipe needs?"""

from __future__ import annotations

import sys

from patchlake.cluster.errors import ClusterError
from patchlake.cluster.spec import GPU
from patchlake.flows.session import Session
from patchlake.tasks.unit import preflight


def check_cluster(session: Session, sample: str | None) -> None:
    """Refuse, with a sentence, a cluster that can't do the recipe; checked once a run, and only if there is work.

    `sample` is the uri of a source, to be read from each worker. Starts the cluster.
    """
    if session.is_checked:
        return
    dataset, cluster = session.dataset, session.cluster
    if not cluster.started and cluster.spec.kind != "local":
        print(f"cluster: waiting for workers ({cluster.spec.kind})", file=sys.stderr, flush=True)
    with session.stage("cluster"):
        cluster.require(GPU if any(p.needs_gpu for p in dataset.products.values()) else None)
        marker = preflight.write_marker(dataset.lake, sample)
        try:
            checks = cluster.each_worker(preflight.check_worker, marker, skip_lost=True)
        finally:
            preflight.remove_marker(marker)
        if found := preflight.problems(dataset.recipe, marker, cluster.info(), checks):
            raise ClusterError("The cluster can't do this recipe:\n  " + "\n  ".join(found))
        session.note_checked()
