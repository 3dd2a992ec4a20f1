"""The page: what it holds, in reading order, and how it becomes one HTML file."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import jinja2

from patchlake.tasks import canvas, objectives
from patchlake.tasks.canvas import Picture
from patchlake.tasks.features.regions.options import RegionsSpec
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.recipe import Recipe
from patchlake.tasks.report import facts
from patchlake.tasks.report.charts import time_chart
from patchlake.tasks.report.facts import Run
from patchlake.tasks.report.filtered import filter_pictures
from patchlake.tasks.report.maps import PANELS, feature_map
from patchlake.tasks.report.outlines import region_strips
from patchlake.tasks.report.reduced import reduction_pictures
from patchlake.tasks.report.sample import ClipView, open_feature, open_frames, pick_clips
from patchlake.tasks.report.sounds import sound_picture
from patchlake.tasks.report.strips import film_strips
from patchlake.tasks.storage.location import Location


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A heading, a sentence where there is something to say, pictures."""

    title: str
    pictures: list[Picture]
    sentence: str = ""


def render(lake: Location, tables: Tables, recipe: Recipe, run: Run, *, key: str) -> str:
    """Return the report of a run on a lake as one HTML page that asks for nothing from outside.

    Reads a few rows of the arrays, chosen by a fixed seed; `key` stays in the page and tells what made it.
    """
    rows, count = facts.bad_sources(tables)
    with canvas.style():
        time = time_chart(run.figures.get("ingest") or {})
        sections = _sections(lake, tables, recipe, run)
    source = (resources.files(__package__) / "page.html").read_text(encoding="utf-8")
    strict = jinja2.StrictUndefined
    environment = jinja2.Environment(autoescape=True, undefined=strict, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source).render(
        key=key, name=recipe.name, lake=lake.url, run=run, figures=facts.figure_rows(run, recipe),
        time=time, bad_sources=rows, bad_count=count, sections=sections, opening=facts.opening(lake),
    )  # fmt: skip


def _sections(lake: Location, tables: Tables, recipe: Recipe, run: Run) -> list[Section]:
    grid = recipe.patches.grid
    clips = pick_clips(tables, PANELS, min_rows=grid.size[0] + 3 * grid.stride[0])
    return [
        *([_filters(tables, recipe, clips)] if recipe.frames.filters else []),
        _patches(lake, recipe, clips),
        _features(lake, tables, recipe, clips),
        *_reductions(lake, tables, recipe),
        _training(run, recipe),
    ]


def _filters(tables: Tables, recipe: Recipe, clips: list[ClipView]) -> Section:
    pictures, missing = filter_pictures(tables, recipe, clips)
    return Section(title="Frame filters", pictures=pictures, sentence=missing)


def _patches(lake: Location, recipe: Recipe, clips: list[ClipView]) -> Section:
    frames = open_frames(lake) if recipe.frames.keep else None
    pictures = film_strips(frames, clips, recipe.patches.grid) if frames is not None else []
    sentence = "" if pictures else "No clip is in the lake."
    if not recipe.frames.keep:
        sentence = "The recipe keeps no frames (frames.keep: false)."
    return Section(title="Patches", pictures=pictures, sentence=sentence)


def _features(lake: Location, tables: Tables, recipe: Recipe, clips: list[ClipView]) -> Section:
    frames = open_frames(lake) if recipe.frames.keep else None
    pictures, missing = list[Picture](), []
    for entry in recipe.features:
        feature = open_feature(lake, entry.name)
        if isinstance(entry, RegionsSpec):
            drawn = [] if feature is None else region_strips(feature, entry, tables, frames, recipe.frames.size)
        elif entry.kind == "audio":
            found = None if feature is None else sound_picture(feature, clips)
            drawn = [] if found is None else [found]
        else:
            found = None if feature is None else feature_map(feature, clips, frames, recipe.frames.size)
            drawn = [] if found is None else [found]
        pictures += drawn
        if not drawn:
            missing.append(entry.name)
    sentence = "" if recipe.features else "The recipe names no features."
    if missing:
        sentence = f"No row of {', '.join(missing)} in these clips: shorter than a patch, or none stored."
    return Section(title="Features", pictures=pictures, sentence=sentence)


def _reductions(lake: Location, tables: Tables, recipe: Recipe) -> list[Section]:
    if not recipe.reduce:
        return [Section(title="Principal components", pictures=[], sentence="The recipe asks for no reduction.")]
    sections = []
    for heading, found in reduction_pictures(lake, tables, recipe).items():
        missing = ", ".join(name for name, picture in found.items() if picture is None)
        sentence = f"Nothing to show of {missing}: no cell is stored, or all cells are equal." if missing else ""
        sections.append(Section(title=heading, pictures=[p for p in found.values() if p], sentence=sentence))
    return sections


def _training(run: Run, recipe: Recipe) -> Section:
    train = run.figures.get("train")
    if train is None or recipe.train is None:
        sentence = "The recipe asks for no training." if recipe.train is None else "Nothing was trained."
        return Section(title="Training", pictures=[], sentence=sentence)
    if "skipped" in train:
        return Section(title="Training", pictures=[], sentence=f"Training was skipped. {train['skipped']}")
    return Section(title="Training", pictures=objectives.build(recipe.train).pictures(train))
