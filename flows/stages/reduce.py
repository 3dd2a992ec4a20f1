"""Reductions over committed features, on the same workers."""

from __future__ import annotations

from functools import partial
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from patchlake.flows.session import Session
from patchlake.tasks import failpoints
from patchlake.tasks.keys import digest
from patchlake.tasks.reductions import moments, store
from patchlake.tasks.reductions.options import PcaSpec
from patchlake.tasks.reductions.pca import pca

NODES_PER_WORKER = 4


def run_reductions(session: Session) -> None:
    """Bring every reduction of the recipe up to date; one made from the same rows is not made again."""
    with session.stage("reduce"):
        for spec in session.recipe.reduce:
            slots = sorted(session.ledger.done.get(spec.feature, ()))
            key = digest("reduction", spec.model_dump(mode="json"), committed(session, spec.feature))
            if slots and store.read(session.lake, spec.name, key=key) is None:
                reduce_one = task(name=f"reduce {spec.name}", cache_policy=NO_CACHE)(
                    lambda s=spec, k=key: _pca(session, s, k)
                )
                session.figures[spec.name] = reduce_one()


def committed(session: Session, product: str) -> list[Any]:
    """Return what identifies the committed rows of a product: spans and checksums, in row order."""
    columns = ["product", "span_keys", "row_starts", "checksums"]
    rows = [row for row in session.tables.receipts.rows(columns) if row["product"] == product]
    return sorted(
        [first, span_key, checksum]
        for row in rows
        for first, span_key, checksum in zip(row["row_starts"], row["span_keys"], row["checksums"], strict=True)
    )


def _pca(session: Session, spec: PcaSpec, key: str) -> dict[str, Any]:
    product = session.products[spec.feature]
    slots = sorted(session.ledger.done[spec.feature])
    level = _level(len(slots), session.cluster.size * NODES_PER_WORKER)
    nodes: dict[int, list[int]] = {}
    for slot in slots:
        nodes.setdefault(slot >> level, []).append(slot)
    work = partial(moments.node_moments, session.lake, spec.feature, product.rows_per_slot)
    parts = {}
    for outcome in session.cluster.run(work, [tuple(group) for group in nodes.values()]):
        if outcome.error is not None:
            raise outcome.error
        parts[outcome.item[0] >> level] = outcome.result
    total = moments.merge(parts.items())
    if total is None:
        return {"cells": 0}
    result = pca(total, channels=product.channels, components=spec.components)
    failpoints.reach("reduced")
    store.write(session.lake, spec.name, result, key=key)
    return {"cells": total.count, "rank": result.attrs["rank"], "components": result.sizes["component"]}


def _level(num_slots: int, num_nodes: int) -> int:
    """Return the tree level whose nodes (2^level slots) are about as many as wanted."""
    level = 0
    while num_slots >> level > num_nodes:
        level += 1
    return level
