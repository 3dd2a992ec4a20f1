"""`audio`: what is heard stands in the rows in which it is heard, exactly, whatever the units; nothing is lost by it.

Clips are made by the ffmpeg program: sine bursts at known times. Expected values come from samples that it decodes, or
from the sine itself, by numpy; bands also from transformers.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import numbered_clips as clips
import numpy as np
import object_store as objectstore
import pytest
from in_process import Ingested, ingest
from strategies import a_source

from patchlake.flows import added_features as features_flow
from patchlake.tasks import recipe as recipes
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.features import build
from patchlake.tasks.features.audio import AudioSpec
from patchlake.tasks.features.extractor import Cells
from patchlake.tasks.grid import Grid
from patchlake.tasks.storage.objects import Unreachable
from patchlake.tasks.video.audio import Sound
from patchlake.tasks.video.decoder import Decoder

FPS, SECONDS = 25, 4.0
CODECS = {
    "pcm.mov": ["-c:a", "pcm_s16le"], "flac.mkv": ["-c:a", "flac"], "aac.mp4": ["-c:a", "aac"],
    "mp3.avi": ["-c:a", "libmp3lame"], "opus.mkv": ["-c:a", "libopus"], "vorbis.webm": ["-c:a", "libvorbis"],
    "ac3.ts": ["-c:a", "ac3"],
}  # fmt: skip
BURSTS = ((0.8, 1.2, 440.0), (2.4, 2.6, 3000.0))
"""start, stop, hertz."""


def film(path: Path, *options: str, seconds: float = SECONDS, rate: int = 44100, delay: float = 0.0) -> Path:
    """Make a clip with bursts of a sine, at half of full scale, in both of its channels."""
    tones = "+".join(f"0.5*sin(2*PI*{hertz}*t)*between(t,{a},{b})" for a, b, hertz in BURSTS)
    video = ["libvpx", "-deadline", "realtime"] if path.suffix == ".webm" else ["mpeg4"]
    subprocess.run(
        [
            clips.tool("ffmpeg"), "-v", "error", "-y",
            "-f", "lavfi", "-i", f"testsrc=size=64x48:rate={FPS}:duration={seconds}",
            *(["-itsoffset", str(delay)] if delay else []),
            "-f", "lavfi", "-i", f"aevalsrc='{tones}|{tones}':s={rate}:d={seconds}",
            "-map", "0:v", "-map", "1:a", "-g", "10", "-c:v", *video, *options, str(path),
        ],
        check=True,
    )  # fmt: skip
    return path


def brought_in(folder: Path, name: str = "x", **changes: Any) -> Ingested:
    recipe: dict[str, Any] = {
        "name": name, "corpus": {"videos": "videos"}, "clips": [{"method": "windows", "seconds": 100}],
        "frames": {"size": [12, 16]}, "patches": {"size": [4, 12, 16]}, "features": [{"kind": "audio", "mels": 40}],
    }  # fmt: skip
    return ingest(folder, {**recipe, **changes})


def heard(done: Ingested, name: str = "") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return seconds, decibels (rows, mels) and `heard` of the rows of one file, or of the only one."""
    video = next(s["video_id"] for s in done.tables.sources.rows() if s["uri"].endswith(name))
    rows = done.track_rows(video, "audio")
    values = done.array("audio/features")[rows, 0, 0]
    return done.array("audio/seconds")[rows], values[:, :-1], values[:, -1]


def extractor_of(**options: Any) -> Any:
    spec = AudioSpec(kind="audio", name="audio", **options)
    return build(spec, patches=Grid((4, 4, 4), (4, 4, 4)), frame_size=(8, 8))


