"""The recipe: a YAML file, parsed once into frozen values; whatever is wrong is said by key, before anything runs."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from patchlake.tasks import features as extractors
from patchlake.tasks import filters as frame_filters
from patchlake.tasks import objectives, reductions
from patchlake.tasks.clips.cut import Method, Scores, Shots, Windows
from patchlake.tasks.corpus.options import Corpus
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.grid import Grid, Layout
from patchlake.tasks.strict import LocalPath, Name, Strict, sentences
from patchlake.tasks.types import PIXELS, FrameGrid
from patchlake.tasks.video.limits import Limits as ChildLimits

Positive = Annotated[int, Field(ge=1)]
FOUND = "regions"
"""As `tracks.boxes`: boxes are those of regions."""


class Frames(Strict):
    """The frame grid."""

    size: tuple[Positive, Positive] = (224, 224)
    """height, width in pixels."""
    fit: Literal["crop", "letterbox", "stretch"] = "crop"
    fps: Literal["native"] | Annotated[float, Field(ge=0.001, le=1000)] = "native"
    keep: bool = True
    """Whether the lake stores `pixels`."""
    filters: tuple[frame_filters.Entry, ...] = ()
    """What is done to frames before they are stored or looked at, in order."""

    @property
    def rate(self) -> Fraction | None:
        """Grid rate in frames per second, or None for the streams' own."""
        return None if self.fps == "native" else Fraction(repr(self.fps)).limit_denominator(1_000_000)

    @property
    def grid(self) -> FrameGrid:
        """The frame grid as workers are told it."""
        return FrameGrid(size=self.size, fit=self.fit, fps=self.rate)

    def key(self) -> dict[str, Any]:
        """Return the part that decides the bytes of stored frames."""
        return {"size": list(self.size), "fit": self.fit, "fps": self.fps, **self._filter_keys}

    @cached_property
    def _filter_keys(self) -> dict[str, Any]:
        return {"filters": frame_filters.keys_of(self.filters, self.size)} if self.filters else {}


class Patches(Strict):
    """The grid of classical features, and the chunks of stored frames."""

    size: tuple[Positive, Positive, Positive] = (8, 32, 32)
    """time, y, x in rows and pixels."""
    stride: tuple[Positive, Positive, Positive] | None = None
    """By default the size: patches touch."""
    chunk: Literal["frame", "patch"] = "frame"
    """frame: a chunk is one patch length in time by the whole frame; patch: a chunk is one patch."""

    @property
    def grid(self) -> Grid:
        """The patch grid."""
        return Grid(size=self.size, stride=self.stride or self.size)


class Boxes(Strict):
    """Tracks that are boxes."""

    boxes: Literal["regions"] | LocalPath
    """CSV, JSON or Parquet with the columns uri, x, y, width, height and any of track, seconds, label
    (`annotations.read_boxes`); or `regions`: around regions that grow in the whole frame, as far as they are linked
    over time. A file of that name is ./regions."""
    product: str = "regions"
    """regions: name of the features' entry."""
    min_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    """regions: shorter tracks are none."""
    most: Positive = 8
    """regions: tracks of one video, those with the largest area times seconds."""
    min_travel: Annotated[float, Field(ge=0, le=1)] = 0.0
    """regions: how far a box gets from where it begins, as a share of the frame's diagonal; else it is none."""
    margin: Annotated[float, Field(ge=0, le=10)] = 0.1
    """regions: what a box has more on each side, as a share of its width or height."""

    @property
    def are_found(self) -> bool:
        """Whether the boxes are those of regions."""
        return self.boxes == FOUND

    @model_validator(mode="after")
    def _fits_together(self) -> Boxes:
        given = sorted(self.model_fields_set - {"boxes"})
        if given and not self.are_found:
            raise ValueError(f"{given[0]}: got one with boxes {self.boxes}, expected none: it belongs to boxes regions")
        return self


