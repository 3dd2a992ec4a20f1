"""Verbs of other packages: entry points of the group `patchlake.verbs`.

In the other package's pyproject.toml, where `count` is a function with typer's annotations, or a `typer.Typer`:

    [project.entry-points."patchlake.verbs"]
    count = "their_package.count:count"
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from patchlake.tasks.errors import PatchlakeError

ENTRY_POINTS = "patchlake.verbs"


class VerbsWithPlugins(TyperGroup):
    """A group of verbs that looks for a verb it does not have among the entry points; ours go first."""

    def list_commands(self, ctx: Any) -> list[str]:
        """List our verbs, then those of other packages."""
        return list(dict.fromkeys([*super().list_commands(ctx), *sorted(_entry_points())]))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a verb, or None if there is none; other packages are imported only here."""
        found = super().get_command(ctx, cmd_name)
        if found is None and cmd_name in (points := _entry_points()):
            found = _command(points[cmd_name])
            self.add_command(found, cmd_name)
        return found


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}


def _command(point: importlib.metadata.EntryPoint) -> Any:
    """Return the command that an entry point names; one that can't be loaded says so when it is used, and in --help."""
    options: dict[str, Any] = {}
    try:
        loaded = point.load()
        if not callable(loaded):
            raise TypeError(f"got {loaded!r}, expected a function or a typer.Typer")
    except Exception as error:
        why = f"{type(error).__name__}: {error}. Repair or uninstall the package it comes from"
        loaded = _broken(f"the verb {point.name!r} of {ENTRY_POINTS} can't be loaded from {point.value}: {why}")
        options = {"ignore_unknown_options": True, "allow_extra_args": True}
    if isinstance(loaded, typer.Typer):
        app = loaded
    else:
        app = typer.Typer(rich_markup_mode=None, add_completion=False)
        app.command(context_settings=options)(loaded)
    command = typer.main.get_command(app)
    command.name = point.name
    return command


def _broken(message: str) -> Callable[[], None]:
    def broken() -> None:
        """Can't be loaded: run it to see why."""
        raise PatchlakeError(message)

    return broken
