"""`patchlake features RECIPE --add NAME --drop NAME`: products come and go without touching the videos."""

from __future__ import annotations

from typing import Any

from prefect import flow

from patchlake.flows.load import load_recipe
from patchlake.flows.session import Session, open_session
from patchlake.flows.stages.close import close_run
from patchlake.flows.stages.regions import describe_regions
from patchlake.flows.stages.units import run_units
from patchlake.tasks import features
from patchlake.tasks import recipe as recipes
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.features.extractor import SOUND
from patchlake.tasks.plan.planner import plan_from_pixels
from patchlake.tasks.recipe import Recipe
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

    `add` are names of the recipe's features, or entries as a recipe spells them; `drop` are names. `run_id`,
    `wait_seconds` and `performance_report` are those of `open_session`.
    """
    wanted, names = with_features(load_recipe(recipe, overrides), recipe, add)
    refuse_sound(wanted, names)
    with open_session(wanted, run_id, wait_seconds, performance_report) as session:
        for name in drop:
            drop_feature(session.dataset, name)
        if names:
            _add(session, names)
        session.figures.clips = session.dataset.tables.clips.read(["clip_id"]).num_rows
        return close_run(session)


def with_features(recipe: Recipe, path: str, add: tuple[str, ...]) -> tuple[Recipe, list[str]]:
    """Return the recipe with the features to add in it, and their names."""
    known, names = {entry.name for entry in recipe.features}, []
    for text in add:
        if text in known:
            names.append(text)
            continue
        more = recipes.with_feature(recipe, text, path)
        names.append(more.features[-1].name)
        recipe = more
    return recipe, names


def refuse_sound(recipe: Recipe, names: list[str]) -> None:
    """Refuse features to add that are not made of pixels."""
    for entry in recipe.features:
        if entry.name not in names:
            continue
        one = features.build(entry, patches=recipe.patches.grid, frame_size=recipe.frames.size)
        if one.reads == SOUND:
            raise RecipeError(
                f"--add {entry.name}: sound is not in stored pixels; name it in the recipe's features, and "
                "`patchlake run` computes it from the videos"
            )


def _add(session: Session, names: list[str]) -> None:
    """Compute what the named products lack, from the pixels that are there."""
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
