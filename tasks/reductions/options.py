"""Recipe entries of reductions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class PcaSpec(BaseModel):
    """Principal components of a feature's channels, over every stored cell."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["pca"]
    feature: str
    components: Annotated[int, Field(ge=1)] = 16
    """At most; fewer where the data has lower rank."""

    @property
    def name(self) -> str:
        """The reduction's folder in the lake."""
        return f"{self.kind}-{self.feature}"
