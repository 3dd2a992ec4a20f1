"""A unit whose workers died again and again: which of its pieces does that?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from patchlake.cluster.connect import Cluster
from patchlake.cluster.spec import Resources
from patchlake.flows.stages.lost_workers import raise_unless_lost
from patchlake.tasks.types import PoisonPiece, Unit
from patchlake.tasks.unit import poison_units
from patchlake.tasks.unit.extract import try_unit
from patchlake.tasks.unit.worker_state import Job


def find_poison(cluster: Cluster, job: Job, unit: Unit, needs: Resources | None) -> list[PoisonPiece]:
    """Compute each piece with the cluster to itself, storing nothing; return those that end their workers."""
    uris = {source.video_id: source.uri for source in unit.sources}
    found = []
    kills = cluster.memory_kills
    pieces = poison_units.pieces_of(unit)
    for outcome in cluster.run(partial(try_unit, job), pieces, resources=needs, key=_try_id, alone=True):
        raise_unless_lost(outcome)
        if outcome.error is not None:
            ((piece,),) = outcome.item.pieces
            what = f"rows [{piece.start}, {piece.stop}) of {uris[piece.video_id]}"
            for_memory = cluster.memory_kills > kills
            how = "took more memory than it may" if for_memory else "died"
            found.append(
                PoisonPiece(
                    span_key=piece.span_key,
                    row_start=piece.row_start,
                    reason="memory" if for_memory else "crash",
                    message=f"every worker {how} that computed {what}, with nothing else at work: left out",
                )
            )
        kills = cluster.memory_kills
    return found


def without(unit: Unit, poison: Sequence[PoisonPiece]) -> Unit:
    """Return the unit with these pieces left out, as padding."""
    return replace(unit, poison_pieces=tuple(poison))


def _try_id(unit: Unit) -> str:
    return f"try-{unit.unit_id}"
