"""Kinds of clusters that come by an entry point of another package."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchlake.cluster.kinds.registry import KINDS
from patchlake.flows.session import cluster_spec
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
