"""A rank: sum ones over the ranks step by step, with a checkpoint, and a scripted fault that happens once."""

import datetime
import json
import os
import signal
import sys
import time
from pathlib import Path

payload = json.load(sys.stdin)
folder = Path(payload["folder"])
rank = int(os.environ["RANK"])
(folder / f"pid-{os.getpid()}").touch()
if payload.get("broken"):
    sys.exit("the program is broken")

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402

timeout = datetime.timedelta(seconds=float(os.environ["PATCHLAKE_GROUP_TIMEOUT_SECONDS"]))
dist.init_process_group("gloo", timeout=timeout)
began = time.time()
checkpoint = folder / f"checkpoint-{payload.get('name', '')}"
resumed_from = json.loads(checkpoint.read_text())["step"] if checkpoint.exists() else 0


def fault(step: int) -> None:
    wanted = payload.get("fault")
    if wanted and (rank, step) == (wanted["rank"], wanted["step"]) and not (folder / "faulted").exists():
        (folder / "faulted").touch()
        victim = os.getppid() if wanted["whom"] == "worker" else os.getpid()
        os.kill(victim, getattr(signal, wanted["signal"]))
        time.sleep(600)


total = torch.zeros(1)
for step in range(resumed_from, payload["steps"]):
    fault(step)
    total = torch.full((1,), float(step))
    dist.all_reduce(total)
    if rank == 0:
        partial = folder / "partial"
        partial.write_text(json.dumps({"step": step + 1}))
        partial.replace(checkpoint)
    print(json.dumps({"event": "step", "step": step}))
    time.sleep(payload.get("seconds_per_step", 0))
dist.barrier()
if rank == 0:
    print("done")
    result = {
        "event": "result",
        "last": total.item(),
        "world": dist.get_world_size(),
        "resumed_from": resumed_from,
    }
    print(json.dumps({**result, "began": began, "ended": time.time()}))
sys.stdout.flush()
os._exit(0)
