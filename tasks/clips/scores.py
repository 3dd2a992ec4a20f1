"""`scores`: where one channel of a stored product is high, or stays the same."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from patchlake.tasks.clips import segment
from patchlake.tasks.clips.method import ClipMethod, Part, SecondsOrZero, StoredScores

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Scores(ClipMethod):
    """Event level: where one channel of a stored product is high, or stays the same. Nothing is decoded."""

    method: Literal["scores"]
    product: str
    """Name of a feature in this recipe."""
    channel: str | None = None
    """None: the product's only channel."""
    pool: Literal["mean", "max"] = "mean"
    """How a row's cells along y and x become one value."""
    find: Literal["threshold", "hysteresis", "change_points"]
    """threshold: above <= value <= below; hysteresis: value >= low around a value >= high; change_points: stretches
    between changes of the mean."""
    above: Finite | None = None
    """threshold: lower bound; change_points: minimum mean of a stretch, None: all stretches."""
    below: Finite | None = None
    """threshold: upper bound."""
    high: Finite | None = None
    """hysteresis: an event contains at least one value this high."""
    low: Finite | None = None
    """hysteresis: an event ends where the value falls below this."""
    penalty: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """change_points: how much a change must lower the sum of squared deviations, in variances of the values. Larger
    values give fewer changes. A stretch of n rows that is d standard deviations off is found if n d^2 > 2 penalty."""
    min_seconds: SecondsOrZero = 0.0
    """Shorter events are dropped, after merging."""
    merge_seconds: SecondsOrZero = 0.0
    """Events at most this far apart are merged; 0: no merging."""
    label: str | None = None
    """Label of the clips found; None: the source's."""

    @model_validator(mode="after")
    def _fits_together(self) -> Scores:
        takes = {"threshold": ("above", "below"), "hysteresis": ("high", "low"), "change_points": ("penalty", "above")}
        for key in ("above", "below", "high", "low", "penalty"):
            if getattr(self, key) is not None and key not in takes[self.find]:
                expected = " and ".join(takes[self.find])
                raise ValueError(f"{key}: got {getattr(self, key)} with find {self.find}, which takes {expected}")
        if self.find == "threshold" and self.above is None and self.below is None:
            raise ValueError("above: got none with find threshold, expected a number, or one for `below`")
        needed = {"threshold": (), "hysteresis": ("high", "low"), "change_points": ("penalty",)}
        for key in needed[self.find]:
            if getattr(self, key) is None:
                raise ValueError(f"{key}: got none with find {self.find}, expected a number")
        for small, large in (("above", "below"), ("low", "high")):
            a, b = getattr(self, small), getattr(self, large)
            if a is not None and b is not None and a > b:
                raise ValueError(f"{small}: got {a}, expected at most {large} = {b}")
        if self.find == "change_points" and self.above is None and self.merge_seconds:
            raise ValueError(
                f"merge_seconds: got {self.merge_seconds} with change_points, whose stretches all touch; "
                "give `above` too or leave it out"
            )
        return self

    @property
    def searches(self) -> str | None:
        """The product named by `product`."""
        return self.product

    def search(self, scores: StoredScores, part: Part) -> list[Part]:
        """Return the events in a part; `label` replaces the part's label if given."""
        values = segment.pooled(scores.values, scores.channels, channel=self.channel, pool=self.pool)
        ranges = segment.events(self, scores.seconds, values, stop_seconds=part.stop)
        return [Part(start, stop, self.label or part.label, part.targets) for start, stop in ranges]
