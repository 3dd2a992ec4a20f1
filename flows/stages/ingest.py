"""From sources to committed rows: survey, plan, units, verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from patchlake.flows.session import Session
from patchlake.flows.stages.deferred import products_apart
from patchlake.flows.stages.poison_units import expect_lost_worker
from patchlake.flows.stages.preflight import check_cluster
from patchlake.flows.stages.units import run_units
from patchlake.flows.telemetry.progress import Progress
from patchlake.tasks import failpoints, tracks
from patchlake.tasks.clips import cut as cutting
from patchlake.tasks.clips.cut import Scores, Shots
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.features.regions import linking
from patchlake.tasks.lake import create, schema
from patchlake.tasks.plan import survey as planning
from patchlake.tasks.plan.survey import Survey
from patchlake.tasks.plan.units import Plan
from patchlake.tasks.types import PIXELS, BoxPath, Clip, Placement, Source, Track
from patchlake.tasks.unit import found_clips
from patchlake.tasks.unit.commit import clip_rows
from patchlake.tasks.video.probe import Probed, probe_source


def forget_failed(session: Session, *, retry_failed: bool) -> None:
    """Let what timed out, ran out of memory or crashed be planned anew: if a feature changed since, or if asked for."""
    if retry_failed or session.ledger.stale:
        session.ledger.forget_failed(session.tables)


def survey_sources(session: Session, sources: Sequence[Source]) -> Survey:
    """Hash and probe what is new or changed, on the cluster; what the lake knows is not read again."""
    with session.stage("probe"):
        given = planning.read_given(session.recipe, sources, found_boxes(session))
        probed = session.probed
        wanted = planning.to_probe(sources, session.ledger, session.recipe, given)
        wanted = [source for source in wanted if source.uri not in probed]
    if wanted:
        check_cluster(session, wanted[0].uri)
    with session.stage("probe"):
        if wanted:
            for outcome in Progress("probe", total=len(wanted)).over(session.cluster.run(probe_source, wanted)):
                if outcome.result is None:
                    expect_lost_worker(outcome)
                probed[outcome.item.uri] = outcome.result or Probed.lost(outcome.item, str(outcome.error))
        session.figures["probed"] = len(probed)
        return planning.survey(sources, probed, session.ledger, session.recipe, given)


def found_boxes(session: Session) -> dict[str, list[BoxPath]]:
    """Return video_id -> boxes of the regions that the lake tells of, where the recipe's tracks are such."""
    tracks = session.recipe.tracks
    if tracks == "frame" or not tracks.are_found:
        return {}
    wanted = session.products[tracks.product].digest
    by_video: dict[str, list[dict[str, Any]]] = {}
    for row in session.tables.regions.rows():
        if row["product_digest"] == wanted:
            by_video.setdefault(row["video_id"], []).append(row)
    videos = session.ledger.videos
    return {key: linking.paths_of(found, videos[key], tracks) for key, found in by_video.items() if key in videos}


def run_plan(session: Session, survey: Survey) -> Plan:
    """Plan and run the units; frames that the packets had not promised get a second pass."""
    plan = plan_units(session, survey)
    known = len(session.ledger.surplus)
    run_units(session, survey, plan)
    if len(session.ledger.surplus) == known:
        return plan
    session.reread()
    again = plan_units(session, survey)
    run_units(session, survey, again)
    return again.after(plan)


def plan_units(session: Session, survey: Survey) -> Plan:
    """Decide what goes where, and write the decision down before any work."""
    with session.stage("plan"):
        _drop_stale(session)
        plan, numbers = planning.make_plan(
            survey,
            session.ledger,
            session.recipe,
            session.products,
            num_workers=session.cluster.size,
            apart=products_apart(session.recipe, session.products.values(), session.extractors, session.cluster),
        )
        _record(session, survey, plan, numbers)
        failpoints.reach("planned")
        return plan


def _drop_stale(session: Session) -> None:
    """Drop products whose options, model or code changed: they are computed anew, from stored pixels."""
    if PIXELS in session.ledger.stale:
        raise RecipeError(
            f"frames: {session.lake} holds pixels that this version would decode otherwise; "
            "give the recipe another `name:` to store them anew"
        )
    for name in sorted(session.ledger.stale):
        drop_product(session, name)


def drop_product(session: Session, name: str) -> None:
    """Remove a product: first its receipts, then its arrays."""
    kept = [row for row in session.tables.receipts.rows() if row["product"] != name]
    session.tables.receipts.overwrite(kept)
    session.ledger.done.pop(name, None)
    session.tables.regions.overwrite(row for row in session.tables.regions.rows() if row["product"] != name)
    create.drop_product(session.lake, name)