def by_hand(samples: np.ndarray, rate: int, first: float, last: float, mels: int) -> np.ndarray:
    """Return decibels per band of one row, in numpy, with transformers' bank."""
    from transformers.audio_utils import mel_filter_bank

    length = round(0.025 * rate)
    size = 2 ** int(np.ceil(np.log2(length)))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    bank = mel_filter_bank(size // 2 + 1, mels, 20, 8000, rate, norm=None, mel_scale="htk")
    found = []
    for at in np.linspace(first, last, 1 + round((last - first) / 0.01)):
        start = round(at * rate) - length // 2
        spectrum = np.fft.rfft(samples[start : start + length] * hann, n=size)
        found.append(2 * np.abs(spectrum) ** 2 / (size * np.sum(hann**2)) @ bank)
    return 10 * np.log10(np.maximum(np.mean(found, axis=0), 1e-10))


def samples_of(path: Path) -> np.ndarray:
    """Return what the ffmpeg program decodes, as mono samples."""
    command = [clips.tool("ffmpeg"), "-v", "error", "-i", str(path), "-f", "f32le", "-c:a", "pcm_f32le", "-"]
    raw = subprocess.run([*command[:5], "-map", "0:a", *command[5:]], check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.float32).reshape(-1, 2).mean(axis=1, dtype=np.float64)


@pytest.mark.parametrize("name", ["pcm.mov", "flac.mkv"])
def test_rows_are_what_numpy_makes_of_the_samples(tmp_path: Path, name: str) -> None:
    (tmp_path / "videos").mkdir()
    path = film(tmp_path / "videos" / name, *CODECS[name])
    seconds, decibels, share = heard(brought_in(tmp_path))
    samples = samples_of(path)
    assert len(seconds) == FPS * SECONDS / 4
    assert seconds == pytest.approx(4 * np.arange(25) / FPS + 1.5 / FPS)
    for row, (at, found) in enumerate(zip(seconds, decibels, strict=True)):
        if row and row < len(seconds) - 1:  # the windows of the first and the last row reach past the sound
            expected = by_hand(samples, 44100, at - 1.5 / FPS, at + 1.5 / FPS, 40)
            assert found == pytest.approx(expected, abs=1e-3)
            assert share[row] == 1
    assert share[0] == pytest.approx(11 / 13), "0 to 0.12 s in 13 windows: the first two begin before the sound"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one clip of each codec."""
    folder = tmp_path_factory.mktemp("films")
    (folder / "videos").mkdir()
    for name, options in CODECS.items():
        film(folder / "videos" / name, *options, rate=48000)
    return folder


FINE = [{"kind": "audio", "mels": 40, "every": 1}]
UNITS = {"slot_frames": 16, "slots": 8}


@pytest.fixture(scope="module")
def all_heard(films: Path) -> Ingested:
    return brought_in(films, "one", features=FINE, units=UNITS)


def test_a_burst_stands_in_its_rows_and_in_its_band(all_heard: Ingested) -> None:
    hertz = np.array(extractor_of(mels=40).attrs["hertz"])
    for name in CODECS:
        seconds, decibels, _ = heard(all_heard, name)
        assert len(seconds) == FPS * SECONDS
        loud = 10 * np.log10((10 ** (decibels / 10)).sum(axis=1)) > -20
        outside = np.ones(len(seconds), dtype=bool)
        for start, stop, tone in BURSTS:
            inside = (seconds > start + 0.03) & (seconds < stop - 0.03)
            assert loud[inside].all(), name
            best = hertz[decibels[inside].argmax(axis=1)]
            assert (np.abs(best / tone - 1) < 0.1).all(), name
            outside &= (seconds < start - 0.05) | (seconds > stop + 0.05)
        assert not loud[outside].any(), name


def test_bytes_do_not_depend_on_units_and_spans(films: Path, all_heard: Ingested) -> None:
    """Units that begin anywhere hear what one that begins at the file's start hears, whatever the codec carries on."""
    two = brought_in(films, "two", features=FINE, units={**UNITS, "slots": 1})
    assert len(two.plan.units) > 3 * len(CODECS) > len(all_heard.plan.units)
    assert np.array_equal(all_heard.array("audio/features"), two.array("audio/features"))
    clips_apart = [{"method": "windows", "seconds": 0.6, "stride_seconds": 1.0}]
    parts = brought_in(films, "parts", features=FINE, units=UNITS, clips=clips_apart)
    for name in CODECS:
        seconds, decibels, _ = heard(parts, name)
        whole_seconds, whole, _ = heard(all_heard, name)
        assert 55 <= len(seconds) <= 65
        at = [int(np.argmin(np.abs(whole_seconds - second))) for second in seconds]
        assert np.array_equal(whole_seconds[at], seconds)
        assert np.array_equal(whole[at], decibels), name


def test_a_later_run_hears_what_the_first_would_have(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    film(tmp_path / "videos" / "aac.mp4", *CODECS["aac.mp4"])
    first = brought_in(tmp_path, "first")
    brought_in(tmp_path, "later", features=[])
    later = brought_in(tmp_path, "later")
    assert later.num_decoded == 0, "pixels were there; the sound came from the file"
    assert np.array_equal(first.array("audio/features"), later.array("audio/features"))
    assert np.array_equal(first.array("audio/seconds"), later.array("audio/seconds"), equal_nan=True)


def test_sound_that_begins_later_or_ends_early_is_said_to_be_absent(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    film(tmp_path / "videos" / "a.mov", "-c:a", "pcm_s16le", delay=1.0)
    seconds, decibels, share = heard(brought_in(tmp_path))
    assert (share[seconds < 0.9] == 0).all()
    assert (decibels[seconds < 0.9] == -100).all()
    assert (share[(seconds > 1.1) & (seconds < 3.8)] == 1).all()
    loud = decibels.max(axis=1) > -20
    inside = (seconds > 1.9) & (seconds < 2.1)
    assert loud[inside].all(), "a second later than in the file without delay"
    assert not loud[(seconds > 0.9) & (seconds < 1.6)].any()


def test_videos_without_sound_have_rows_that_say_so(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    clips.render(tmp_path / "videos" / "silent.mp4", num_frames=40)
    done = brought_in(tmp_path)
    _, decibels, share = heard(done)
    assert len(share) == 10
    assert (share == 0).all()
    assert (decibels == -100).all()
    assert done.tables.failures.rows() == []


def test_broken_sound_costs_no_picture(tmp_path: Path) -> None:
    """Half of the sound's bytes are noise: the pictures are those of the whole file."""
    (tmp_path / "videos").mkdir()
    path = film(tmp_path / "videos" / "aac.mp4", *CODECS["aac.mp4"])
    whole = brought_in(tmp_path, "whole")
    import av

    data, rng = bytearray(path.read_bytes()), np.random.default_rng(0)
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(audio=0) if p.size and p.pos is not None]
    for at, size in packets[40:120]:
        data[at : at + size] = rng.integers(0, 256, size, np.uint8).tobytes()
    path.write_bytes(bytes(data))
    broken = brought_in(tmp_path, "broken")
    assert np.array_equal(whole.array("pixels/frames"), broken.array("pixels/frames"))
    assert broken.tables.failures.rows() == []
    assert not np.array_equal(heard(whole)[1], heard(broken)[1])
    assert np.array_equal(heard(whole)[1][1:5], heard(broken)[1][1:5]), "before the damage"


def test_loudness_is_that_of_the_sine_at_any_rate(tmp_path: Path) -> None:
    """A sine of amplitude 1/2 has a mean square of 1/8, -9 dB, however it is sampled."""
    found = []
    for rate in (8000, 22050, 48000):
        folder = tmp_path / str(rate) / "videos"
        folder.mkdir(parents=True)
        film(folder / "a.mov", "-c:a", "pcm_s16le", rate=rate)
        seconds, decibels, _ = heard(brought_in(folder.parent))
        row = int(np.argmin(np.abs(seconds - 1.0)))
        found.append(10 * np.log10((10 ** (decibels[row] / 10)).sum()))
    assert found == pytest.approx([-9.03] * 3, abs=0.7), "triangles of height 1 overlap to about 1 in all"


def test_sound_is_not_added_from_stored_pixels(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    clips.render(tmp_path / "videos" / "a.mp4", num_frames=8)
    (tmp_path / "r.yaml").write_text(
        "{name: x, lake: lake, corpus: {videos: videos}, frames: {size: [12, 16]}, patches: {size: [4, 4, 4]}, "
        "cluster: {kind: local, workers: 1}}"
    )
    recipe = recipes.load(tmp_path / "r.yaml")
    features_flow.refuse_sound(*features_flow.with_features(recipe, str(tmp_path / "r.yaml"), ("motion",)))
    with pytest.raises(RecipeError, match=r"--add audio: sound is not in stored pixels; .*`patchlake run`"):
        features_flow.refuse_sound(*features_flow.with_features(recipe, str(tmp_path / "r.yaml"), ("motion", "audio")))
    with pytest.raises(RecipeError, match="expected low < high, in Hz"):
        recipes.with_feature(recipe, "{kind: audio, low: 900, high: 800}", tmp_path / "r")


def test_a_listener_that_dies_ends_the_sound_and_nothing_else(tmp_path: Path) -> None:
    source = a_source(uri=str(film(tmp_path / "a.mov", "-c:a", "pcm_s16le", seconds=30.0)))
    decoder = Decoder()
    sound = Sound(decoder, source)
    assert sound.rate == 44100
    before = sound.read(44100, 44200)
    assert decoder.pid is not None
    os.kill(decoder.pid, signal.SIGKILL)
    after = sound.read(29 * 44100, 29 * 44100 + 10)
    assert np.isnan(after).all()
    assert np.isnan(Sound(decoder, a_source(uri=str(tmp_path / "none.mov"))).read(0, 5)).all(), "no file"
    again = Sound(decoder, source)
    assert np.array_equal(again.read(44100, 44200), before)
    far = again.read(29 * 44100, 29 * 44100 + 10)
    assert not np.isnan(far).any()
    assert np.array_equal(again.read(44100, 44200), before), "back to what was forgotten"
    decoder.close()


def test_a_bucket_s_sound_is_the_file_s_and_a_store_that_is_away_is_no_silence(
    s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    path = film(tmp_path / "aac.mp4", *CODECS["aac.mp4"])
    objectstore.put(s3, "aac.mp4", path.read_bytes())
    decoder = Decoder()
    there, here = (Sound(decoder, a_source(uri=uri)) for uri in (f"s3://{objectstore.BUCKET}/aac.mp4", str(path)))
    found = there.read(0, 4 * 44100)
    there.close()
    assert np.array_equal(here.read(0, 4 * 44100), found)
    assert not np.isnan(found[: 3 * 44100]).any()
    here.close()
    decoder.close()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Unreachable):
        Sound(decoder, a_source(uri=f"s3://{objectstore.BUCKET}/aac.mp4")).read(0, 10)
    decoder.close()


def test_frames_hold_no_sound() -> None:
    frames, seconds = np.zeros((4, 8, 8, 3), np.uint8), np.zeros(1)
    with pytest.raises(TypeError, match="expected an extractor whose `reads` is 'sound'"):
        extractor_of().compute([Cells(frames, seconds, seconds)])
