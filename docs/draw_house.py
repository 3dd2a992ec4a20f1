"""Draw docs/house.svg: the folders as they are, by the ladders that import-linter holds (pyproject.toml).

python docs/draw_house.py            writes the picture
python docs/draw_house.py --check    says whether it is as the folders are
"""

from __future__ import annotations

import ast
import html
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "house.svg"
WIDTH, MARGIN, GAP, HEIGHT = 1240, 14, 8, 40
MOST_IN_A_ROW = {"flows": 9, "tasks": 10, "cluster": 3}
COLOURS = {"flows": "#eef3fb", "tasks": "#fdf3e4", "cluster": "#e9f6ec"}
HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
    'font-family="Helvetica, Arial, sans-serif" font-size="13">\n'
    "<style>.b{{fill:#fff;stroke:#445}}.t{{text-anchor:middle}}.s{{font-size:10px;fill:#556}}</style>\n"
)


def ladder(top: str) -> list[list[str]]:
    """Return the folders and modules of flows, tasks or cluster, the highest level first, as import-linter has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract.get("containers") == [f"patchlake.{top}"]]
    levels = [[name.strip("() ") for name in re.split(r"[:|]", layer)] for layer in layers]
    there = [[name for name in level if place_of(top, name) is not None and name != "__main__"] for level in levels]
    most = MOST_IN_A_ROW[top]
    return [level[i : i + most] for level in there for i in range(0, len(level), most)]


def place_of(top: str, name: str) -> Path | None:
    """Return the folder or the module of that name, if there is one."""
    folder = ROOT / top / name
    return next((path for path in (folder, folder.with_suffix(".py")) if path.exists()), None)


def what_of(place: Path) -> tuple[str, str]:
    """Return a place's size and the first sentence of its docstring."""
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    door = place / "__init__.py" if place.is_dir() else place
    text = " ".join((ast.get_docstring(ast.parse(door.read_text())) or "").split())
    size = f"{len(files)} files" if place.is_dir() else "module"
    return size, re.split(r"(?<=[a-z)])[.:;] ", text.rstrip(".") + " ")[0].strip().rstrip(".")


def row(top: str, names: list[str], y: float, x: float, width: float) -> str:
    """Draw boxes beside each other; each says its full sentence when it is pointed at."""
    each = (width - GAP * (len(names) - 1)) / len(names)
    drawn = []
    for i, name in enumerate(names):
        place = place_of(top, name)
        assert place is not None, name
        size, what = what_of(place)
        left = x + i * (each + GAP)
        middle = left + each / 2
        drawn.append(
            f'<g><title>{html.escape(what)}</title><rect class="b" rx="5" x="{left:.1f}" y="{y}" width="{each:.1f}" '
            f'height="{HEIGHT}"/><text class="t" x="{middle:.1f}" y="{y + 17}">{name}</text>'
            f'<text class="t s" x="{middle:.1f}" y="{y + 32}">{size}</text></g>'
        )
    return "\n".join(drawn)


def band(top: str, title: str, levels: list[list[str]], y: float, x: float, width: float) -> tuple[str, float]:
    """Draw one of the three folders, a row for each level; return the drawing and where it ends."""
    height = 34 + len(levels) * (HEIGHT + GAP) + MARGIN - GAP
    parts = [
        f'<rect rx="10" x="{x}" y="{y}" width="{width}" height="{height}" fill="{COLOURS[top]}"/>',
        f'<text x="{x + MARGIN}" y="{y + 22}"><tspan font-weight="bold">{top}/</tspan> {html.escape(title)}</text>',
    ]
    for i, names in enumerate(levels):
        parts.append(row(top, names, y + 34 + i * (HEIGHT + GAP), x + MARGIN, width - 2 * MARGIN))
    return "\n".join(parts), y + height


def drawing() -> str:
    """Return the picture."""
    whole = WIDTH - 2 * MARGIN
    flows, y = band(
        "flows", "what runs in which order: Prefect, the command line", ladder("flows"), MARGIN, MARGIN, whole
    )
    below = y + MARGIN
    left = whole * 0.68
    tasks, y_tasks = band(
        "tasks", "the work: each level imports only those below it", ladder("tasks"), below, MARGIN, left
    )
    x = MARGIN + left + MARGIN
    cluster, y_cluster = band("cluster", "where work runs: Dask", ladder("cluster"), below, x, whole - left - MARGIN)
    height = max(y_tasks, y_cluster) + MARGIN
    return "\n".join([HEAD.format(width=WIDTH, height=height), flows, tasks, cluster, "</svg>\n"])


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if PICTURE.exists() and PICTURE.read_text() == drawing() else f"{PICTURE}: run python {__file__}")
    PICTURE.write_text(drawing())
