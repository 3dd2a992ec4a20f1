"""Kinds of clusters that come by an entry point of another package; a cluster's local paths in a recipe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from patchlake.cluster.kinds.registry import KINDS
from patchlake.flows.load import cluster_spec, load_recipe
from patchlake.tasks import recipe as recipes
from patchlake.tasks.errors import RecipeError

MODULE = """
from typing import Literal
from patchlake.cluster.kinds.local import LocalSpec

class HomeSpec(LocalSpec):
    kind: Literal["home"] = "home"
    rooms: int = 1
"""


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with the entry point, as pip leaves it."""
    (tmp_path / "home_clusters.py").write_text(MODULE)
    folder = tmp_path / "home_clusters-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: home-clusters\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[patchlake.clusters]\nhome = home_clusters:HomeSpec\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(KINDS, "home", raising=False)


def recipe(cluster: object) -> recipes.Recipe:
    data = {"name": "a", "lake": "lake", "corpus": {"videos": "videos"}, "cluster": cluster}
    return recipes.parse(data, base=Path("/"))


def test_an_entry_point_is_a_kind() -> None:
    spec = cluster_spec(recipe({"kind": "home", "rooms": 3}))
    assert type(spec).__name__ == "HomeSpec"
    assert spec.model_dump()["rooms"] == 3


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        ("hmoe", r"cluster\.kind: unknown kind, got 'hmoe'; did you mean home\? expected one of: .*home"),
        ({"kind": "home", "room": 3}, r"cluster\.room: unknown key, got 3; did you mean rooms\? expected one of: "),
    ],
)
def test_its_words_are_among_the_hints(cluster: object, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        cluster_spec(recipe(cluster))


@pytest.mark.parametrize(
    ("given", "loaded"),
    [
        (
            {"kind": "address", "scheduler_file": "run/s.json", "tls": {"ca": "a", "cert": "/b", "key": "c"}},
            {"kind": "address", "scheduler_file": "BASE/run/s.json"}
            | {"tls": {"ca": "BASE/a", "cert": "/b", "key": "BASE/c"}},
        ),
        ({"kind": "local", "tls": True}, {"kind": "local", "tls": True}),
        ({"workers": 2, "tls": "certificates"}, {"workers": 2, "tls": "BASE/certificates"}),
        ("slurm", {"kind": "slurm"}),
    ],
)  # fmt: skip
def test_files_of_a_cluster_are_relative_to_the_recipe(tmp_path: Path, given: object, loaded: object) -> None:
    """What a recipe leaves out stays out, so that a lake records what its user wrote."""
    data = {"name": "a", "lake": "lake", "corpus": {"videos": "videos"}, "cluster": given}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(data))
    text = json.dumps(load_recipe(tmp_path / "recipe.yaml").cluster).replace(str(tmp_path), "BASE")
    assert json.loads(text) == loaded


def test_a_cluster_is_checked_when_its_recipe_is_loaded(tmp_path: Path) -> None:
    data = {"name": "a", "lake": "lake", "corpus": {"videos": "videos"}, "cluster": {"wrokers": 2}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(RecipeError, match=r"cluster\.wrokers: unknown key, got 2; did you mean workers\?"):
        load_recipe(tmp_path / "recipe.yaml")
