"""A session's plain parts: the clock of stages, the lake's lock, a recipe's checks; nothing is started."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from in_process import open_dataset
from tiny_lakes import TINY, videos_in

from patchlake.cluster.connect import Cluster
from patchlake.cluster.kinds.local import LocalSpec
from patchlake.flows.session import Session, SessionOptions, check, check_lake, current, on_cluster
from patchlake.tasks.errors import LakeError, RecipeError
from patchlake.tasks.lake import arrays
from patchlake.tasks.lake.lock import LockedError, owners
from patchlake.tasks.plan.dataset import lake_of
from patchlake.tasks.plan.deferred import Workers

GPU_ONLY = """
import numpy as np

class Far:
    version, channels, dtype, context_frames, needs_gpu = 1, ("mean",), "float32", (0, 0), True
    time_size = time_stride = 1
    centres, digest_parts, attrs = ((16.0,), (16.0,)), {}, {}

    def __init__(self, patches, frame_size):
        pass

    def __call__(self, frames):
        return frames.mean(axis=(1, 2, 3), dtype=np.float32)[:, None, None, None]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return videos_in(tmp_path, {"left/a.mp4": 20})


def session_of(folder: Path, *, gpus: int = 0, workers: int = 3, **changes: Any) -> Session:
    return Session(
        open_dataset(folder, {**TINY, **changes}),
        Cluster(LocalSpec(workers=workers, gpus=gpus)),
        SessionOptions(run_id="run7"),
    )


def fail_after(seconds: float) -> None:
    time.sleep(seconds)
    raise ValueError("not today")


def test_stages_of_one_name_add_up_and_are_timed_though_they_fail(folder: Path) -> None:
    session = session_of(folder)
    with session.stage("plan"):
        time.sleep(0.05)
    first = session.figures.seconds["plan"]
    with pytest.raises(ValueError, match="not today"), session.stage("plan"):
        fail_after(0.05)
    assert 0.05 <= first < session.figures.seconds["plan"] - 0.05 + 1e-3
    assert list(session.figures.seconds) == ["plan"]


def test_a_session_knows_its_run_and_what_was_checked(folder: Path) -> None:
    session = session_of(folder)
    assert (session.run_id, session.is_checked) == ("run7", False)
    session.note_checked()
    assert session.is_checked
    other = Session(session.dataset, session.cluster)
    assert other.run_id != Session(session.dataset, session.cluster).run_id, "by default a new one"
    newer = session.dataset.reread()
    session.use(newer)
    assert session.dataset is newer


def test_gpus_are_counted_only_where_a_product_takes_one(folder: Path) -> None:
    plain = session_of(folder, gpus=2)
    assert plain.workers == Workers(total=3, with_gpu=0)
    (folder / "far_away.py").write_text(GPU_ONLY)
    taking = session_of(folder, gpus=2, features=["edges", "far_away:Far"])
    assert taking.workers == Workers(total=3, with_gpu=2)
    assert not plain.cluster.started
    assert not taking.cluster.started


def test_work_on_a_lake_makes_it_owns_it_and_is_the_current_session(folder: Path) -> None:
    dataset = open_dataset(folder, TINY)
    recipe, lake = dataset.recipe.model_copy(update={"name": "new"}), lake_of(dataset.recipe).path.parent / "new"
    cluster = Cluster(LocalSpec(workers=1))
    assert not lake.exists()
    with on_cluster(recipe, cluster, SessionOptions(run_id="run7")) as session:
        assert current() is session
        assert [owner.run_id for owner in owners(session.dataset.lake).values()] == ["run7"]
        assert arrays.root_attrs(session.dataset.lake)["slot_frames"] == 32
        with pytest.raises(LockedError, match="run7"), on_cluster(recipe, cluster, SessionOptions(run_id="run8")):
            raise AssertionError("two at once")
        assert current() is session
        (lake / ".stage").mkdir(exist_ok=True)
    assert owners(lake_of(recipe)) == {}
    assert not (lake / ".stage").exists(), "what dead workers leave goes with the run"
    with pytest.raises(LookupError):
        current()
    assert not cluster.started


def test_a_full_disk_is_said_in_a_sentence_and_other_errors_stay_as_they_are(folder: Path) -> None:
    recipe, cluster = check(written(folder), []), Cluster(LocalSpec(workers=1))
    with pytest.raises(LakeError, match="no room left on the disk"), on_cluster(recipe, cluster):
        raise OSError(28, "No space left on device")
    with pytest.raises(ZeroDivisionError), on_cluster(recipe, cluster):
        raise ZeroDivisionError
    assert owners(lake_of(recipe)) == {}, "it can be run again at once"


def written(folder: Path, **changes: Any) -> str:
    path = folder / "recipe.yaml"
    path.write_text(
        yaml.safe_dump({"name": "x", "lake": "lake", **TINY, "cluster": {"workers": 1, "gpus": 0}, **changes})
    )
    return str(path)


def test_a_recipe_is_checked_without_starting_or_writing_anything(folder: Path) -> None:
    recipe = check(written(folder), ["units.slots=4"])
    assert recipe.units.slots == 4
    assert not (folder / "lake").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"corpus": {"videos": "nowhere"}}, "nowhere"),
        ({"features": ["edgs"]}, "edges"),
        ({"tracks": {"boxes": "boxes.csv"}}, "boxes.csv"),
        ({"cluster": {"kind": "local", "workers": 0}}, "workers"),
    ],
    ids=["corpus", "feature", "boxes", "cluster"],
)
def test_what_cannot_be_run_is_refused_by_name(folder: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        check(written(folder, **changes), [])
    assert not (folder / "lake").exists()


def test_a_product_for_gpus_alone_is_refused_where_there_are_none(folder: Path) -> None:
    (folder / "far_away.py").write_text(GPU_ONLY)
    with pytest.raises(Exception, match=r"(?i)gpu"):
        check(written(folder, features=["far_away:Far"]), [])


def test_a_lake_that_is_not_there_is_refused(folder: Path) -> None:
    recipe = check(written(folder), [])
    with pytest.raises(RecipeError, match="a lake that a run has made"):
        check_lake(recipe)
    open_dataset(folder, TINY)
    check_lake(recipe)