class Limits(Strict):
    """What one video may take; one that takes more is refused, with its reason."""

    wall_seconds: Annotated[float, Field(gt=0)] = 3600.0
    """For one unit's part of a video, while its frames are waited for."""
    stall_seconds: Annotated[float, Field(gt=0)] = 30.0
    """Without a sign of life from the decoder."""
    memory_bytes: Annotated[int, Field(ge=1 << 28)] = 2 << 30
    """Address space of the decoding process."""
    max_pixels: Positive = 8192 * 4320
    """Of a source frame."""
    max_frames: Positive = 50_000_000
    max_seconds: Annotated[float, Field(gt=0)] = 7 * 24 * 3600.0
    min_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Shorter videos are skipped."""

    @property
    def of_child(self) -> ChildLimits:
        """As the decoding process is told them."""
        return ChildLimits(**self.model_dump(exclude={"min_seconds"}))


class Units(Strict):
    """The grain of work."""

    slot_frames: Positive = 512
    """R: rows of a slot, which is one shard of every product."""
    slots: Positive = 8
    """The most slots that one task writes."""
    fused: bool | Literal["auto"] = "auto"
    """Whether features that take a GPU are computed by the units that decode. auto: where every worker has one, or
    frames are not kept; else units of their own read stored frames, on the workers that have a GPU, while all workers
    decode."""


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
        """Shots are cut from the `shot_score` feature, which the decode that happens anyway computes."""
        if not isinstance(data, dict) or not isinstance(data.get("clips"), list | tuple):
            return data
        cuts = [{"method": cut} if isinstance(cut, str) else cut for cut in data["clips"]]
        shots = [c for c in cuts if isinstance(c, dict) and c.get("method") == "shots" and "product" not in c]
        return _with_default(data, "shot_score") if shots else data

    @model_validator(mode="before")
    @classmethod
    def _found_boxes_need_regions(cls, data: object) -> object:
        """Boxes of regions need the `regions` feature."""
        tracks = data.get("tracks") if isinstance(data, dict) else None
        if not isinstance(data, dict) or not isinstance(tracks, dict) or tracks.get("boxes") != FOUND:
            return data
        return data if "product" in tracks else _with_default(data, "regions")

    @property
    def layout(self) -> Layout:
        """The row model's constants."""
        align = self.grid_align or math.lcm(8, self.patches.grid.stride[0], *(e.time_stride for e in self._timed()))
        return Layout(slot_frames=self.units.slot_frames, align=align)

    @property
    def constants(self) -> dict[str, Any]:
        """What a dataset keeps for good."""
        return {"slot_frames": self.layout.slot_frames, "grid_align": self.layout.align, "frames": self.frames.key()}

    def _timed(self) -> list[extractors.Entry]:
        return [entry for entry in self.features if entry.time_stride]

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        if not self.clips:
            raise ValueError("clips: got none, expected at least one entry, as {seconds: 2.0}; or leave the key out")
        for axis, what in ((1, "height"), (2, "width")):
            patch, frame = self.patches.size[axis], self.frames.size[axis - 1]
            if patch > frame:
                raise ValueError(
                    f"patches.size[{axis}]: got {patch}, expected at most {frame}, the {what} of frames.size; "
                    "make the patch smaller or the frames larger"
                )
        strides = {"patches.stride[0]": self.patches.grid.stride[0]}
        strides |= {f"features.{e.name}.{e.stride_key}": e.time_stride for e in self._timed()}
        align, r = self.layout.align, self.units.slot_frames
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
                f"(all strides and 8 have the common multiple {align}); take a divisor of {r}, "
                f"or set units.slot_frames to a multiple of {align}"
            )
        if self.patches.size[0] > r:
            raise ValueError(f"patches.size[0]: got {self.patches.size[0]}, expected at most units.slot_frames = {r}")
        names = [entry.name for entry in self.features]
        for name in names:
            if name == PIXELS or names.count(name) > 1:
                raise ValueError(f"features: the name {name!r} is taken; give the entry another `name:`")
        kinds = {entry.name: entry.kind for entry in self.features}
        for i, method in enumerate(self.clips):
            if isinstance(method, Shots) and kinds.get(method.product) != "shot_score":
                raise ValueError(
                    f"clips[{i}].product: got {method.product!r}, expected the name of a shot_score feature"
                )
            measures = [name for name in names if kinds[name] != "regions"]  # labels are not
            if isinstance(method, Scores) and method.product not in measures:
                known = ", ".join(measures) or "none"
                raise ValueError(f"clips[{i}].product: got {method.product!r}, expected one of: {known}")
        if self.tracks != "frame" and self.tracks.are_found and kinds.get(self.tracks.product) != "regions":
            raise ValueError(f"tracks.product: got {self.tracks.product!r}, expected the name of a regions feature")
        for i, reduction in enumerate(self.reduce):
            measures = [name for name in names if kinds[name] != "regions"]
            if reduction.product not in measures:
                known = ", ".join(measures) or "none"
                raise ValueError(f"reduce[{i}].product: got {reduction.product!r}, expected one of: {known}")
            if reduction.name in [other.name for other in self.reduce[:i]]:
                raise ValueError(f"reduce[{i}]: got a second {reduction.name}, expected one; take out the other")
        if not self.frames.keep and not self.features:
            raise ValueError("frames.keep: got false with no features, so nothing would be stored; add a feature")
        if self.train and not self.frames.keep:
            raise ValueError("frames.keep: got false, expected true where `train` is given: it trains on stored frames")
        return self


