"""Ranks without torch: each says one line and falls silent, the first time."""

import json
import os
import sys
import time
from pathlib import Path

folder = Path(json.load(sys.stdin)["folder"])
(folder / f"pid-{os.getpid()}").touch()
begun = folder / f"begun-{os.environ['RANK']}"
first = not begun.exists()
begun.touch()
print(json.dumps({"event": "step", "step": 0}))
if first:
    time.sleep(600)
print(json.dumps({"event": "result"}))
