"""A run compared with its speed of light: its speed over that of its bare parts alone."""

from __future__ import annotations

from collections.abc import Sequence

from patchlake.tasks.figures import IngestFigures, LightFigures
from patchlake.tasks.unit.speed_of_light import Light


def light_figures(
    ingest: IngestFigures, wall_seconds: float, lights: Sequence[Light], on_gpus: Sequence[Light] = ()
) -> LightFigures:
    """Return the figures of a run whose units took `wall_seconds`.

    `lights`: one sample per worker, without deferred products; `on_gpus`: one sample per worker that computes those.
    All workers share all work, those with a GPU also the deferred part; whichever takes longer is the limit.
    """
    parts = _mean_parts(lights)
    gpu_parts = _mean_parts(on_gpus) | {"decode": 0.0} if on_gpus else {}
    parts = {name: parts.get(name, 0.0) + gpu_parts.get(name, 0.0) for name in {**parts, **gpu_parts}}
    limit = len(lights) / sum(parts.values())
    if on_gpus:
        limit = min(limit, len(on_gpus) / sum(gpu_parts.values()))
    bare = sum(seconds for name, seconds in parts.items() if name not in ("decode", "write")) * ingest.rows
    spent = ingest.spent("compute")
    return LightFigures(
        frames_per_second=ingest.rows / wall_seconds,
        light_frames_per_second=limit,
        parts=parts,
        features_share=bare / spent if bare and spent else None,
    )


def _mean_parts(lights: Sequence[Light]) -> dict[str, float]:
    """Return seconds per row of each part, mean over the workers."""
    sums = {"decode": sum(one.decode for one in lights), "write": sum(one.write for one in lights)}
    sums |= {name: sum(one.compute[name] for one in lights) for name in lights[0].compute}
    return {name: value / len(lights) for name, value in sums.items()}
