"""The corpus as it is now: what is new or changed is probed on the cluster."""

from __future__ import annotations

from collections.abc import Sequence

from patchlake.flows.session import Session
from patchlake.flows.stages.lost_workers import raise_unless_lost
from patchlake.flows.stages.preflight import check_cluster
from patchlake.flows.telemetry.events import counted
from patchlake.tasks.plan.given import found_boxes, read_given
from patchlake.tasks.plan.survey import Survey, survey, to_probe
from patchlake.tasks.types import Source
from patchlake.tasks.video.probe import Probed, probe_source


def survey_sources(session: Session, sources: Sequence[Source], earlier: Survey | None = None) -> Survey:
    """Hash and probe what is new or changed; what the lake or an earlier survey of this run knows is kept."""
    dataset = session.dataset
    probed = dict(earlier.probed) if earlier is not None else {}
    with session.stage("probe"):
        given = read_given(dataset.recipe, sources, found_boxes(dataset))
        wanted = to_probe(dataset, sources, given, probed)
    while wanted:
        session.begin_work()
        check_cluster(session, wanted[0].uri)
        with session.stage("probe"):
            probed |= _probe(session, wanted)
            wanted = to_probe(dataset, sources, given, probed)
    with session.stage("probe"):
        session.figures.probed = len(probed)
        found = survey(dataset, sources, probed, given)
        session.figures.unmatched, session.figures.left_out = found.unmatched, found.left_out
        return found


def _probe(session: Session, sources: Sequence[Source]) -> dict[str, Probed]:
    """Return uri -> what probing says; a source that kills its workers is lost for this run."""
    found: dict[str, Probed] = {}
    outcomes = session.cluster.run(probe_source, sources)
    for outcome in counted(session.tell, "probe", outcomes, total=len(sources)):
        raise_unless_lost(outcome)
        found[outcome.item.uri] = outcome.result or Probed.lost(outcome.item, str(outcome.error))
    return found
