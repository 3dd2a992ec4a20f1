"""Training options common to all objectives."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_serializer, model_validator

from patchlake.tasks import models
from patchlake.tasks.loading.windows import Window
from patchlake.tasks.strict import Strict


class TrainOptions(Strict):
    """The recipe's `train` section; each task adds its own keys."""

    task: str
    model: models.Entry = Field(
        models.MODELS.entry("st_cnn"), description="Architecture, a file of tasks/models; a word, or its options."
    )
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
    def window(self) -> Window:
        """The model's input window."""
        return Window(self.window_frames, self.window_stride)

    @field_serializer("model")
    def _as_a_word(self, model: models.ModelOptions) -> str | dict[str, Any]:
        """In keys of trainings, a model with only default options is written as a word."""
        given = model.model_dump(mode="json", exclude_defaults=True)
        return model.kind if given.keys() <= {"kind"} else model.model_dump(mode="json")

    @model_validator(mode="after")
    def _model_takes_the_window(self) -> TrainOptions:
        most = self.model.max_frames
        if most is not None and self.window_frames > most:
            raise ValueError(
                f"window_frames: got {self.window_frames}, expected at most {most}: {self.model.kind} takes no more"
            )
        return self
