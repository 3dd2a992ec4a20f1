"""Where this user's runs and their temporary Prefect server are recorded, and how their processes are found."""

from __future__ import annotations

import os
from pathlib import Path

RUN_VARIABLE = "PATCHLAKE_RUN"
"""Environment variable that all processes of a run inherit; they are found by it."""


def own_folder() -> Path:
    """Return PATCHLAKE_HOME (by default ~/.patchlake); it may not be there yet."""
    return Path(os.environ.get("PATCHLAKE_HOME", "~/.patchlake")).expanduser().absolute()
