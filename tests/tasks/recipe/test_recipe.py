"""A recipe is read as written, and whatever is wrong is said by key, with what was given and expected."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from patchlake.tasks.clips.windows import Windows
from patchlake.tasks.errors import PatchlakeError, RecipeError
from patchlake.tasks.grid import Grid, Layout
from patchlake.tasks.plan.products import frames_key
from patchlake.tasks.recipe import Recipe, load, parse

DEMO = """
name: demo
lake: ./lake
corpus: {videos: ./videos, labels: folder}
tracks: frame
clips: [{method: windows, seconds: 2.0, stride_seconds: 2.0}]
frames: {size: [224, 224], fit: crop, fps: native, keep: true}
patches: {size: [8, 32, 32], stride: [8, 32, 32]}
features: [edges, flow, {kind: hf, path: ./models/vit, name: vit}]
units: {slot_frames: 512, slots: 8}
cluster: {kind: local, workers: auto}
reduce: [{kind: pca, feature: flow, components: 16}]
train: {task: classify, model: st_cnn, epochs: 20, test_fraction: 0.25}
schedule: null
"""
SMALL: dict[str, Any] = {"name": "demo", "lake": "lake", "corpus": {"videos": "videos"}}


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def small(**changes: Any) -> Recipe:
    return parse({**SMALL, **changes}, base=Path("/base"))


def message(changes: dict[str, Any]) -> str:
    with pytest.raises(RecipeError) as caught:
        small(**changes)
    return str(caught.value)


def test_the_recipe_of_the_design_loads(tmp_path: Path) -> None:
    recipe = load(write(tmp_path, DEMO))
    assert recipe.name == "demo"
    assert recipe.lake == str(tmp_path / "lake")
    assert recipe.corpus.videos == str(tmp_path / "videos")
    assert recipe.corpus.labels == "folder"
    assert recipe.clips == (Windows(seconds=2.0, stride_seconds=2.0),)
    assert (recipe.frames.size, recipe.frames.fit, recipe.frames.rate, recipe.frames.keep) == (
        (224, 224),
        "crop",
        None,
        True,
    )
    assert recipe.patches.grid == Grid((8, 32, 32), (8, 32, 32))
    assert [(e.kind, e.name) for e in recipe.features] == [
        ("edges", "edges"),
        ("flow", "flow"),
        ("hf", "vit"),
    ]
    assert recipe.features[2].path == str(tmp_path / "models/vit")
    assert recipe.layout == Layout(slot_frames=512, align=8)
    assert recipe.cluster == {"kind": "local", "workers": "auto"}
    assert [(r.kind, r.product, r.components) for r in recipe.reduce] == [("pca", "flow", 16)]
    assert recipe.train is not None
    assert (recipe.train.epochs, recipe.train.test_fraction, recipe.schedule) == (20, 0.25, None)


def test_three_keys_are_enough_and_defaults_are_those_of_the_design() -> None:
    recipe = small()
    assert recipe.frames.size == (224, 224)
    assert (recipe.patches.size, recipe.units.slot_frames, recipe.units.slots) == ((8, 32, 32), 512, 8)
    assert (recipe.features, recipe.reduce, recipe.train, recipe.corpus.labels) == ((), (), None, "none")
    assert recipe.clips == (Windows(seconds=2.0),)


def test_found_boxes_bring_their_feature() -> None:
    recipe = small(tracks={"boxes": "regions"}, features=["edges"])
    assert [entry.name for entry in recipe.features] == ["edges", "regions"]
    assert recipe.tracks != "frame"
    assert (recipe.tracks.boxes, recipe.tracks.are_found, recipe.tracks.product) == ("regions", True, "regions")
    named = small(
        tracks={"boxes": "regions", "product": "moving"}, features=[{"kind": "regions", "name": "moving", "window": 16}]
    )
    assert [entry.name for entry in named.features] == ["moving"]
    assert named.layout.align == 16, "windows start on multiples of it"
    other = small(tracks={"boxes": "./regions"})
    assert other.tracks != "frame"
    assert not other.tracks.are_found, "a file of that name"
    assert other.features == ()


@pytest.mark.parametrize(
    ("short", "kind", "name"),
    [
        ("edges", "edges", "edges"),
        ("hf:google/vit-base", "hf", "vit-base"),
        ({"kind": "flow"}, "flow", "flow"),
        ({"kind": "flow", "name": "slow", "preset": "medium"}, "flow", "slow"),
        ({"kind": "hf", "path": "a/b/"}, "hf", "b"),
    ],
)
def test_short_forms_of_features(short: object, kind: str, name: str) -> None:
    entry = small(features=[short]).features[0]
    assert (entry.kind, entry.name) == (kind, name)


def test_paths_are_relative_to_the_recipe_and_hub_names_and_urls_are_no_paths(tmp_path: Path) -> None:
    (tmp_path / "sub" / "model").mkdir(parents=True)
    features = "[{kind: hf, path: model}, {kind: hf, path: org/name}, {kind: hf, path: ../up, name: up}]"
    text = f"name: a\nlake: s3://bucket/lake\ncorpus: {{videos: ../videos/*.mp4}}\nfeatures: {features}"
    recipe = load(write(tmp_path / "sub", text))
    assert recipe.lake == "s3://bucket/lake"
    assert recipe.corpus.videos == str(tmp_path / "videos/*.mp4")
    assert [e.path for e in recipe.features] == [
        str(tmp_path / "sub/model"),
        "org/name",
        str(tmp_path / "up"),
    ]
    absolute = load(write(tmp_path, "name: a\nlake: /x/lake\ncorpus: {videos: ~/videos}"))
    assert (absolute.lake, absolute.corpus.videos) == ("/x/lake", os.path.expanduser("~/videos"))


def test_paths_do_not_depend_on_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(write(tmp_path, DEMO))
    monkeypatch.chdir(tmp_path)
    assert load("recipe.yaml") == first


def test_overrides_are_yaml_and_come_last(tmp_path: Path) -> None:
    overrides = [
        "frames.size=[64, 48]", "name=other", "train=null", "units.slots=3", "clips=[{seconds: 0.5}]",
        "grid_align=16", "frames.fps=12.5", "lake=./elsewhere", "units.slots=4", "schedule=0 3 * * *",
    ]  # fmt: skip
    recipe = load(write(tmp_path, DEMO), overrides)
    assert recipe.frames.size == (64, 48)
    assert recipe.frames.fit == "crop"
    assert (recipe.name, recipe.train, recipe.units.slots) == ("other", None, 4)
    assert recipe.clips == (Windows(seconds=0.5),)
    assert recipe.layout.align == 16
    assert recipe.frames.rate == Fraction(25, 2)
    assert recipe.lake == str(tmp_path / "elsewhere")
    assert recipe.schedule == "0 3 * * *"
    assert load(write(tmp_path, yaml.safe_dump(SMALL)), ["train.epochs=3"]).train.epochs == 3


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("frames.size", ["--set frames.size", "KEY=VALUE"]),
        ("=3", ["--set =3", "KEY=VALUE"]),
        ("name.x=3", ["--set name.x=3", "name is 'demo'", "mapping"]),
        ("frames.size=[1,", ["--set frames.size=[1,", "not YAML"]),
        ("frames.sise=[8,8]", ["frames.sise", "[8, 8]", "did you mean size?"]),
        ("units.slots=many", ["units.slots", "'many'", "integer"]),
        ("lake=", ["lake: missing"]),
    ],
)
def test_bad_overrides_are_named(tmp_path: Path, override: str, parts: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        load(write(tmp_path, DEMO), [override])
    assert [part for part in parts if part not in str(caught.value)] == []


BAD: list[tuple[dict[str, Any], list[str]]] = [
    # unknown keys
    ({"freames": {}}, ["freames: unknown key", "{}", "did you mean frames?", "patches"]),
    ({"zzz": 7}, ["zzz: unknown key, got 7", "expected one of: ", "corpus"]),
    ({"frames": {"sizes": [8, 8]}},
     ["frames.sizes: unknown key, got [8, 8]", "did you mean size?", "fit, fps, keep, size"]),
    ({"corpus": {"videos": "v", "label": "folder"}},
     ["corpus.label: unknown key", "'folder'", "did you mean labels?"]),
    ({"patches": {"sizes": 1}}, ["patches.sizes: unknown key", "did you mean size?"]),
    ({"units": {"slot": 1}}, ["units.slot: unknown key", "did you mean slots?"]),
    ({"clips": [{"seconds": 1.0, "stride": 2}]},
     ["clips[0].stride: unknown key, got 2", "stride_seconds", "tail"]),
    ({"features": [{"kind": "edges", "cany": [1, 2]}]},
     ["features[0].cany: unknown key", "did you mean canny?"]),
    ({"features": ["flow", {"kind": "flow", "name": "b", "presets": 1}]},
     ["features[1].presets", "did you mean preset?"]),
    ({"features": [{"kind": "regions", "join": "features"}]}, ["features[0]", "feature: got none", "join: features"]),
    ({"features": [{"kind": "regions", "feature": "hog"}]}, ["feature: got hog with join color", "none otherwise"]),
    ({"features": [{"kind": "regions", "smooth": 4}]}, ["smooth: got 4", "odd"]),
    ({"features": [{"kind": "regions", "min_area": 0.5}]}, ["max_area: got 0.4", "more than min_area = 0.5"]),
    ({"features": [{"kind": "regions", "least_motion": 1}]}, ["least_motion: got one with join color"]),
    ({"features": [{"kind": "regions", "window": 7}], "grid_align": 8},
     ["features.regions.window: got 7", "a divisor of grid_align = 8"]),
    ({"tracks": {"boxes": "regions", "product": "edges"}, "features": ["edges", "regions"]},
     ["tracks.product: got 'edges'", "the name of a regions feature"]),
    ({"tracks": {"boxes": "boxes.csv", "most": 3}}, ["most: got one with boxes", "it belongs to boxes regions"]),
    ({"features": ["edges", "regions"], "reduce": [{"kind": "pca", "feature": "regions", "components": 1}]},
     ["reduce[0].product: got 'regions'", "one of: edges"]),
    ({"features": ["edges", "regions"], "clips": [{"method": "scores", "product": "regions", "find": "threshold",
      "above": 1}]}, ["clips[0].product: got 'regions'", "one of: edges"]),
    ({"features": [{"kind": "hf", "path": "p", "evry": 2}]}, ["features[0].evry", "did you mean every?"]),
    ({"features": ["flow"], "reduce": [{"kind": "pca", "feature": "flow", "component": 3}]},
     ["reduce[0].component: unknown key, got 3", "did you mean components?"]),
    ({"train": {"epoch": 3}}, ["train.epoch: unknown key, got 3", "did you mean epochs?"]),
    # wrong types and values
    ({"name": 3}, ["name: got 3", "string"]),
    ({"name": "a/b"}, ["name: got 'a/b'", "pattern"]),
    ({"name": ""}, ["name: got ''", "pattern"]),
    ({"lake": 5}, ["lake: got 5", "string"]),
    ({"corpus": "videos"}, ["corpus: got 'videos'", "Corpus"]),
    ({"corpus": {"videos": "v", "labels": "parent"}},
     ["corpus.labels: got 'parent'", "'folder', 'column' or 'none'"]),
    ({"frames": {"size": 224}}, ["frames.size: got 224", "tuple"]),
    ({"frames": {"size": [0, 8]}}, ["frames.size[0]: got 0", "greater than or equal to 1"]),
    ({"frames": {"size": [8, 8, 8]}}, ["frames.size", "[8, 8, 8]", "2 items"]),
    ({"frames": {"fit": "pad"}}, ["frames.fit: got 'pad'", "'crop', 'letterbox' or 'stretch'"]),
    ({"frames": {"fps": "fast"}}, ["frames.fps: got 'fast'", "'native'", "number"]),
    ({"frames": {"fps": 0}}, ["frames.fps: got 0", "greater than"]),
    ({"frames": {"fps": 1e-9}}, ["frames.fps: got 1e-09", "greater than"]),
    ({"frames": {"fps": float("nan")}}, ["frames.fps: got nan"]),
    ({"frames": {"fps": float("inf")}}, ["frames.fps: got inf"]),
    ({"frames": {"keep": "perhaps"}}, ["frames.keep: got 'perhaps'", "boolean"]),
    ({"clips": [{"seconds": -1}]}, ["clips[0].seconds: got -1", "greater than 0"]),
    ({"clips": [{"seconds": "2 s"}]}, ["clips[0].seconds: got '2 s'", "number"]),
    ({"clips": [{"method": "shots", "seconds": 1}]}, ["clips[0].seconds: unknown key, got 1"]),
    ({"clips": [{"method": "shouts"}]}, ["clips[0]: got", "'shouts'", "'windows', 'events', 'shots', 'scores'"]),
    ({"clips": []}, ["clips: got none, expected at least one entry"]),
    ({"clips": [{"method": "shots", "product": "flow"}], "features": ["flow"]}, ["clips[0].product: got 'flow'"]),
    (
        {"clips": [{"method": "scores", "product": "edges", "find": "threshold", "above": 1}]},
        ["clips[0].product: got 'edges', expected one of: none"],
    ),
    ({"tracks": {"box": "x.csv"}}, ["tracks.boxes: missing", "tracks.box: unknown key"]),
    ({"limits": {"max_pixels": 0}}, ["limits.max_pixels: got 0"]),
    ({"tracks": "boxes"}, ["tracks: got 'boxes'", "'frame'"]),
    ({"features": "flow"}, ["features: got 'flow'", "tuple"]),
    ({"features": ["flwo"]}, ["features[0]: got", "'flwo'", "'shot_score', 'hf', 'hf_clip'"]),
    ({"features": [{"name": "x"}]}, ["features[0]: got", "kind"]),
    ({"features": [{"kind": "flow", "preset": "slow"}]},
     ["features[0].preset: got 'slow'", "'ultrafast', 'fast' or 'medium'"]),
    ({"features": ["hf:"]}, ["features[0].path: got ''", "at least 1 character"]),
    ({"features": [{"kind": "hf", "path": "p", "every": 0}]},
     ["features[0].every: got 0", "greater than or equal to 1"]),
    ({"features": ["flow"], "reduce": [{"kind": "pca", "feature": "flow", "components": 0}]},
     ["reduce[0].components: got 0"]),
    ({"train": {"test_fraction": 1.5}}, ["train.test_fraction: got 1.5", "less than 1"]),
    ({"units": {"slots": 0}}, ["units.slots: got 0"]),
    # missing
    ({"corpus": {}}, ["corpus.videos: missing"]),
    ({"corpus": None}, ["corpus: got None"]),
    ({"clips": [{"method": "windows"}]}, ["clips[0].seconds: missing"]),
    ({"features": [{"kind": "hf"}]}, ["features[0].path: missing"]),
    ({"reduce": [{"kind": "pca"}]}, ["reduce[0].product: missing"]),
    # parts that do not fit together
    ({"frames": {"size": [24, 64]}}, ["patches.size[1]: got 32", "at most 24", "height", "frames.size"]),
    ({"frames": {"size": [64, 24]}}, ["patches.size[2]: got 32", "at most 24", "width", "frames.size"]),
    ({"patches": {"size": [600, 8, 8], "stride": [8, 8, 8]}},
     ["patches.size[0]: got 600", "slot_frames = 512"]),
    ({"patches": {"size": [6, 8, 8]}}, ["patches.stride[0]: got 6", "slot_frames = 512", "multiple of 24"]),
    ({"features": [{"kind": "hf", "path": "p", "every": 5}]},
     ["features.p.every", "got", "slot_frames = 512", "multiple of 40"]),
    ({"grid_align": 12}, ["patches.stride[0]: got 8", "divisor of grid_align = 12"]),
    ({"grid_align": 8, "features": [{"kind": "hf", "path": "p", "every": 16}]},
     ["features.p.every: got 16", "grid_align = 8"]),
    ({"features": ["flow"], "reduce": [{"kind": "pca", "feature": "flw"}]},
     ["reduce[0].product: got 'flw'", "one of: flow"]),
    ({"reduce": [{"kind": "pca", "feature": "flow"}]}, ["reduce[0].product: got 'flow'", "one of: none"]),
    ({"features": ["flow"], "reduce": [{"kind": "pca", "feature": "flow"}] * 2}, ["reduce[1]", "pca-flow"]),
    ({"features": ["flow", "flow"]}, ["features", "'flow'", "name:"]),
    ({"features": ["flow", {"kind": "edges", "name": "flow"}]}, ["features", "'flow'", "name:"]),
    ({"features": [{"kind": "flow", "name": "pixels"}]}, ["features", "'pixels'", "name:"]),
    ({"features": [{"kind": "flow", "name": "Pixels"}]}, ["features", "'Pixels' is taken", "'pixels'", "name:"]),
    ({"features": [{"kind": "flow", "name": "zarr.json"}]}, ["features", "'zarr.json' is taken", "name:"]),
    ({"features": ["edges", {"kind": "flow", "name": "Edges"}]}, ["features", "'Edges' is taken", "'edges'", "name:"]),
    ({"features": [{"kind": "flwo"}]}, ["features[0]: got kind 'flwo'; did you mean flow? expected one of: 'edges'"]),
    ({"features": [{"kind": "regions", "join": "features", "feature": "hgo"}]},
     ["features[0].feature: got kind 'hgo'; did you mean hog? expected one of: 'edges', 'corners', 'hog', 'color'"]),
    ({"frames": {"filters": ["denoice"]}}, ["frames.filters[0]: got kind 'denoice'; did you mean denoise?"]),
    ({"frames": {"filters": [{"kind": "blur", "faces": "lbp", "marign": 1}]}},
     ["frames.filters[0].marign: unknown key, got 1; did you mean margin?"]),
    ({"clips": ["shot"]}, ["clips[0]: got method 'shot'; did you mean shots?"]),
    ({"frames": {"keep": False}}, ["frames.keep: got false", "add a feature"]),
    ({"frames": {"keep": False}, "features": ["flow"], "train": {}},
     ["frames.keep: got false, expected true", "train"]),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "parts"), BAD, ids=[str(changes)[:60] for changes, _ in BAD])
def test_what_is_wrong_is_said_by_key(changes: dict[str, Any], parts: list[str]) -> None:
    text = message(changes)
    assert [part for part in parts if part not in text] == [], text


def test_everything_that_is_wrong_is_said_at_once() -> None:
    text = message({"name": 3, "frames": {"fit": "pad"}, "units": {"slots": 0}})
    assert [key for key in ("name:", "frames.fit:", "units.slots:") if key not in text] == []


@pytest.mark.parametrize("missing", ["name", "lake", "corpus"])
def test_required_keys_are_named(missing: str) -> None:
    data = {key: value for key, value in SMALL.items() if key != missing}
    with pytest.raises(RecipeError, match=rf"{missing}: missing; expected a value"):
        parse(data, base=Path("/base"))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("name: [unclosed", ["is not YAML"]),
        ("- a\n- b", ["got list", "expected a mapping"]),
        ("just words", ["got str", "expected a mapping"]),
        ("", ["got NoneType", "expected a mapping"]),
        ("a: !!python/object/apply:os.getcwd []", ["is not YAML"]),
    ],
)
def test_files_that_are_no_recipe(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(RecipeError) as caught:
        load(path)
    assert [part for part in [str(path), *parts] if part not in str(caught.value)] == []


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    for path, part in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(RecipeError, match=part) as caught:
            load(path)
        assert str(path) in str(caught.value)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00name: x")
    with pytest.raises(RecipeError, match="not YAML"):
        load(binary)
    assert issubclass(RecipeError, PatchlakeError)


@pytest.mark.parametrize(
    ("patch_stride", "every", "slot_frames", "align"),
    [(8, 1, 512, 8), (4, 1, 512, 8), (16, 32, 512, 32), (3, 2, 480, 24), (10, 4, 400, 40)],
)
def test_align_is_the_common_multiple_of_time_strides_and_eight(
    patch_stride: int, every: int, slot_frames: int, align: int
) -> None:
    recipe = small(
        patches={"size": [8, 8, 8], "stride": [patch_stride, 8, 8]},
        features=[{"kind": "hf", "path": "p", "every": every}],
        units={"slot_frames": slot_frames},
    )
    assert recipe.layout == Layout(slot_frames, align)


def test_numeric_rates_are_exact() -> None:
    for fps, rate in ((25, "25"), (12.5, "25/2"), (0.1, "1/10"), (29.97, "2997/100"), (23.976, "2997/125")):
        assert small(frames={"fps": fps}).frames.rate == Fraction(rate)


def test_what_decides_bytes_is_in_the_frames_key_and_nothing_else() -> None:
    first = frames_key(small())
    assert frames_key(small(frames={"keep": True})) == first
    assert frames_key(small(patches={"chunk": "patch"})) == first
    for change in ({"size": [64, 64]}, {"fit": "stretch"}, {"fps": 10}):
        assert frames_key(small(frames=change)) != first


def test_a_recipe_can_not_be_changed() -> None:
    with pytest.raises(ValidationError):
        small().name = "other"


def test_a_kind_of_cluster_can_be_named_and_set(tmp_path: Path) -> None:
    """Another kind has other keys, so naming it drops those of the recipe's; the same kind keeps them."""
    path = write(tmp_path, DEMO)
    assert load(path, ["cluster=local"]).cluster == {"kind": "local", "workers": "auto"}
    assert load(path, ["cluster=slurm", "cluster.workers=3"]).cluster == {"kind": "slurm", "workers": 3}
    assert small(cluster="slurm").cluster == {"kind": "slurm"}


def test_a_recipe_is_parsed_without_the_libraries_that_its_extractors_need(tmp_path: Path) -> None:
    """`patchlake --help`, `plan` of a wrong recipe and completion should not wait for torch."""
    recipe = {**SMALL, "features": ["regions", "hf:a/b", {"kind": "hf_clip", "path": "c/d"}], "clips": ["shots"]}
    path = write(tmp_path, yaml.safe_dump({**recipe, "reduce": [{"kind": "pca", "feature": "b"}], "train": {}}))
    heavy = ("torch", "transformers", "scipy", "sklearn", "skimage", "matplotlib", "ruptures")
    program = f"""
import sys
from patchlake.tasks.recipe import load
print([entry.name for entry in load({str(path)!r}).features], [name for name in {heavy} if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert found == "['regions', 'b', 'd', 'shot_score'] []\n"
