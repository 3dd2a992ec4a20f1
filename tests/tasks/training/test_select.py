"""Which clips of a lake are learned from, and which judge."""

from __future__ import annotations

from pathlib import Path

from in_process import ingest
from tiny_lakes import TINY, videos_in

from patchlake.tasks.objectives import TrainOptions
from patchlake.tasks.training.select import train_job


def test_sources_for_validation_are_neither_learned_from_nor_tested_on(tmp_path: Path) -> None:
    videos_in(tmp_path, {"a.mp4": 16, "b.mp4": 24, "c.mp4": 32})
    (tmp_path / "list.csv").write_text(
        "uri,label,split\nvideos/a.mp4,x,train\nvideos/b.mp4,y,validation\nvideos/c.mp4,x,test\n"
    )
    changes = {"corpus": {"videos": "list.csv", "labels": "column"}, "clips": [{"seconds": 8.0}]}
    recipe = {**TINY, **changes, "train": {"task": "classify", "model": "st_cnn"}}
    lake = ingest(tmp_path, recipe)
    options = lake.dataset.recipe.train
    assert isinstance(options, TrainOptions)
    job = train_job(lake.lake, lake.tables, options)
    assert [(clip.row_stop - clip.row_start, clip.test) for clip in job.clips] == [(16, False), (32, True)]
    assert list(job.outputs) == ["x"]
