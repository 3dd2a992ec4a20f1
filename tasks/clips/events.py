"""`events`: ranges that the user gives."""

from __future__ import annotations

from typing import Literal

from patchlake.tasks.clips.method import ClipMethod, Cuttable, Part, Seconds, within
from patchlake.tasks.strict import LocalPath


class Events(ClipMethod):
    """Event level: ranges that the user gives."""

    method: Literal["events"]
    file: LocalPath | None = None
    """CSV, JSON or Parquet with the columns uri, start, stop, label, or a common export (docs/inputs.md);
    None: the start and stop of the corpus's own manifest."""

    around: Seconds | None = None
    """Seconds before and after an event that lasts no time, which make a clip of it; None: such events are left out."""

    @property
    def takes_points(self) -> bool:
        """As `around` says."""
        return self.around is not None

    @property
    def events_file(self) -> str | None:
        """The file given by `file`."""
        return self.file

    def cut(self, track: Cuttable) -> list[Part]:
        """Return the part of each event that lies in the track."""
        given = track.parts if self.file is None else track.events.get(self.file, ())
        inside = [within(self._widened(event), track.extent) for event in given]
        return [part for part in inside if part.stop > part.start]

    def _widened(self, event: Part) -> Part:
        """Return a point with the time around it, anything else as it is."""
        if self.around is None or event.start != event.stop:
            return event
        return event._replace(start=max(0.0, event.start - self.around), stop=event.stop + self.around)
