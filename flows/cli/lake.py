"""The verbs about a lake as it is: digest, verify."""

from __future__ import annotations

import typer

from patchlake.flows.cli.options import Lake

app = typer.Typer()


@app.command(epilog="Example: patchlake digest ./lake/demo")
def digest(lake: Lake) -> None:
    """Print a hash of a lake's content, and one of its layout."""
    from patchlake.tasks.lake import arrays, digest

    found = digest.digest(arrays.existing_lake(lake))
    for part in ("version", "content", "layout"):
        print(f"{part}  {getattr(found, part)}")
    print(f"digest  {found.total}")


@app.command(epilog="Example: patchlake verify ./lake/demo")
def verify(lake: Lake) -> int:
    """Check every committed row against its checksum."""
    from patchlake.tasks.lake.arrays import existing_lake
    from patchlake.tasks.lake.verify import verify

    wrong = list(verify(existing_lake(lake)))
    print("\n".join(wrong) if wrong else "every committed row is as it was committed")
    return 1 if wrong else 0
