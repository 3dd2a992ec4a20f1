"""`shots`: the ranges between the cuts found in stored scores."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from patchlake.tasks.clips import segment
from patchlake.tasks.clips.method import ClipMethod, Part, SecondsOrZero, StoredScores


class Shots(ClipMethod):
    """Event level: shots between the cuts that PySceneDetect's rules find in stored scores; they tile the track.

    A change of detector or threshold recuts from stored scores; nothing is decoded again.
    """

    method: Literal["shots"]
    searched_kind: ClassVar[str | None] = "shot_score"
    product: str = "shot_score"
    """Name of the features' `shot_score` entry."""
    detector: Literal["content", "adaptive", "histogram", "hash", "fade"] = "content"
    """What makes a cut. content: a large change of colours; adaptive: one that stands out from the frames around it
    (for moving cameras; frames repeated by a grid finer than the video mislead it); histogram: a change of brightness;
    hash: a change of coarse structure; fade: dark frames."""
    threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """In the detector's own unit; None: PySceneDetect's default (27.0, 3.0, 0.2, 0.35, 12.0 in the order above)."""
    gradual: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Also cut in the middle of dissolves: by how much the histograms' correlation must drop, summed over 0.6 s. 1.0
    finds most dissolves with few false cuts, 0.4 nearly all; None: off."""
    min_seconds: SecondsOrZero = 0.6
    """Cuts closer than this to the previous cut, or to the track's start, are ignored."""
    window_frames: Annotated[int, Field(ge=1)] = 2
    """adaptive only: number of frames on each side that a frame is compared with."""
    min_content: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 15.0
    """adaptive only: minimum `content_val` of a cut."""

    @model_validator(mode="after")
    def _fits_together(self) -> Shots:
        if self.detector in ("histogram", "hash") and self.threshold is not None and self.threshold > 1:
            raise ValueError(f"threshold: got {self.threshold}, expected at most 1 for detector {self.detector}")
        for key in ("window_frames", "min_content"):
            if key in self.model_fields_set and self.detector != "adaptive":
                raise ValueError(
                    f"{key}: got it with detector {self.detector}, expected adaptive; leave one of them out"
                )
        return self

    @property
    def searches(self) -> str | None:
        """The product named by `product`."""
        return self.product

    def search(self, scores: StoredScores, part: Part) -> list[Part]:
        """Return the shots of a part."""
        channels = {name: scores.values[:, 0, 0, i] for i, name in enumerate(scores.channels)}
        ranges = segment.shots(self, scores.seconds, channels, stop_seconds=part.stop)
        return [part._replace(start=start, stop=stop) for start, stop in ranges]
