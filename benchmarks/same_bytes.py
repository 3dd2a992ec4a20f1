"""The same lakes by two states of the code: values, tables, reductions and metrics are equal, or this ends with 1.

python benchmarks/same_bytes.py [--old 7a3c540] [--only classic boxes] [--folder KEPT] [--jobs 2]

The old state is a git worktree that this makes and removes; both are run by this interpreter, in one go on one machine,
each with a copy of the code in PYTHONPATH. One lake of each is in a real S3 server where radosgw is installed.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import obstore
import yaml
from same_bytes_lakes import make_corpora, recipes  # finds tests/support
from same_lakes import compare

from command_line import answers, free_port, wait_until  # isort: skip

ROOT = Path(__file__).resolve().parents[1]
IN_BUCKET = ("boxes", "training")
"""Lakes that are written to S3."""


@dataclass(frozen=True)
class Code:
    """A state of the code that can be run."""

    name: str
    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def run(self, recipe: Recipe) -> float:
        """Run a recipe by the command line; return the seconds that it took. Raises SystemExit where it fails."""
        path = self.folder / f"{recipe.name}.yaml"
        text = {"name": recipe.name, "lake": recipe.lake(self), **recipe.wanted}
        path.write_text(yaml.safe_dump(text | {"cluster": {"kind": "local", "workers": 2, "dashboard": False}}))
        env = {**os.environ, **recipe.env, **self.env, "PATCHLAKE_HOME": str(self.folder / f"{recipe.name}-home")}
        command = [sys.executable, "-m", "patchlake.flows", "run", str(path)]
        begun = time.monotonic()
        done = subprocess.run(command, env=env, cwd=self.folder, capture_output=True, text=True, timeout=900)
        if done.returncode:
            raise SystemExit(f"{self.name} {recipe.name}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return time.monotonic() - begun


@dataclass(frozen=True)
class Recipe:
    """What is run with both states of the code."""

    name: str
    wanted: dict[str, Any]
    env: dict[str, str]
    """Leads to the S3 server, or is empty."""

    def lake(self, code: Code) -> str:
        """Return where a state of the code writes it."""
        return f"s3://lakes/{code.name}" if self.env else str(code.folder / "lakes")

    def local(self, code: Code) -> Path:
        """Return a folder with the dataset; what lies in a bucket is fetched."""
        folder = code.folder / "lakes" / self.name
        if self.env:
            store = obstore.store.S3Store(
                "lakes", endpoint=self.env["AWS_ENDPOINT_URL"], access_key_id=self.env["AWS_ACCESS_KEY_ID"],
                secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"], region=self.env["AWS_REGION"],
                client_options={"allow_http": True}, prefix=f"{code.name}/{self.name}",
            )  # fmt: skip
            for found in (meta for page in obstore.list(store) for meta in page):
                path = folder / found["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(obstore.get(store, found["path"]).bytes())
        return folder


def copied(name: str, folder: Path, source: Path, modules: Path, **env: str) -> Code:
    """Copy a state of the code to where it is importable as `patchlake`, with the user's own modules beside it."""
    package = folder / "path" / "patchlake"
    package.mkdir(parents=True)
    for part in ("__init__.py", "py.typed", "flows", "tasks", "cluster"):
        if (source / part).is_dir():
            shutil.copytree(source / part, package / part)
        elif (source / part).exists():
            shutil.copy(source / part, package / part)
    if not (package / "__init__.py").exists():
        (package / "__init__.py").touch()  # else an installed package would be found before these folders
    (folder / "mine.py").symlink_to(modules)
    return Code(name, folder, {"PYTHONPATH": str(folder / "path"), **env})


@contextlib.contextmanager
def worktree(commit: str, folder: Path) -> Iterator[Path]:
    """Check a commit out beside this one."""
    subprocess.run(["git", "-C", ROOT, "worktree", "add", "-q", "--detach", folder, commit], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", folder], check=True)


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the environment of a real S3 server with a bucket `lakes`, or nothing where none is installed."""
    script = ROOT / "tests" / "support" / "infra" / "ceph_rgw_local.sh"
    if shutil.which("radosgw") is None:
        print("no radosgw here: every lake is a folder")
        yield {}
        return
    words = subprocess.run([script, "start", folder], check=True, capture_output=True, text=True, timeout=120).stdout
    try:
        yield dict(word.split("=", 1) for word in words.removeprefix("export ").split())
    finally:
        subprocess.run([script, "stop", folder], check=True, timeout=60)


@contextlib.contextmanager
def prefect_server(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the environment that leads to a Prefect server: one for all runs, which else start one each."""
    port = free_port()
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    env = {**os.environ, "PREFECT_HOME": str(folder), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    folder.mkdir()
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/api/health"), 180)
        yield {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    finally:
        server.terminate()
        server.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", default="7a3c540", help="the commit to compare with")
    parser.add_argument("--only", nargs="*", help="names of lakes")
    parser.add_argument("--folder", type=Path, help="keep everything here; by default a temporary folder")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="same-bytes-")))
        corpora = folder / "corpora"
        make_corpora(corpora)
        s3 = stack.enter_context(s3_server(folder / "ceph"))
        prefect = stack.enter_context(prefect_server(folder / "prefect"))
        source = stack.enter_context(worktree(given.old, folder / "worktree"))
        sources = {"old": source, "new": ROOT}
        states = [copied(name, folder / name, at, corpora / "mine.py", **prefect) for name, at in sources.items()]
        wanted = {name: text for name, text in recipes(corpora).items() if not given.only or name in given.only}
        all_recipes = [Recipe(name, text, s3 if name in IN_BUCKET else {}) for name, text in wanted.items()]
        with concurrent.futures.ThreadPoolExecutor(given.jobs) as pool:
            seconds = {(c.name, r.name): pool.submit(c.run, r) for r in reversed(all_recipes) for c in states}
        sys.exit(report(all_recipes, states, {key: future.result() for key, future in seconds.items()}))


def report(all_recipes: list[Recipe], states: list[Code], seconds: dict[tuple[str, str], float]) -> int:
    """Print what was compared, and what differs; return the exit code."""
    differences = []
    print(f"| lake | where | {' | '.join(f'{code.name}, s' for code in states)} | values compared | differences |")
    print("|---|---|---|---|---|---|")
    for recipe in all_recipes:
        found = compare(*(recipe.local(code) for code in states))
        times = " | ".join(f"{seconds[code.name, recipe.name]:.0f}" for code in states)
        lines = [f"{recipe.name} {part}: {line}" for part, one in found.items() for line in one.differences]
        counts = ", ".join(f"{part} {one.num_values:,}" for part, one in found.items() if one.num_values)
        print(f"| {recipe.name} | {'S3' if recipe.env else 'folder'} | {times} | {counts} | {len(lines)} |")
        differences += lines
    print(*differences or ["equal"], sep="\n", flush=True)
    return 1 if differences else 0


if __name__ == "__main__":
    main()
