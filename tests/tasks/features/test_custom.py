"""A user's own extractor is one small file beside the recipe, named `module:Class`."""

from __future__ import annotations

from pathlib import Path

import numbered_clips as clips
import numpy as np
import pytest
from ingesting import ingest

from patchlake.tasks.errors import RecipeError
from patchlake.tasks.lake import open_lake

BRIGHTNESS = '''
import numpy as np


class Brightness:
    """Mean of each patch, and how much it differs from the frame before."""

    version = 1
    channels = ("mean", "change")
    dtype = "float32"
    context_frames = (1, 0)
    needs_gpu = False

    def __init__(self, patches, frame_size, gain=1.0):
        self.gain = gain
        self.time_size, self.time_stride = 1, STRIDE
        self.centres = ((frame_size[0] / 2,), (frame_size[1] / 2,))
        self.digest_parts, self.attrs = {}, {"units": ["grey level", "grey level"]}

    def __call__(self, frames):
        mean = frames.astype(np.float32).mean(axis=(1, 2, 3)) * self.gain
        rows = np.stack([mean[1:], np.abs(np.diff(mean))], axis=-1)[:: self.time_stride]
        return rows[:, None, None, :]
'''


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    clips.render(tmp_path / "videos" / "a.mp4", num_frames=80, gop=10)
    return tmp_path


def test_a_class_beside_the_recipe_fills_a_product(corpus: Path) -> None:
    (corpus / "my_light.py").write_text(BRIGHTNESS.replace("STRIDE", "2"))
    entry = {"kind": "custom", "path": "my_light:Brightness", "options": {"gain": 2.0}, "name": "light"}
    wanted = {"corpus": {"videos": "videos"}, "patches": {"size": [4, 16, 16]}}
    done = ingest(corpus, {**wanted, "features": ["my_light:Brightness", entry]})
    stored = done.array("pixels/frames")[:80].astype(np.float32).mean(axis=(1, 2, 3))
    change = np.abs(np.diff(stored, prepend=stored[0]))
    expected = np.stack([stored, change], axis=-1)[::2]
    assert done.array("Brightness/features")[:40, 0, 0] == pytest.approx(expected, rel=1e-5)
    assert done.array("light/features")[:40, 0, 0] == pytest.approx(2 * expected, rel=1e-5)
    assert open_lake(str(done.lake)).product("light").channel.values.tolist() == ["mean", "change"]


@pytest.mark.parametrize(
    ("source", "entry", "words"),
    [
        (None, "my_missing:Thing", ["expected a class in an importable module", "my_missing"]),
        (BRIGHTNESS.replace("STRIDE", "2"), "my_bad_a:Darkness", ["my_bad_a:Darkness", "Darkness"]),
        (BRIGHTNESS.replace("STRIDE", "3"), "my_bad_b:Brightness", ["time stride of 3", "divisor of grid_align = 8"]),
        (BRIGHTNESS.replace("STRIDE", "2").replace("    version = 1\n", ""), "my_bad_c:Brightness", ["lacks version"]),
        (BRIGHTNESS.replace("STRIDE", "2").replace("float32\"\n", "int8\"\n"), "my_bad_d:Brightness", ["got 'int8'"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_class_is_said(corpus: Path, source: str | None, entry: str, words: list[str]) -> None:
    if source is not None:
        (corpus / f"{entry.partition(':')[0]}.py").write_text(source)
    with pytest.raises(RecipeError) as error:
        ingest(corpus, {"corpus": {"videos": "videos"}, "patches": {"size": [4, 16, 16]}, "features": [entry]})
    assert [word for word in words if word not in str(error.value)] == []