def _record(session: Session, survey: Survey, plan: Plan, numbers: dict[str, int]) -> None:
    """Write what planning decided: sources as they stand, new videos, tracks and spans; then make room."""
    tables, ledger = session.tables, session.ledger
    r = plan.layout.slot_frames
    _write_sources(session, survey, plan)
    new_videos = [video for key, video in survey.videos.items() if key not in ledger.videos]
    tables.videos.append(schema.video_row(video) for video in sorted(new_videos, key=lambda v: v.video_id))
    new_tracks = [(number, survey.wanted[key].track) for key, number in sorted(numbers.items(), key=lambda n: n[1])]
    tables.tracks.append(schema.track_row(number, t, _to_source(session, survey, t)) for number, t in new_tracks)
    tables.track_boxes.append(row for number, track in new_tracks for row in schema.box_rows(number, track))
    tables.spans.append(schema.placement_row(placement) for placement in plan.new)
    ledger.placements |= {placement.span.span_key: placement for placement in plan.new}
    tables.failures.overwrite(  # after the spans: until a new place is known, the old verdict stands
        f
        for f in tables.failures.rows()
        if f["span_key"] in ledger.written.get(f["row_start"] // r, ()) and ledger.is_about(f)
    )
    make_room(session, plan)


def make_room(session: Session, plan: Plan) -> None:
    """Make the arrays that are wanted, as long as the plan needs them."""
    create.ensure_arrays(session.lake, session.products.values(), with_pts=session.recipe.frames.rate is not None)
    num_slots = max(plan.num_slots, session.ledger.first_free_slot)
    create.grow(session.lake, num_slots, slot_frames=plan.layout.slot_frames)


def _to_source(session: Session, survey: Survey, track: Track) -> tracks.Affine | None:
    """Return the way from frame-grid to source pixels, where the box stays."""
    if track.boxes is not None and track.boxes.seconds:
        return None
    source, grid = survey.frame_sources[track.video_id], session.recipe.frames.grid
    return tracks.to_source(tracks.geometry_at(track.boxes, 0.0, source, size=grid.size, fit=grid.fit))


def settle(session: Session, survey: Survey, plan: Plan) -> None:
    """Give every source its verdict and make `clips` what the recipe says: labels and ranges are table edits."""
    with session.stage("settle"):
        tables, ledger = session.tables, session.ledger
        done = [p for p in plan.placements if ledger.complete(p, session.products, plan.layout)]
        clips = planning.clips_by_span(survey, plan)
        _find_clips(session, survey, done, clips)
        known = {(row["clip_id"], row["span_key"], row["track"]): row for row in tables.clips.rows()}
        kept, missing = [], []
        for placement in done:
            span = placement.span
            inside = clips[span.span_key]
            found = [known.get((c.clip_id, span.span_key, placement.track)) for c in inside]
            if all(row and placement.row_start <= row["row_start"] <= placement.row_stop for row in found):
                pairs = zip(found, inside, strict=True)
                kept += [{**row, "label": c.label, "targets": list(c.targets)} for row, c in pairs if row]
            else:
                missing.append(placement)
        kept += clip_rows(session.lake, missing, clips)
        tables.clips.overwrite(sorted(kept, key=lambda row: (row["track"], row["start_seconds"], row["stop_seconds"])))
        _write_sources(session, survey, plan)
        session.figures["clips"] = len(kept)
        for table in tables:
            table.tend()


def _find_clips(session: Session, survey: Survey, done: Sequence[Placement], clips: dict[str, list[Clip]]) -> None:
    """Add the clips that stored scores tell of, by the recipe's `shots` and `scores`."""
    for method in session.recipe.clips:
        if isinstance(method, Shots | Scores):
            product = session.products[method.product]
            for placement in done:
                wanted = survey.wanted[placement.span.track_id]
                found = found_clips.find(session.lake, product, placement, method, wanted.searched)
                known = {clip.clip_id for clip in clips[placement.span.span_key]}
                new = [cutting.clip_of(wanted.track, part.start, part.stop, part) for part in found]
                clips[placement.span.span_key] += [clip for clip in new if clip.clip_id not in known]


def _write_sources(session: Session, survey: Survey, plan: Plan) -> None:
    failures = session.tables.failures.rows()
    judged = planning.verdicts(survey, plan, session.ledger, session.products, failures, lost=session.lost)
    session.tables.sources.overwrite(schema.source_row(source, video_id) for source, video_id in judged)
    session.tables.annotations.overwrite(row for pair in judged for row in schema.annotation_rows(*pair))
    session.figures["sources"] = Counter(source.status for source, _ in judged)
