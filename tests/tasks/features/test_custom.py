"""A user's own extractor is one small file beside the recipe, named `module:Class`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numbered_clips as clips
import numpy as np
import pytest
from in_process import ingest

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


@pytest.mark.parametrize("base", ["Extractor", "FrameExtractor"])
def test_a_class_may_derive_from_what_it_is(corpus: Path, base: str) -> None:
    source = BRIGHTNESS.replace("STRIDE", "2").replace("class Brightness:", f"class Brightness({base}):")
    (corpus / f"my_{base}.py").write_text(f"from patchlake.tasks.features import {base}\n{source}")
    (corpus / "my_plain.py").write_text(BRIGHTNESS.replace("STRIDE", "2"))
    entries = [{"kind": "custom", "path": f"my_{which}:Brightness", "name": which} for which in (base, "plain")]
    done = ingest(corpus, {"corpus": {"videos": "videos"}, "patches": {"size": [4, 16, 16]}, "features": entries})
    assert np.array_equal(done.array(f"{base}/features"), done.array("plain/features"))
    assert done.array("plain/features").any()


GATHERS = (
    BRIGHTNESS.replace("STRIDE", "2")
    + """
    def gather(self, pieces):
        return [self(frames) + 1000 * len(pieces) for frames in pieces]
"""
)


def test_a_class_that_gathers_is_given_all_pieces_of_a_slot(corpus: Path) -> None:
    (corpus / "my_gather.py").write_text(GATHERS)
    apart = [{"method": "windows", "seconds": 0.4, "stride_seconds": 0.8}]  # spans of 10 frames, 10 apart
    done = ingest(
        corpus,
        {
            "corpus": {"videos": "videos"}, "patches": {"size": [4, 16, 16]}, "clips": apart,
            "features": ["my_gather:Brightness"], "units": {"slot_frames": 32, "slots": 1},
        },
    )  # fmt: skip
    mean = done.array("Brightness/features")[:, 0, 0, 0]
    (receipts,) = (
        r.pieces for result in done.results for r in result.receipts if r.slots == (0,) if r.product != "pixels"
    )
    assert [piece.num_rows for piece in receipts] == [5, 5]
    for piece in receipts:
        assert (mean[piece.row_start : piece.row_start + piece.num_rows] // 1000).tolist() == [2.0] * 5


LOUDNESS = """
import numpy as np

from patchlake.tasks.features import Extractor


class Loudness(Extractor):
    version = 1
    channels, dtype, time_size, time_stride, context_frames, needs_gpu = ("rms",), "float32", 8, 8, (0, 0), False
    digest_parts, attrs = {}, {"units": ["1"]}
    reads = "sound"

    def __init__(self, patches, frame_size):
        self.centres = ((frame_size[0] / 2,), (frame_size[1] / 2,))

    def compute(self, pieces):  # a list of cells -> a list of (rows, y, x, channel)
        return [self.rows(p.open_sound(), zip(p.first_seconds, p.last_seconds)) for p in pieces]

    def rows(self, sound, times):
        at = [[round((sound.start_seconds + t) * sound.rate) for t in pair] for pair in times]
        rms = [np.sqrt(np.nanmean(np.square(sound.read(start, stop + 1)))) for start, stop in at]
        return np.array(rms, np.float32).reshape(-1, 1, 1, 1)
"""


def test_a_class_may_read_the_sound(corpus: Path) -> None:
    path = corpus / "videos" / "a.mov"
    (corpus / "videos" / "a.mp4").unlink()
    command = [
        clips.tool("ffmpeg"), "-v", "error", "-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=4",
        "-f", "lavfi", "-i", "aevalsrc='0.5*sin(2*PI*1000*t)':s=44100:d=4", "-c:v", "mpeg4", "-c:a", "pcm_s16le",
    ]  # fmt: skip
    subprocess.run([*command, str(path)], check=True)
    (corpus / "my_sound.py").write_text(LOUDNESS)
    done = ingest(
        corpus,
        {"corpus": {"videos": "videos"}, "patches": {"size": [4, 16, 16]}, "features": ["my_sound:Loudness"]},
    )
    rms = done.array("Loudness/features")[
        done.track_rows(done.tables.videos.rows()[0]["video_id"], "Loudness"), 0, 0, 0
    ]
    assert len(rms) == 12
    assert rms == pytest.approx([0.5 / 2**0.5] * 12, rel=1e-2)


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
