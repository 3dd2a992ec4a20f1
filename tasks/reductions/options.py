"""Recipe entries of reductions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from patchlake.tasks.strict import Strict


class PcaSpec(Strict):
    """Principal components of a feature's channels, over every stored cell."""

    kind: Literal["pca"]
    feature: str
    components: Annotated[int, Field(ge=1)] = 16
    """At most; fewer where the data has lower rank."""

    @property
    def name(self) -> str:
        """The reduction's folder in the lake."""
        return f"{self.kind}-{self.feature}"
