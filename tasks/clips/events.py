"""`events`: ranges that the user gives."""

from __future__ import annotations

from typing import Literal

from patchlake.tasks.clips.method import ClipMethod, Cuttable, Part, within
from patchlake.tasks.strict import LocalPath


class Events(ClipMethod):
    """Event level: ranges that the user gives."""

    method: Literal["events"]
    file: LocalPath | None = None
    """CSV, JSON or Parquet with the columns uri, start, stop, label, or a common export (`annotations.read_events`);
    None: the start and stop of the corpus's own manifest."""

    @property
    def events_file(self) -> str | None:
        """As `file` says."""
        return self.file

    def cut(self, track: Cuttable) -> list[Part]:
        """Return what of each event lies in the track."""
        given = track.parts if self.file is None else track.events.get(self.file, ())
        inside = [within(event, track.extent) for event in given]
        return [part for part in inside if part.stop > part.start]
