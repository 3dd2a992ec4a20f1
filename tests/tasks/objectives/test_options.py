"""The recipe's section, and the names of what it trains."""

import pydantic
import pytest

from patchlake.tasks import models, objectives
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.objectives import variants
from patchlake.tasks.objectives.classify import ClassifyOptions


def section(data: dict[str, object]) -> objectives.TrainOptions:
    read: objectives.TrainOptions = objectives.OBJECTIVES.entry(data)
    return read


def test_recipe_section() -> None:
    spec = section({"task": "classify", "model": "st_cnn", "epochs": 20, "test_fraction": 0.25})
    assert spec == ClassifyOptions() == section({})
    assert variants.names_of(spec) == ("st_cnn", "shuffled", "single_frame")
    assert variants.names_of(ClassifyOptions(controls=False)) == ("st_cnn",)
    assert all(field.description for name, field in ClassifyOptions.model_fields.items() if name != "task")
    for wrong in ({"epoch": 3}, {"test_fraction": 1.0}, {"model": "vit"}, {"epochs": 0}):
        with pytest.raises((pydantic.ValidationError, RecipeError)):
            section(wrong)


def test_a_model_is_a_word_or_its_options() -> None:
    assert section({"model": "st_cnn"}) == section({"model": {"kind": "st_cnn", "width": 32}})
    assert section({"model": "st_cnn"}).model_dump(mode="json")["model"] == "st_cnn"
    wide = section({"model": {"kind": "st_cnn", "width": 48}})
    assert wide.model_dump(mode="json")["model"] == {"kind": "st_cnn", "width": 48}
    assert section(wide.model_dump(mode="json")) == wide
    with pytest.raises(pydantic.ValidationError, match="width"):
        section({"model": {"kind": "st_cnn", "width": 0}})


def test_a_model_of_one_frame_takes_windows_of_one() -> None:
    with pytest.raises(pydantic.ValidationError, match="got 16, expected at most 1: frame_cnn takes no more"):
        section({"model": "frame_cnn"})
    assert section({"model": "frame_cnn", "window_frames": 1}).model == models.MODELS.entry("frame_cnn")


def test_controls_differ_from_the_model_in_view_or_architecture() -> None:
    options = ClassifyOptions()
    shuffled, single = variants.variant_of("shuffled"), variants.variant_of("single_frame")
    assert shuffled.model(options) == options.model
    assert single.model(options).kind == "frame_cnn"
    assert (single.view.num_frames(16), shuffled.view.num_frames(16)) == (1, 16)
    assert variants.variant_of("st_cnn").title == "st_cnn"
