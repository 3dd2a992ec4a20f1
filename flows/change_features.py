"""`patchlake features RECIPE --add NAME --drop NAME`: add and drop products without reading the videos."""

from __future__ import annotations

from typing import Any

from prefect import flow

from patchlake.flows.added_features import refuse_sound, with_features
from patchlake.flows.control.records import new_id
from patchlake.flows.load import load_recipe
from patchlake.flows.session import Session, SessionOptions, open_session
from patchlake.flows.stages.close import close_run
from patchlake.flows.stages.regions import describe_regions
from patchlake.flows.stages.units import run_units
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.plan.planner import plan_from_pixels
from patchlake.tasks.unit.drop import drop_feature, drop_product
from patchlake.tasks.unit.record import make_room


@flow(name="patchlake features", flow_run_name="{recipe}", validate_parameters=False)
def change_features(
    recipe: str,
    overrides: tuple[str, ...] = (),
    add: tuple[str, ...] = (),
    drop: tuple[str, ...] = (),
    run_id: str | None = None,
    wait_seconds: float = 0.0,
    performance_report: str | None = None,
) -> dict[str, Any]:
    """Compute features from stored pixels, and drop others; return the run's figures.

    `add` are names of the recipe's features, or entries as a recipe spells them; `drop` are names. `run_id` (by default
    a new one), `wait_seconds` and `performance_report` are those of `SessionOptions`.
    """
    wanted, names = with_features(load_recipe(recipe, overrides), recipe, add)
    refuse_sound(wanted, names)
    options = SessionOptions(
        run_id=run_id or new_id(), wait_seconds=wait_seconds, performance_report=performance_report
    )
    with open_session(wanted, options) as session:
        for name in drop:
            drop_feature(session.dataset, name)
        if names:
            _add(session, names)
        session.figures.clips = session.dataset.tables.clips.read(["clip_id"]).num_rows
        return close_run(session)


def _add(session: Session, names: list[str]) -> None:
    """Compute the missing rows of the named products from stored pixels."""
    if not session.dataset.recipe.frames.keep:
        raise RecipeError("frames.keep: got false, expected true: features are added from stored pixels")
    dataset = session.dataset.narrowed(names)
    session.use(dataset)
    for name in names:
        if name in dataset.ledger.stale:
            drop_product(dataset, name)
    survey, plan = plan_from_pixels(dataset, session.workers)
    if not plan.placements:
        raise RecipeError(f"--add: {dataset.lake} holds no pixels yet; `patchlake run` stores them")
    make_room(dataset, plan)
    run_units(session, survey, plan)
    describe_regions(session, plan.placements)
