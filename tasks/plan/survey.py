"""The survey: the state of the corpus, from discovery, from what the lake knows, and from probing what is new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from patchlake.tasks.plan.dataset import Dataset
from patchlake.tasks.plan.given import Given
from patchlake.tasks.plan.ledger import Ledger
from patchlake.tasks.plan.wanted import Wanted, left_out, span_keys, wanted_of
from patchlake.tasks.recipe import Recipe
from patchlake.tasks.types import BoxPath, FrameIndex, FrameSource, Source, Video
from patchlake.tasks.video.probe import Probed


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What is known about the corpus: every source with its verdict so far, and the videos behind them."""

    sources: tuple[tuple[Source, str | None], ...]
    """In uri order, each with its video's id; status ok: stored, or to be stored."""
    videos: dict[str, Video]
    indexes: dict[str, FrameIndex]
    """Indexes of the videos probed in this run."""
    wanted: dict[str, Wanted]
    """track_id -> what to store of it; labelled by the first source with this video, in uri order."""
    frame_sources: dict[str, FrameSource]
    """video_id -> what workers need to map its frames to the frame grid."""
    unmatched: Mapping[str, int]
    """Boxes or events file -> how many of its names match no source."""
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """File of events -> why -> how many of its rows give no clip."""
    probed: Mapping[str, Probed] = field(default_factory=dict)
    """uri -> result of probing in this run."""

    @property
    def boxes(self) -> dict[str, BoxPath | None]:
        """track_id -> its boxes."""
        return {key: wanted.track.boxes for key, wanted in self.wanted.items()}


def to_probe(
    dataset: Dataset, sources: Sequence[Source], given: Given, probed: Mapping[str, Probed] | None = None
) -> list[Source]:
    """Return the sources whose content, or whose frames' times, must be read before planning.

    `probed`: what probing has said so far in this run, by uri. Ask again with it until nothing is left: where a source
    can't be read now, another one of the same content is to be.
    """
    ledger, recipe, frames = dataset.ledger, dataset.recipe, dataset.frames_key
    found, held, probed = [], dict[str, list[Source]](), probed or {}
    for source in sources:
        if source.status == "ok" and source.uri not in probed:
            known = _known(source, ledger)
            if known is None:
                found.append(source)
            elif known[1] is not None:
                held.setdefault(known[1], []).append(source)
    read = {probe.video.video_id for probe in probed.values() if probe.video is not None}
    for video_id, same in held.items():
        video = ledger.videos[video_id]
        spans = (span for wanted in wanted_of(same, video, recipe, given) for span in span_keys(wanted, frames))
        if video_id not in read and any(key not in ledger.placements for key, *_ in spans):
            found.append(same[0])
    return sorted(found, key=lambda source: source.uri)


def _known(source: Source, ledger: Ledger) -> tuple[Source, str | None] | None:
    """Return an earlier verdict on the same bytes, or None where they are to be read (again).

    That is where the machine was at fault, and where a video is named that the tables do not have.
    """
    known = ledger.sources.get((source.uri, source.size, source.version))
    if known is None or (known[0].status == "failed" and known[1] is None):
        return None
    if known[1] is not None and known[1] not in ledger.videos:
        return None
    return known


def survey(dataset: Dataset, sources: Sequence[Source], probed: Mapping[str, Probed], given: Given) -> Survey:
    """Combine discovered sources with this run's probes (by uri) and verdicts of earlier runs."""
    ledger, recipe = dataset.ledger, dataset.recipe
    judged: list[tuple[Source, str | None]] = []
    videos, indexes = dict(ledger.videos), {}
    same: dict[str, list[Source]] = {}
    for source in sources:
        source, video_id = _judge(source, probed.get(source.uri), ledger)
        if video_id is not None and (probe := probed.get(source.uri)) is not None:
            assert probe.video is not None
            assert probe.index is not None
            videos[video_id], indexes[video_id] = probe.video, probe.index
        if source.status in ("ok", "partial") and video_id is not None:
            seconds, least = videos[video_id].duration_seconds, recipe.limits.min_seconds
            if seconds < least:
                message = f"it lasts {seconds:.3g} s, less than limits.min_seconds = {least:g}"
                source = replace(source, status="skipped", reason="too_short", message=message)
            elif video_id in same:
                source = replace(source, status="duplicate", message=f"same content as {same[video_id][0].uri}")
                same[video_id].append(source)
            else:
                same[video_id] = [source]
        judged.append((source, video_id))
    wanted = [w for key, held in same.items() for w in wanted_of(held, videos[key], recipe, given)]
    return Survey(
        sources=tuple(judged),
        videos=videos,
        indexes=indexes,
        wanted={w.track.track_id: w for w in wanted},
        frame_sources={video_id: frame_source(held, videos[video_id], given.hidden) for video_id, held in same.items()},
        unmatched=given.unmatched,
        left_out=_left_out(same, videos, recipe, given),
        probed=probed,
    )


def _left_out(
    same: Mapping[str, Sequence[Source]], videos: Mapping[str, Video], recipe: Recipe, given: Given
) -> dict[str, dict[str, int]]:
    """Return file -> why -> how many of its rows give no clip, of those that name a video of the corpus."""
    found = {file: dict(reasons) for file, reasons in given.left_out.items()}
    for video_id, sources in same.items():
        for (file, why), count in left_out(sources, videos[video_id], recipe, given).items():
            into = found.setdefault(file, {})
            into[why] = into.get(why, 0) + count
    return {file: reasons for file, reasons in found.items() if reasons}


def _judge(source: Source, probe: Probed | None, ledger: Ledger) -> tuple[Source, str | None]:
    """Return a source with the verdict of its probe or of an earlier run, and its video's id."""
    if source.status != "ok":
        return source, None
    if probe is not None:
        seen = probe.source
        source = replace(source, status=seen.status, reason=seen.reason, message=seen.message)
        return source, None if probe.video is None else probe.video.video_id
    if (known := _known(source, ledger)) is not None:
        before, video_id = known
        if video_id is None:  # never became a video: keep the earlier verdict
            return replace(source, status=before.status, reason=before.reason, message=before.message), None
        if before.reason == "truncated" and before.status in ("partial", "skipped"):
            source = replace(source, status="partial", reason=before.reason, message=before.message)
        return source, video_id
    return source, None


def frame_source(
    sources: Sequence[Source], video: Video, hidden: Mapping[str, Sequence[tuple[str, BoxPath]]]
) -> FrameSource:
    """Return what workers need to know about a video held by these sources; boxes hidden in any source are hidden."""
    boxes = [one for source in sources for one in hidden.get(source.uri, ())]
    return FrameSource(
        video_id=video.video_id,
        uri=sources[0].uri,
        width=video.width,
        height=video.height,
        rotation=video.rotation,
        sample_aspect=video.sample_aspect,
        time_base=video.time_base,
        first_pts=video.first_pts,
        counted=video.counted,
        hidden=tuple(dict.fromkeys(boxes)),
    )
