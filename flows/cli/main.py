"""The command: its verbs put together. A new verb is one file beside this one, and one line in GROUPS."""

from __future__ import annotations

import atexit
import os
import sys
from typing import Annotated, Any

import typer

from patchlake.flows.cli import control, corpus, errors, lake, plugins, programs, run
from patchlake.flows.control import exit

GROUPS = (run, control, lake, corpus, programs)
"""Modules with an `app` of verbs, in the order in which --help lists them."""


class Verbs(plugins.VerbsWithPlugins):
    """Our verbs and those of other packages; every error becomes a sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Do the verb and leave with its exit code."""
        exit.leave(errors.code_of(lambda: super(Verbs, self).invoke(ctx)))


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain text: quick to print, and it can be searched
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: patchlake demo ./videos, a recipe (see README.md), and patchlake run recipe.yaml",
    subcommand_metavar="VERB ...",
)
for group in GROUPS:
    app.add_typer(group.app)


def _print_version(wanted: bool) -> None:
    if wanted:
        import patchlake

        print(f"patchlake {patchlake.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help=f"Show tracebacks ({errors.DEBUG}=1 does, too).")] = False,
) -> None:
    """Video corpora to labelled Zarr lakes of spacetime patches and features."""


def main(argv: list[str] | None = None) -> None:
    """Run a verb and exit: 0 done, 1 failed, 2 bad recipe or usage or nothing discovered, 130 stopped."""
    if argv is None:
        atexit.register(exit.end)  # registered before anything else, it is called after everything else
    words = sys.argv[1:] if argv is None else argv
    with exit.noted():
        typer.main.get_command(app).main(args=_without_debug(words), prog_name="patchlake")


def _without_debug(words: list[str]) -> list[str]:
    """Remove --debug wherever it is: people add it at the end of the command that failed."""
    if "--debug" not in words:
        return words
    os.environ[errors.DEBUG] = "1"
    return [word for word in words if word != "--debug"]
