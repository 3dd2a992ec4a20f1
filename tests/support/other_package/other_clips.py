"""A clip method: each track in three."""

from patchlake.tasks.clips.method import ClipMethod, Cuttable, Part


class Thirds(ClipMethod):
    def cut(self, track: Cuttable) -> list[Part]:
        third = (track.extent.stop - track.extent.start) / 3
        starts = [track.extent.start + i * third for i in range(3)]
        return [part._replace(start=start, stop=start + third) for part in track.parts for start in starts]
