"""What one run trains: the recipe's model, and controls, which show what can be predicted with less information."""

from __future__ import annotations

from dataclasses import dataclass

from patchlake.tasks import models
from patchlake.tasks.loading.views import IN_ORDER, SHUFFLED, SINGLE_FRAME, View
from patchlake.tasks.objectives.options import TrainOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """A model and what it sees."""

    name: str
    """Its folder below models/, and its key in the results."""
    title: str
    """Title in charts."""
    meaning: str
    """Explanation in captions."""
    view: View = IN_ORDER
    architecture: str | None = None
    """Kind of model; None: the recipe's."""

    def model(self, options: TrainOptions) -> models.ModelOptions:
        """Return its model's options."""
        if self.architecture is None:
            return options.model
        entry: models.ModelOptions = models.MODELS.entry(self.architecture)
        return entry


CONTROLS = {
    control.name: control
    for control in (
        Variant(
            name="shuffled",
            title="shuffled frames",
            meaning="the same model on frames in random order",
            view=SHUFFLED,
        ),
        Variant(
            name="single_frame",
            title="single frame",
            meaning="a model of one frame",
            view=SINGLE_FRAME,
            architecture="frame_cnn",
        ),
    )
}


def variant_of(name: str) -> Variant:
    """Return the control with this name; any other name is the recipe's model."""
    return CONTROLS.get(name) or Variant(name=name, title=name, meaning="the model")


def names_of(options: TrainOptions) -> tuple[str, ...]:
    """Return the names of what a recipe trains: its model, then the controls."""
    return (options.model.kind, *(CONTROLS if options.controls else ()))
