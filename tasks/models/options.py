"""Recipe entries of models, separate from the architectures so that a recipe is read without torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from patchlake.tasks.strict import Strict


class ModelOptions(Strict):
    """Base class of the recipe entries of models."""

    kind: str

    @property
    def max_frames(self) -> int | None:
        """Maximum number of frames per window; None: any number."""
        return None


class StCnnOptions(ModelOptions):
    """A small 3-D convolutional network."""

    kind: Literal["st_cnn"]
    width: Annotated[int, Field(ge=1)] = 32
    """Channels after the first stage; the last one has 4 times as many."""


class FrameCnnOptions(ModelOptions):
    """A 2-D convolutional network for a single frame."""

    kind: Literal["frame_cnn"]
    width: Annotated[int, Field(ge=1)] = 48
    """Channels after the first stage; the last one has 4 times as many."""

    @property
    def max_frames(self) -> int | None:
        """One."""
        return 1