def _with_default(data: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return a recipe with the feature of a kind, under that name, unless it names one so."""
    features = data.get("features") or []
    named = [f.get("name") or f.get("kind") if isinstance(f, dict) else f for f in features]
    return data if kind in named else {**data, "features": [*features, kind]}


def load(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe in a YAML file, with `a.b=VALUE` overrides (VALUE is YAML); paths become absolute.

    Raises RecipeError with the key, what was given and what was expected.
    """
    file = Path(path)
    try:
        data = yaml.safe_load(file.read_text())
    except OSError as error:
        raise RecipeError(f"recipe {path}: can't be read: {error.strerror}; give the path of a YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {path}: is not YAML: {error}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"recipe {path}: got {type(data).__name__}, expected a mapping with name, lake and corpus")
    for override in overrides:
        _override(data, override)
    return parse(data, base=file.resolve().parent, where=f"recipe {path}")


def parse(data: Mapping[str, Any], *, base: Path, where: str = "recipe") -> Recipe:
    """Return the recipe of a mapping; relative paths in it are relative to `base`."""
    try:
        given = {key: value for key, value in data.items() if key != "lake" or value is not None}  # `--set lake=`
        return Recipe.model_validate(given, context={"base": base})
    except ValidationError as error:
        raise RecipeError(f"{where}: " + sentences(error)) from None


def with_feature(recipe: Recipe, text: str, path: str | os.PathLike[str]) -> Recipe:
    """Return a recipe with one more feature, spelled as in a recipe: a name, or a mapping in YAML.

    `path` is the recipe's: relative paths are relative to it.
    """
    try:
        entry = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--add {text}: is not YAML: {error}") from error
    data = {**dict(recipe), "features": [*recipe.features, entry]}
    try:
        return Recipe.model_validate(data, context={"base": Path(path).resolve().parent})
    except ValidationError as error:
        raise RecipeError(f"--add {text}: " + sentences(error)) from None


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set {override}: expected KEY=VALUE, as in --set frames.size=[64,64]")
    *parents, last = key.split(".")
    for parent in parents:
        child = data.setdefault(parent, {})
        if not isinstance(child, dict):
            raise RecipeError(f"--set {override}: {parent} is {child!r}, expected a mapping to set a key of")
        data = child
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override}: the value is not YAML: {error}") from error
    if key == "cluster" and isinstance(parsed, str) and isinstance(old := data.get("cluster"), dict):
        parsed = old if old.get("kind", "local") == parsed else {"kind": parsed}  # another kind has other keys
    data[last] = parsed
