"""Recipe entries of models. They stand apart from the architectures, so that a recipe is read without torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from patchlake.tasks.strict import Strict


class ModelOptions(Strict):
    """What a recipe says about any model."""

    kind: str

    @property
    def max_frames(self) -> int | None:
        """The most frames that it takes at once; None: any number."""
        return None


class StCnnOptions(ModelOptions):
    """A small 3-D convolution net."""

    kind: Literal["st_cnn"]
    width: Annotated[int, Field(ge=1)] = 32
    """Channels after the first stage; the last one has 4 times as many."""


class FrameCnnOptions(ModelOptions):
    """A 2-D convolution net of one frame."""

    kind: Literal["frame_cnn"]
    width: Annotated[int, Field(ge=1)] = 48
    """Channels after the first stage; the last one has 4 times as many."""

    @property
    def max_frames(self) -> int | None:
        """One."""
        return 1
