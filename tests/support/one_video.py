"""One clip planned as one unit on a lake of its own, by plain functions: what a worker is handed.

planned = plan_video(tmp_path, num_frames=40, features=["edges"])
extract_unit(planned.job, planned.unit)
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numbered_clips as clips
import numpy as np
import numpy.typing as npt

from patchlake.tasks import recipe as recipes
from patchlake.tasks.clips.spans import span_of
from patchlake.tasks.lake import arrays, create
from patchlake.tasks.plan.products import extractors_of, frames_key, products_of
from patchlake.tasks.plan.units import make_units
from patchlake.tasks.storage.location import Location
from patchlake.tasks.storage.uris import uri_of
from patchlake.tasks.tracks import track_of
from patchlake.tasks.types import FrameSource, Placement, Source, Unit
from patchlake.tasks.unit import worker_setup
from patchlake.tasks.unit.worker_state import Job
from patchlake.tasks.video.probe import probe_source

SLOT_FRAMES = 16
SIZE = (48, 64)


class Planned(NamedTuple):
    path: Path
    job: Job
    unit: Unit

    def array(self, name: str) -> npt.NDArray[Any]:
        return np.asarray(arrays.open_array(self.job.lake, name)[:])

    def of(self, *products: str) -> Planned:
        """Return the plan with a unit that lacks some of its products only."""
        return self._replace(unit=replace(self.unit, products=products))


def plan_video(folder: Path, *, num_frames: int = 40, features: Sequence[Any] = ()) -> Planned:
    """Render a numbered clip, and plan all of it, from row 0 on, in slots of 16 frames."""
    worker_setup.setup()
    path = clips.render(folder / "a.mkv", num_frames=num_frames, gop=num_frames)  # so that nothing is cut
    recipe = recipes.parse(
        {
            "name": "x", "lake": "lake", "corpus": {"videos": "a.mkv"}, "frames": {"size": list(SIZE)},
            "patches": {"size": [4, 16, 16]}, "features": list(features), "units": {"slot_frames": SLOT_FRAMES},
        },
        base=folder,
    )  # fmt: skip
    probed = probe_source(Source(uri=uri_of(path), size=path.stat().st_size, version="1"))
    video, index = probed.video, probed.index
    assert video is not None
    assert index is not None
    track = track_of(video.video_id)
    span = span_of(track, video, index, start_seconds=0.0, stop_seconds=1e6, fps=None, frames=frames_key(recipe))
    source = FrameSource(
        video_id=video.video_id, uri=probed.source.uri, width=video.width, height=video.height,
        rotation=video.rotation, sample_aspect=video.sample_aspect, time_base=video.time_base,
        first_pts=video.first_pts, counted=video.counted,
    )  # fmt: skip
    products = products_of(recipe, extractors_of(recipe))
    num_slots = -(-span.num_rows // SLOT_FRAMES)
    missing = {slot: tuple(products) for slot in range(num_slots)}
    (unit,) = make_units(
        [Placement(span=span, track=0, row_start=0)],
        {video.video_id: source}, {track.track_id: None}, missing, recipe.layout, max_slots=100, num_workers=1,
    )  # fmt: skip
    lake = Location(recipe.lake) / recipe.name
    create.make_dataset(lake, {})
    create.ensure_arrays(lake, products.values(), with_pts=False)
    create.grow(lake, num_slots, slot_frames=SLOT_FRAMES)
    job = Job(
        key=uuid.uuid4().hex, lake=lake, layout=recipe.layout, frames=recipe.frames.grid, patches=recipe.patches.grid,
        entries=recipe.features, products=products,
    )  # fmt: skip
    return Planned(path, job, unit)
