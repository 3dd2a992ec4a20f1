"""The folder of this user's runs and of their temporary Prefect server."""

from __future__ import annotations

import os
from pathlib import Path


def own_folder() -> Path:
    """Return PATCHLAKE_HOME (by default ~/.patchlake); it may not be there yet."""
    return Path(os.environ.get("PATCHLAKE_HOME", "~/.patchlake")).expanduser().absolute()
