"""Regions of stored labels: a table of them, linked over time; and the tracks that follow them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from patchlake.flows.session import Session
from patchlake.flows.stages import ingest
from patchlake.tasks.features.regions import linking, rows
from patchlake.tasks.features.regions.options import RegionsSpec
from patchlake.tasks.lake import schema
from patchlake.tasks.plan.survey import Survey
from patchlake.tasks.plan.units import Plan
from patchlake.tasks.types import Placement, Source


def follow(session: Session, sources: Sequence[Source], survey: Survey, plan: Plan) -> tuple[Survey, Plan]:
    """Bring the table `regions` up to date; where it tells of other tracks than before, plan and run them as well."""
    tracks = session.recipe.tracks
    session.reread()
    if not describe(session, plan.placements) or tracks == "frame" or not tracks.are_found:
        return survey, plan
    survey = ingest.survey_sources(session, sources)
    again = ingest.run_plan(session, survey)
    return survey, again.after(plan)


def describe(session: Session, placements: Iterable[Placement]) -> bool:
    """Make `regions` tell of every region of these spans, as far as they are committed; return whether it changed.

    Spans that it tells of are not read again. Where boxes are found they are found in whole frames alone.
    """
    entries = [entry for entry in session.recipe.features if isinstance(entry, RegionsSpec)]
    if not entries:
        return False
    with session.stage("regions"):
        paths = schema.paths_of(session.tables.tracks.rows(), session.tables.track_boxes.rows())
        tracks = session.recipe.tracks
        if tracks != "frame" and tracks.are_found:
            placements = [p for p in placements if paths[p.track] is None]
        known = session.tables.regions.rows()
        wanted = {entry.name: session.products[entry.name] for entry in entries if entry.name in session.products}
        found = [row for row in known if row["product"] not in wanted]
        for entry in entries:
            if (product := wanted.get(entry.name)) is None:
                continue
            ledger, layout = session.ledger, session.recipe.layout
            done = {p.span.span_key: p for p in placements if ledger.complete(p, (product.name,), layout)}
            mine = [row for row in known if row["product_digest"] == product.digest and row["span_key"] in done]
            told = {row["span_key"] for row in mine}
            parts = [
                part
                for key, p in done.items()
                if key not in told
                for part in rows.parts_of(
                    p, ledger.videos[p.span.video_id], paths[p.track], slot_frames=layout.slot_frames
                )
            ]
            mine += _described(session, entry, parts)
            found += linking.linked(mine, window=entry.window, overlap=entry.overlap)
        session.figures["regions"] = len(found)
        return session.tables.regions.overwrite(found)


def _described(session: Session, entry: RegionsSpec, parts: Sequence[rows.Part]) -> list[dict[str, Any]]:
    """Return the rows of parts, from workers that read labels and frames."""
    if not parts:
        return []
    job = rows.Job(
        lake=session.lake,
        product=session.products[entry.name],
        entry=entry,
        frames=session.recipe.frames.grid,
        patches=session.recipe.patches.grid,
    )
    found: list[dict[str, Any]] = []
    for outcome in session.cluster.run(partial(rows.describe, job), parts):
        if outcome.result is None:
            raise outcome.error or RuntimeError("a task without a result and without an error")
        found += outcome.result
    return found
