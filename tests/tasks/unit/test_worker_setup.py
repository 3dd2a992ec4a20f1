from __future__ import annotations

import subprocess
import sys

THREADS = """
import threading
from patchlake.tasks.unit import worker_setup
import cv2

worker_setup.setup()
seen = []
thread = threading.Thread(target=lambda: seen.append((cv2.ipp.useIPP(), cv2.getNumThreads())))
thread.start()
thread.join()
print(*seen)
"""


def test_opencv_runs_without_ipp_in_every_thread_of_a_worker() -> None:
    """Its last bits depend on memory alignment; setUseIPP switches it off in the calling thread alone."""
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=True, timeout=120)
    assert (done.stdout.strip(), done.stderr) == ("(False, 1)", "")
