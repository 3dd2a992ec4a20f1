"""A whole job as a value, and the checks between its sections."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from patchlake.tasks import features as extractors
from patchlake.tasks import objectives, reductions
from patchlake.tasks.clips import Method
from patchlake.tasks.clips.windows import Windows
from patchlake.tasks.corpus.options import Corpus
from patchlake.tasks.grid import Layout
from patchlake.tasks.recipe.sections import FOUND, Boxes, Frames, Limits, Patches, Positive, Units
from patchlake.tasks.strict import LocalPath, Name, Strict
from patchlake.tasks.types import PIXELS

_RESERVED = (PIXELS, "zarr.json")
"""Names in the lake's array store that no feature may have."""


class Recipe(Strict):
    """A whole job."""

    name: Name
    lake: LocalPath
    corpus: Corpus
    tracks: Literal["frame"] | Boxes = "frame"
    clips: tuple[Method, ...] = (Windows(seconds=2.0),)
    frames: Frames = Frames()
    patches: Patches = Patches()
    features: tuple[extractors.Entry, ...] = ()
    limits: Limits = Limits()
    units: Units = Units()
    grid_align: Positive | None = None
    """Every span starts on a multiple of it; by default the least common multiple of the time strides and 8."""
    cluster: dict[str, Any] = Field(default_factory=lambda: {"kind": "local"})
    reduce: tuple[reductions.Entry, ...] = ()
    train: objectives.Section = None
    schedule: str | None = None

    @field_validator("cluster", mode="before")
    @classmethod
    def _cluster_by_kind(cls, value: object) -> object:
        return {"kind": value} if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _shots_need_scores(cls, data: object) -> object:
        """Shots are cut from the `shot_score` feature, so add it: the ordinary decode also computes it."""
        if not isinstance(data, dict) or not isinstance(data.get("clips"), list | tuple):
            return data
        cuts = [{"method": cut} if isinstance(cut, str) else cut for cut in data["clips"]]
        shots = [c for c in cuts if isinstance(c, dict) and c.get("method") == "shots" and "product" not in c]
        return _with_default(data, "shot_score") if shots else data

    @model_validator(mode="before")
    @classmethod
    def _found_boxes_need_regions(cls, data: object) -> object:
        """Boxes of regions need the `regions` feature, so add it."""
        tracks = data.get("tracks") if isinstance(data, dict) else None
        if not isinstance(data, dict) or not isinstance(tracks, dict) or tracks.get("boxes") != FOUND:
            return data
        return data if "product" in tracks else _with_default(data, "regions")

    @property
    def layout(self) -> Layout:
        """The constants of the row model."""
        strides = (entry.time_stride for entry in self.features if entry.time_stride)
        align = self.grid_align or math.lcm(8, self.patches.grid.stride[0], *strides)
        return Layout(slot_frames=self.units.slot_frames, align=align)

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        for check in (_clips_are_given, _patches_fit_frames, _strides_fit_slots, _names_differ, _clips_have_scores,
                      _boxes_have_regions, _reductions_have_products, _something_is_stored):  # fmt: skip
            check(self)
        return self


def _clips_are_given(recipe: Recipe) -> None:
    if not recipe.clips:
        raise ValueError("clips: got none, expected at least one entry, e.g. {seconds: 2.0}; or leave the key out")


def _patches_fit_frames(recipe: Recipe) -> None:
    for axis, what in ((1, "height"), (2, "width")):
        patch, frame = recipe.patches.size[axis], recipe.frames.size[axis - 1]
        if patch > frame:
            raise ValueError(
                f"patches.size[{axis}]: got {patch}, expected at most {frame}, the {what} of frames.size; "
                "make the patch smaller or the frames larger"
            )


def _strides_fit_slots(recipe: Recipe) -> None:
    strides = {"patches.stride[0]": recipe.patches.grid.stride[0]}
    strides |= {f"features.{e.name}.{e.stride_key}": e.time_stride for e in recipe.features if e.time_stride}
    align, r = recipe.layout.align, recipe.units.slot_frames
    for key, stride in strides.items():
        if align % stride:
            raise ValueError(
                f"{key}: got {stride}, expected a divisor of grid_align = {align}; "
                "leave grid_align out or make it a common multiple"
            )
    if r % align:
        worst = max(strides, key=lambda key: (r % strides[key] > 0, strides[key]))
        raise ValueError(
            f"{worst}: got {strides[worst]}, expected a time stride that divides units.slot_frames = {r} "
            f"(all strides and 8 have the common multiple {align}); use a divisor of {r}, "
            f"or set units.slot_frames to a multiple of {align}"
        )
    if recipe.patches.size[0] > r:
        raise ValueError(f"patches.size[0]: got {recipe.patches.size[0]}, expected at most units.slot_frames = {r}")


def _names_differ(recipe: Recipe) -> None:
    """Products are folders of one array store, which may be on a case-insensitive file system."""
    taken = {name: name for name in _RESERVED}
    for name in (entry.name for entry in recipe.features):
        other = taken.setdefault(name.lower(), name)
        if other != name:
            raise ValueError(
                f"features: the name {name!r} is taken: it is {other!r} where upper and lower case are the same; "
                "give the entry another `name:`"
            )
        if other in _RESERVED or [entry.name for entry in recipe.features].count(name) > 1:
            raise ValueError(f"features: the name {name!r} is taken; give the entry another `name:`")


def _clips_have_scores(recipe: Recipe) -> None:
    kinds = {entry.name: entry.kind for entry in recipe.features}
    for i, method in enumerate(recipe.clips):
        wanted, product = method.searched_kind, method.searches
        if product is not None and wanted is not None and kinds.get(product) != wanted:
            raise ValueError(f"clips[{i}].product: got {product!r}, expected the name of a {wanted} feature")
        if product is not None and wanted is None:
            _check_measured(recipe, f"clips[{i}].product", product)


def _boxes_have_regions(recipe: Recipe) -> None:
    boxes = recipe.tracks
    kinds = {entry.name: entry.kind for entry in recipe.features}
    if boxes != "frame" and boxes.are_found and kinds.get(boxes.product) != "regions":
        raise ValueError(f"tracks.product: got {boxes.product!r}, expected the name of a regions feature")


def _reductions_have_products(recipe: Recipe) -> None:
    for i, reduction in enumerate(recipe.reduce):
        _check_measured(recipe, f"reduce[{i}].product", reduction.product)
        if reduction.name in [other.name for other in recipe.reduce[:i]]:
            raise ValueError(f"reduce[{i}]: got a second {reduction.name}, expected one; remove the other")


def _something_is_stored(recipe: Recipe) -> None:
    if not recipe.frames.keep and not recipe.features:
        raise ValueError("frames.keep: got false with no features, so nothing would be stored; add a feature")
    if recipe.train and not recipe.frames.keep:
        raise ValueError("frames.keep: got false, expected true where `train` is given: it trains on stored frames")


def _check_measured(recipe: Recipe, key: str, product: str) -> None:
    """Refuse a name that is not a feature's, or that of a labels feature: labels have no order."""
    measured = [entry.name for entry in recipe.features if not entry.labels]
    if product not in measured:
        raise ValueError(f"{key}: got {product!r}, expected one of: {', '.join(measured) or 'none'}")


def _with_default(data: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return a recipe with a feature of this kind added, unless a feature has this name."""
    features = data.get("features") or []
    named = [f.get("name") or f.get("kind") if isinstance(f, dict) else f for f in features]
    return data if kind in named else {**data, "features": [*features, kind]}
