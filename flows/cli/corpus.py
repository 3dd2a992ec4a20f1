"""The verbs about corpora: demo."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer()


@app.command(epilog="Example: patchlake demo ./videos")
def demo(
    folder: Annotated[str, typer.Argument(help="Where to put the clips.", show_default=False)],
    seed: Annotated[int, typer.Option(help="The same seed gives the same clips.")] = 0,
) -> None:
    """Render the default corpus: clips of moving textures."""
    from pathlib import Path

    from patchlake.tasks.corpus.synthetic import render_corpus

    files = render_corpus(Path(folder), seed=seed)
    print(f"{len(files)} clips in {folder}, listed in manifest.csv")
