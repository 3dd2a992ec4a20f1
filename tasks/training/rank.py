"""One rank of a training gang, a disposable process: job in on standard input, JSON lines on standard output.

    RANK=0 WORLD_SIZE=1 python -P -m patchlake.tasks.training.rank < job.json

Lines: {"event": "epoch", "variant", "epoch", "train_loss", figures of the objective, "seconds"} after each epoch and
at the end {"event": "result", ...}, from rank 0 only. It ends by os._exit(0) once all ranks have finished:
teardown of process groups hangs about one time in five. An error is a traceback on standard error and exit
code 1, at once; the process that started the gang then ends the other ranks and restarts all of them, and
they continue from the last checkpoint.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from contextlib import suppress
from typing import Any


def main() -> None:
    """Train the job on standard input; never returns."""
    events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # all other output, also of native code, goes to standard error
    code = 1
    try:
        run(json_text=sys.stdin.read(), events=events)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (events, sys.stdout, sys.stderr):
            with suppress(OSError):  # the reader may be gone
                stream.flush()
        os._exit(code)


def run(*, json_text: str, events: Any) -> None:
    """Train every variant of a job, one after the other, as the rank given by the environment."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts: equal runs, equal sums
    import torch

    from patchlake.tasks.loading.reader import ClipFrames, open_frames
    from patchlake.tasks.training.group import join, pick_device
    from patchlake.tasks.training.job import TrainJob
    from patchlake.tasks.training.loop import Rank, train

    started = time.perf_counter()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False

    def emit(event: dict[str, Any]) -> None:
        print(json.dumps(event), file=events, flush=True)

    job = TrainJob.from_json(json_text)
    device = pick_device()
    group = join()
    rank = Rank(group=group, device=device, emit=emit)
    frames = ClipFrames(open_frames(job.pixels), job.clips, job.train_options.size)
    results = {variant: train(job, variant, frames, rank) for variant in job.variants}
    if group.rank == 0:
        figures = {
            "world_size": group.world_size,
            "device": device.type,
            "seconds": time.perf_counter() - started,
        }
        counts = {
            side: sum(clip.test is test for clip in job.clips) for side, test in (("train", False), ("test", True))
        }
        told = job.objective.fitted(job.clips, job.outputs).described()
        emit({"event": "result", **told, "num_clips": counts, **figures, "variants": results})
    group.wait()


if __name__ == "__main__":
    main()
