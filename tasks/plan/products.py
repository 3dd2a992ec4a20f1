"""Builds the products of a recipe: values that describe the lake's array families."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from patchlake.tasks import features, filters, keys
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.features.extractor import Extractor, FeatureOptions, reach_of, wants_gpu
from patchlake.tasks.grid import LEAD_FRAMES
from patchlake.tasks.lake.layout import FEATURES, FRAMES
from patchlake.tasks.lake.product import Product
from patchlake.tasks.types import PIXELS

if TYPE_CHECKING:
    from patchlake.tasks.recipe import Recipe

_CHUNK_BYTES = 1 << 20


def frames_key(recipe: Recipe) -> dict[str, Any]:
    """Return what determines the bytes of stored frames; this reads files named by filters (boxes, models)."""
    frames = recipe.frames
    key: dict[str, Any] = {"size": list(frames.size), "fit": frames.fit, "fps": frames.fps}
    return {**key, "filters": filters.keys_of(frames.filters, frames.size)} if frames.filters else key


def constants_of(recipe: Recipe) -> dict[str, Any]:
    """Return the constants of a dataset, which never change; this reads files named by filters."""
    layout = recipe.layout
    return {"slot_frames": layout.slot_frames, "grid_align": layout.align, "frames": frames_key(recipe)}


def pixels_of(recipe: Recipe, frames: dict[str, Any]) -> Product:
    """Return the product that stores frames: time stride 1, RGB bytes. `frames`: from `frames_key`."""
    height, width = recipe.frames.size
    r, patch = recipe.layout.slot_frames, recipe.patches.size
    length = patch[0] if r % patch[0] == 0 else recipe.patches.grid.stride[0]
    whole = recipe.patches.chunk == "frame"
    return Product(
        name=PIXELS,
        array=FRAMES,
        key={"kind": PIXELS, "frames": frames, "decode_version": keys.DECODE_VERSION},
        time_size=1,
        time_stride=1,
        y=tuple(i + 0.5 for i in range(height)),
        x=tuple(i + 0.5 for i in range(width)),
        channels=("red", "green", "blue"),
        dtype="uint8",
        rows_per_slot=r,
        chunk=(length, height, width) if whole else (length, _divisor(height, patch[1]), _divisor(width, patch[2])),
        needs_gpu=False,
        attrs={"units": "1", "range": [0, 255], "matrix": "the stream's, BT.601 where it does not say"}
        | ({"filters": [entry.kind for entry in recipe.frames.filters]} if recipe.frames.filters else {}),
    )


def product_of(entry: FeatureOptions, extractor: Extractor, recipe: Recipe, frames: dict[str, Any]) -> Product:
    """Return the product that an entry's extractor fills. `frames`: from `frames_key`."""
    name, kind = entry.name, entry.kind
    rows = recipe.layout.slot_frames // extractor.time_stride
    y, x = extractor.centres
    row_bytes = len(y) * len(x) * len(extractor.channels) * (4 if extractor.dtype == "float32" else 2)
    length = max(d for d in range(1, rows + 1) if rows % d == 0 and (d == 1 or d * row_bytes <= _CHUNK_BYTES))
    key = {
        "kind": kind,
        "version": extractor.version,
        "options": extractor.digest_parts,
        "dtype": extractor.dtype,
        "grid": {"size": extractor.time_size, "stride": extractor.time_stride, "y": list(y), "x": list(x)},
        "frames": frames,
        "decode_version": keys.DECODE_VERSION,
    }
    return Product(
        name=name,
        array=FEATURES,
        key=key,
        time_size=extractor.time_size,
        time_stride=extractor.time_stride,
        y=y,
        x=x,
        channels=extractor.channels,
        dtype=extractor.dtype,
        rows_per_slot=rows,
        chunk=(length, len(y), len(x)),
        needs_gpu=extractor.needs_gpu,
        wants_gpu=wants_gpu(extractor),
        attrs={"kind": kind, "version": extractor.version, **extractor.attrs},
    )


def extractors_of(recipe: Recipe) -> dict[str, Extractor]:
    """Return the recipe's extractors by name; raises RecipeError now if e.g. a model is missing."""
    return {
        entry.name: features.build(entry, patches=recipe.patches.grid, frame_size=recipe.frames.size)
        for entry in recipe.features
    }


def products_of(recipe: Recipe, extractors: dict[str, Extractor]) -> dict[str, Product]:
    """Return every product of the recipe, by name, pixels first."""
    _check_reach(recipe, extractors)
    frames = frames_key(recipe)
    products = {PIXELS: pixels_of(recipe, frames)} if recipe.frames.keep else {}
    for entry in recipe.features:
        stride, align = extractors[entry.name].time_stride, recipe.layout.align
        if align % stride:
            raise RecipeError(
                f"features.{entry.name}: got a time stride of {stride} frames, "
                f"expected a divisor of grid_align = {align}; set grid_align to a common multiple, "
                f"or the entry's `every` to {stride}"
            )
        products[entry.name] = product_of(entry, extractors[entry.name], recipe, frames)
    return products


def _check_reach(recipe: Recipe, extractors: dict[str, Extractor]) -> None:
    """Refuse filters whose context, plus that of the features, reaches further than units read."""
    own = filters.context_of(filters.build_all(recipe.frames.filters, recipe.frames.size))
    for side, before_or_after in enumerate(("before", "after")):
        wanted = max((reach_of(extractor)[side] for extractor in extractors.values()), default=0)
        if own[side] and own[side] + wanted > LEAD_FRAMES:
            raise RecipeError(
                f"frames.filters: got filters that need {own[side]} frames {before_or_after} each frame, and features "
                f"that need {wanted} more, expected at most {LEAD_FRAMES} together; lower `frames` or `hold`"
            )


def _divisor(extent: int, wanted: int) -> int:
    return wanted if extent % wanted == 0 else extent
