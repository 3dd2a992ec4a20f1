"""What a recipe says about training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from patchlake.tasks.strict import Strict


class TrainSpec(Strict):
    """The recipe's `train` section; every key has a default."""

    task: Literal["classify"] = Field("classify", description="Predict a clip's label from its frames.")
    model: Literal["st_cnn"] = Field("st_cnn", description="Architecture, a file of tasks/models.")
    epochs: int = Field(20, ge=1, description="Passes over the training clips.")
    test_fraction: float = Field(
        0.25, gt=0, lt=1, description="A group is test when hash01(group) is smaller; a given split wins."
    )
    window_frames: int = Field(16, ge=1, description="Frames that the model sees at once.")
    window_stride: int = Field(1, ge=1, description="Every how many stored frames the window takes one.")
    size: tuple[int, int] | None = Field(
        None,
        description="Training resolution [height, width]; stored frames are area-resized. Unset: as stored.",
    )
    batch_size: int = Field(16, ge=1, description="Clips per step, over all ranks together.")
    learning_rate: float = Field(4e-3, gt=0, description="Peak of the warm-up and cosine schedule (AdamW).")
    seed: int = Field(0, ge=0, description="Weights, order and augmentation follow from it.")
    controls: bool = Field(True, description="Also train the shuffled-frames and single-frame controls.")

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of what is trained: the model, then its controls."""
        return (self.model, "shuffled", "single_frame") if self.controls else (self.model,)
