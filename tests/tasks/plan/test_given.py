"""What files of boxes and events say of sources: read once a file, matched by name, counted where they match none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from in_process import BASE

from patchlake.tasks import recipe as recipes
from patchlake.tasks.errors import RecipeError
from patchlake.tasks.plan.given import Given, read_given
from patchlake.tasks.types import Annotation, BoxPath, Source

A, B = "/videos/left/a.mp4", "/videos/right/b.mp4"
SOURCES = [Source(uri=uri, size=1, version="1") for uri in (A, B)]


def given(folder: Path, **changes: Any) -> Given:
    recipe = recipes.parse({**BASE, "corpus": {"videos": "videos"}, **changes}, base=folder)
    return read_given(recipe, SOURCES)


def test_a_recipe_without_files_is_given_nothing(tmp_path: Path) -> None:
    assert given(tmp_path) == Given(boxes={}, events={}, hidden={}, unmatched={})


def test_boxes_go_to_the_source_of_their_name_and_those_of_none_are_counted(tmp_path: Path) -> None:
    text = (
        "uri,x,y,width,height,track\na.mp4,0,0,8,8,one\nright/b.mp4,1,2,3,4,two\nz.mp4,0,0,1,1,x\na.mp4,4,4,8,8,three\n"
    )
    (tmp_path / "boxes.csv").write_text(text)
    found = given(tmp_path, tracks={"boxes": "boxes.csv"})
    assert found.boxes == {
        A: [BoxPath(name="one", boxes=((0, 0, 8, 8),)), BoxPath(name="three", boxes=((4, 4, 8, 8),))],
        B: [BoxPath(name="two", boxes=((1, 2, 3, 4),))],
    }
    assert found.unmatched == {str(tmp_path / "boxes.csv"): 1}


def test_each_file_of_events_is_read_for_itself(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("uri,start,stop,label\na.mp4,0,1,jump\n")
    (tmp_path / "two.csv").write_text("uri,start,stop,label\nb.mp4,2,3,run\nx.mp4,2,3,run\ny.mp4,2,3,run\n")
    methods = [{"method": "events", "file": name} for name in ("one.csv", "two.csv", "one.csv")]
    found = given(tmp_path, clips=[*methods, {"seconds": 1.0}])
    one, two = (str(tmp_path / name) for name in ("one.csv", "two.csv"))
    assert found.events == {
        one: {A: [Annotation(start_seconds=0.0, stop_seconds=1.0, label="jump")]},
        two: {B: [Annotation(start_seconds=2.0, stop_seconds=3.0, label="run")]},
    }
    assert found.unmatched == {one: 0, two: 2}


def test_what_is_hidden_stands_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "faces.csv").write_text("uri,x,y,width,height\na.mp4,0,0,8,8\n")
    found = given(tmp_path, frames={"size": [48, 64], "filters": [{"kind": "blur", "boxes": "faces.csv"}]})
    assert found.hidden == {A: [(str(tmp_path / "faces.csv"), BoxPath(name="box", boxes=((0, 0, 8, 8),)))]}
    assert found.boxes == {}


def test_a_file_that_matches_no_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("uri,x,y,width,height\nz.mp4,0,0,8,8\n")
    with pytest.raises(RecipeError, match="none of its 1 videos"):
        given(tmp_path, tracks={"boxes": "boxes.csv"})
