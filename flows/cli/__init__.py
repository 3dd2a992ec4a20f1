"""The command line: `patchlake VERB ...`."""

from patchlake.flows.cli.main import main

__all__ = ["main"]
