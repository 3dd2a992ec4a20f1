"""Every classical feature of a lake is what a plain loop over windows of its stored frames gives, at all borders.

Spans longer than a slot, several short ones in one slot, two tracks, units of one slot and of two; windows overlap and
cross slots. A row is bit-equal to its extractor's answer to that window alone, and within 1e-5 of the loops in
`feature_loops`, which sum in float64 and in another order.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import reference_features as loops
from in_process import Ingested, ingest

from patchlake.tasks import features
from patchlake.tasks.features import FEATURES
from patchlake.tasks.grid import Grid
from patchlake.tasks.lake import open_lake
from patchlake.tasks.types import FrameArray

KINDS = ("edges", "corners", "hog", "color", "flow", "motion")
SIZE = (48, 64)
PATCHES = Grid((4, 16, 24), (2, 16, 20))
FRAMES = Grid((4, *SIZE), (2, *SIZE))
"""The same in time, whole frames."""


def render(path: Path, *, num_frames: int, seed: int) -> None:
    """Write a clip in which a texture is moved about over another, and the light changes."""
    ground, other = loops.texture(96, 128, seed=seed), loops.texture(96, 128, seed=seed + 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"qp": "10", "g": "12", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for i in range(num_frames):
            moved = np.roll(other, (int(9 * np.sin(i / 3)), 2 * i), axis=(0, 1))
            picture = ground.copy()
            picture[20:70, 30:100] = moved[20:70, 30:100]
            lit = np.clip(picture.astype(int) + 30 * (i // 7 % 2), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(lit, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "videos").mkdir()
    for i, (name, num_frames) in enumerate((("long", 100), ("a", 13), ("b", 7), ("c", 4), ("d", 3))):
        render(folder / "videos" / f"{name}.mkv", num_frames=num_frames, seed=10 * i)
    (folder / "boxes.csv").write_text(
        "uri,track,x,y,width,height\nvideos/long.mkv,left,0,0,64,48\nvideos/long.mkv,middle,32,24,64,48\n"
        + "".join(f"videos/{name}.mkv,whole,0,0,128,96\n" for name in "abcd")
    )
    return folder


def brought_in(corpus: Path, slots: int) -> Ingested:
    return ingest(
        corpus,
        {
            "name": f"slots-{slots}",
            "corpus": {"videos": "videos"},
            "tracks": {"boxes": "boxes.csv"},
            "clips": [{"seconds": 2.6, "stride_seconds": 3.0}],
            "frames": {"size": list(SIZE)},
            "patches": {"size": list(PATCHES.size), "stride": list(PATCHES.stride)},
            "features": list(KINDS),
            "units": {"slot_frames": 32, "slots": slots},
        },
    )


@pytest.fixture(scope="module", params=[1, 2], ids=["units of one slot", "units of two slots"])
def done(request: pytest.FixtureRequest, corpus: Path) -> Ingested:
    done = brought_in(corpus, request.param)
    spans = done.tables.spans.rows()
    assert sorted(span["num_rows"] for span in spans) == [3, 4, 7, 13, 25, 25, 65, 65]
    slots = [{row // 32 for row in (s["row_start"], s["row_start"] + s["num_rows"] - 1)} for s in spans]
    assert sum(len(both) > 1 for both in slots) == 2, "two spans cross slots"
    assert len(done.plan.units) > 2
    return done


@pytest.fixture(scope="module")
def windows(done: Ingested) -> list[FrameArray]:
    """Return the frames of each row of a feature, the one before first; a span's first frame stands before itself."""
    patches = open_lake(str(done.lake)).patches(FRAMES)
    first = {span["row_start"] for span in done.tables.spans.rows()}
    stored = open_lake(str(done.lake)).patches(Grid((1, *SIZE), (1, *SIZE)))
    frame = dict(zip(stored.row.values.tolist(), stored.values[:, 0, 0, 0], strict=True))
    found = []
    for window, row in zip(patches.values[:, 0, 0], patches.row.values.tolist(), strict=True):
        before = frame[row] if row in first else frame[row - 1]
        found.append(np.concatenate([before[None], window]))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_those_of_plain_loops_over_windows(done: Ingested, windows: list[FrameArray], kind: str) -> None:
    lake = open_lake(str(done.lake))
    patches, product = lake.patches(PATCHES), lake.product(kind).load()
    extractor = features.build(FEATURES.entry(kind), patches=PATCHES, frame_size=SIZE)
    rows = patches.row.values // PATCHES.stride[0]
    assert rows.tolist() == np.flatnonzero(product.track >= 0).tolist()
    assert not product.features.values[product.track < 0].any(), "padding is 0"
    assert len(rows) == len(windows) == 2 * (31 + 11) + 5 + 2 + 1
    for row, window in zip(rows.tolist(), windows, strict=True):
        frames = window if extractor.context_frames[0] else window[1:]
        alone = extractor(np.ascontiguousarray(frames))
        stored = product.features.values[row]
        assert stored.tobytes() == alone.tobytes(), f"row {row}"
        loops.assert_close(kind, stored[None], frames, PATCHES)
    np.testing.assert_array_equal(product.y, patches.y)
    np.testing.assert_array_equal(product.x, patches.x)
    np.testing.assert_allclose(product.seconds.values[rows], patches.seconds, rtol=0, atol=1e-12)


def test_units_of_any_length_write_the_same_features(corpus: Path, done: Ingested) -> None:
    other = brought_in(corpus, 8)
    for kind in KINDS:
        np.testing.assert_array_equal(other.array(f"{kind}/features"), done.array(f"{kind}/features"))
