"""A filter: light becomes dark."""

from typing import Any

from patchlake.tasks.filters import Scene
from patchlake.tasks.types import FrameArray


class Negative:
    version, context_frames = 1, (0, 0)

    def __init__(self, options: Any, **context: Any) -> None:
        self.digest_parts: dict[str, Any] = {}

    def __call__(self, frames: FrameArray, scene: Scene) -> FrameArray:
        return 255 - frames
