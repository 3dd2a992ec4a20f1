"""The campaign: harm at many seeded moments of every kind, each run on a lake of its own (`make faults N=20`).

Results are appended to a table in Markdown, seed by seed, so that one broken off covers every kind; what the table has
is not done again. A lake suffers two moments: in one run where that goes on, in two where it does not (but one where
little is left to do after it). Several runs go at once, since those that lost something mostly wait. The store is cut
off only where AWS_ENDPOINT_URL names one with a bucket `lakes` (`tests/support/infra/ceph_rgw_local.sh start FOLDER`),
jobs are cancelled only where SLURM_CONF names a Slurm (`tests/support/infra/slurm_local.sh start FOLDER`).
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import queue
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.pool import Pool
from pathlib import Path

from command_line import free_port
from fault_kinds import KINDS, NUM_CLIPS, Moment
from faulty_runs import prefect_server, suffer
from undisturbed_run import Unbroken, render_corpus

HEAD = "| kind | seeds | moments | exit of the harmed run | after | seconds |\n|---|---|---|---|---|---|\n"
INFRASTRUCTURE = ("AWS_", "SLURM_CONF")


def main() -> None:
    """Run what is left of the campaign; exit with 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=20, help="moments of each kind")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--table", type=Path, default=Path("faults.md"), help="where rows are appended")
    parser.add_argument("--pause-file", type=Path, help="no moment begins while this file is there")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1), help="runs at once")
    args = parser.parse_args()
    _end_on_sigterm()
    kinds = [kind for kind in args.kinds if not KINDS[kind].needs or KINDS[kind].needs in os.environ]
    for kind in sorted(set(args.kinds) - set(kinds)):
        print(f"{kind}: left out, {KINDS[kind].needs} is not set", file=sys.stderr)
    left = groups(range(args.first_seed, args.first_seed + args.each), kinds, done_in(args.table))
    if not left:
        return
    if not args.table.exists():
        args.table.write_text(HEAD)
    root, port, num_failed = Path(tempfile.mkdtemp(prefix="faults-")), free_port(), 0
    env = {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PATCHLAKE_HOME": str(root / "home")}
    env |= {name: value for name, value in os.environ.items() if name.startswith(INFRASTRUCTURE)}
    try:
        with prefect_server(root / "prefect", port):
            unbroken = Unbroken.run(root, render_corpus(root / "corpus"), env)
            with lanes(args.jobs, kinds) as lane_of:
                rows: queue.SimpleQueue[tuple[str, bool]] = queue.SimpleQueue()
                for part, kind in left:
                    lane_of[kind].apply_async(_row, (kind, part, root, env, unbroken, args.pause_file), {}, rows.put)
                for _ in left:
                    row, went_well = rows.get()
                    num_failed += not went_well
                    with args.table.open("a") as table:
                        table.write(row)
                    print(row, end="", flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    sys.exit(num_failed > 0)


def done_in(table: Path) -> set[tuple[str, int]]:
    """Return the (kind, seed) that a table has."""
    lines = table.read_text().splitlines()[2:] if table.exists() else []
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {(cell[0], int(seed)) for cell in cells for seed in cell[1].split()}


def groups(seeds: range, kinds: list[str], done: set[tuple[str, int]]) -> list[tuple[list[int], str]]:
    """List the seeds of each run that is left and its kind, the first seeds of all kinds first."""
    found = []
    for kind in kinds:
        again = KINDS[kind].part == "ingest" and 0 not in KINDS[kind].codes
        size = 2 if KINDS[kind].together or again else 1
        left = [seed for seed in seeds if (kind, seed) not in done]
        found += [(left[i : i + size], kind) for i in range(0, len(left), size)]
    return sorted(found, key=lambda group: group[0])


@contextlib.contextmanager
def lanes(jobs: int, kinds: list[str]) -> Iterator[dict[str, Pool]]:
    """Yield who does each kind; one at a time those on Slurm, since they look at all of its jobs."""
    context = multiprocessing.get_context("spawn")  # the object store's threads do not survive a fork
    with context.Pool(1, _end_on_sigterm) as slurm, context.Pool(jobs, _end_on_sigterm) as others:
        yield {kind: slurm if KINDS[kind].needs == "SLURM_CONF" else others for kind in kinds}
        for pool in (slurm, others):  # after an error they are terminated instead
            pool.close()
            pool.join()


def _end_on_sigterm() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with us


def _row(
    kind: str, seeds: list[int], root: Path, env: dict[str, str], unbroken: Unbroken, pause_file: Path | None
) -> tuple[str, bool]:
    while pause_file and pause_file.exists():
        time.sleep(1)
    moments, begun = [Moment.seeded(kind, seed) for seed in seeds], time.monotonic()
    folder = root / f"{kind}-{seeds[0]}".replace(" ", "-")
    code, went_well = "?", True
    try:
        codes = suffer(folder, moments, env=env, unbroken=unbroken)
        num_ok = NUM_CLIPS - (0 if KINDS[kind].do else len({moment.point for moment in moments}))
        code, said = " ".join(map(str, codes)), f"equal, clean, {num_ok} sources ok"
    except Exception as error:
        went_well = False
        words = " ".join(str(error).replace("|", "/").split())  # what was expected, and at its end what the run said
        said = f"**{type(error).__name__}: {words[:200]} ... {words[-400:]}**"
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)
    cells = [kind, " ".join(map(str, seeds)), ", ".join(map(str, moments)), code, said]
    return f"| {' | '.join(cells)} | {time.monotonic() - begun:.0f} |\n", went_well


if __name__ == "__main__":
    main()
