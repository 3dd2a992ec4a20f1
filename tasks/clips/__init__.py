"""Clip methods: which time ranges of a track become clips. To add a method: one file, and a line in `CLIPS`."""

from __future__ import annotations

from typing import Annotated

from patchlake.tasks.clips.method import ClipMethod
from patchlake.tasks.strict import Family

CLIPS = Family(
    "clips",
    {
        "windows": ".windows:Windows",
        "events": ".events:Events",
        "shots": ".shots:Shots",
        "scores": ".scores:Scores",
    },
    options=ClipMethod,
    package=__name__,
    key="method",
    default="windows",
)
"""Method -> its class."""

Method = Annotated[ClipMethod, CLIPS]
"""One entry of a recipe's `clips`."""

__all__ = ["CLIPS", "ClipMethod", "Method"]
