"""When: the time ranges of a video that a recipe asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Literal, NamedTuple, Protocol

from pydantic import Field, model_validator

from patchlake.tasks import keys
from patchlake.tasks.strict import Family, LocalPath, Strict
from patchlake.tasks.types import Annotation, Clip, Track, Video

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NoSeconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""Or none."""
Finite = Annotated[float, Field(allow_inf_nan=False)]


class ClipOptions(Strict):
    """What every entry of a recipe's `clips` has."""

    method: str


class Windows(ClipOptions):
    """Frame level: windows of one length at one stride, from the first displayed frame."""

    method: Literal["windows"] = "windows"
    seconds: Seconds
    """Length of a window."""
    stride_seconds: Seconds | None = None
    """From start to start; by default the length, so that windows touch."""
    tail: Literal["keep", "drop"] = "keep"
    """Whether the last, shorter window of a video is a clip; a video shorter than a window always is one."""


class Shots(ClipOptions):
    """Event level: shots between the cuts that PySceneDetect's rules find in stored scores; they tile the track.

    Another detector or threshold cuts anew from what is stored: nothing is decoded.
    """

    method: Literal["shots"]
    product: str = "shot_score"
    """Name of the features' `shot_score` entry."""
    detector: Literal["content", "adaptive", "histogram", "hash", "fade"] = "content"
    """What makes a cut. content: a large change of colours; adaptive: one that stands out from the frames around it
    (for moving cameras; frames that a low rate holds mislead it); histogram: a change of brightness; hash: of coarse
    structure; fade: dark frames."""
    threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """In the detector's own unit; None: PySceneDetect's default (27.0, 3.0, 0.2, 0.35, 12.0 in the order above)."""
    gradual: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Also cut in the middle of dissolves: how far the histograms' correlation must fall, in sum over 0.6 s. 1.0 finds
    most of them at few false ones, 0.4 nearly all; None: none."""
    min_seconds: NoSeconds = 0.6
    """A cut nearer than this to the one before is none, and likewise at the track's start."""
    window_frames: Annotated[int, Field(ge=1)] = 2
    """adaptive only: frames on each side that a frame is compared with."""
    min_content: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 15.0
    """adaptive only: the least `content_val` of a cut."""

    @model_validator(mode="after")
    def _fits_together(self) -> Shots:
        if self.detector in ("histogram", "hash") and self.threshold is not None and self.threshold > 1:
            raise ValueError(f"threshold: got {self.threshold}, expected at most 1 for detector {self.detector}")
        for key in ("window_frames", "min_content"):
            if key in self.model_fields_set and self.detector != "adaptive":
                raise ValueError(
                    f"{key}: got it with detector {self.detector}, expected adaptive; leave one of them out"
                )
        return self


class Scores(ClipOptions):
    """Event level: where one channel of any stored product is high, or stays the same. Nothing is decoded."""

    method: Literal["scores"]
    product: str
    """Name of a feature of this recipe."""
    channel: str | None = None
    """None: the product's only one."""
    pool: Literal["mean", "max"] = "mean"
    """How a row's cells along y and x become one value."""
    find: Literal["threshold", "hysteresis", "change_points"]
    """threshold: above <= value <= below; hysteresis: value >= low around a value >= high; change_points: stretches
    between changes of the mean."""
    above: Finite | None = None
    """threshold; or change_points: the least mean of a stretch, None: all of them."""
    below: Finite | None = None
    """threshold."""
    high: Finite | None = None
    """hysteresis: an event holds one such value."""
    low: Finite | None = None
    """hysteresis: an event ends below it."""
    penalty: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """change_points: what a change must save of the sum of squared deviations, in variances of the values. Larger:
    fewer. A stretch of n rows that is d standard deviations off is found where n d^2 is larger than two of it."""
    min_seconds: NoSeconds = 0.0
    """Shorter events are dropped, after merging."""
    merge_seconds: NoSeconds = 0.0
    """Events with at most this between them become one; 0: none do."""
    label: str | None = None
    """Of the clips found; None: the source's."""

    @model_validator(mode="after")
    def _fits_together(self) -> Scores:
        takes = {"threshold": ("above", "below"), "hysteresis": ("high", "low"), "change_points": ("penalty", "above")}
        for key in ("above", "below", "high", "low", "penalty"):
            if getattr(self, key) is not None and key not in takes[self.find]:
                expected = " and ".join(takes[self.find])
                raise ValueError(f"{key}: got {getattr(self, key)} with find {self.find}, which takes {expected}")
        if self.find == "threshold" and self.above is None and self.below is None:
            raise ValueError("above: got none with find threshold, expected a number, or one for `below`")
        needed = {"threshold": (), "hysteresis": ("high", "low"), "change_points": ("penalty",)}
        for key in needed[self.find]:
            if getattr(self, key) is None:
                raise ValueError(f"{key}: got none with find {self.find}, expected a number")
        for small, large in (("above", "below"), ("low", "high")):
            a, b = getattr(self, small), getattr(self, large)
            if a is not None and b is not None and a > b:
                raise ValueError(f"{small}: got {a}, expected at most {large} = {b}")
        if self.find == "change_points" and self.above is None and self.merge_seconds:
            raise ValueError(
                f"merge_seconds: got {self.merge_seconds} with change_points, whose stretches all touch; "
                "give `above` too or leave it out"
            )
        return self


class Events(ClipOptions):
    """Event level: ranges that the user gives."""

    method: Literal["events"]
    file: LocalPath | None = None
    """CSV, JSON or Parquet with the columns uri, start, stop, label, or a common export (`annotations.read_events`);
    None: the start and stop of the corpus's own manifest."""


CLIPS = Family(
    "clips",
    {
        "windows": (Windows, None),
        "events": (Events, None),
        "shots": (Shots, None),
        "scores": (Scores, None),
    },
    options=ClipOptions,
    key="method",
    default="windows",
)
Method = Annotated[ClipOptions, CLIPS]
"""One entry of a recipe's `clips`."""


class Part(NamedTuple):
    """A range of a track to cut clips from, in seconds, with what is said of it."""

    start: float
    stop: float
    label: str | None = None
    targets: tuple[tuple[str, float], ...] = ()


def part_of(annotation: Annotation, duration_seconds: float, *, label: str | None) -> Part:
    """Return the part of a video that an annotation is about; one without a label has its source's."""
    start, stop = annotation.start_seconds or 0.0, annotation.stop_seconds
    stop = duration_seconds if stop is None else min(stop, duration_seconds)
    return Part(start, stop, annotation.label or label, annotation.targets)


def within(part: Part, limits: Part) -> Part:
    """Return what of a part lies in another; it is empty where stop <= start."""
    return part._replace(start=max(part.start, limits.start), stop=min(part.stop, limits.stop))


class _Times(Protocol):
    @property
    def duration_seconds(self) -> float: ...
    @property
    def fps(self) -> Fraction: ...


def window_ranges(
    method: Windows, video: _Times, start_seconds: float = 0.0, stop_seconds: float | None = None
) -> list[tuple[float, float]]:
    """Return [start, stop) in seconds of each window of a part; they leave out no frame unless stride > length.

    Starts are exact multiples of the stride as written in the recipe, from the part's start. A rest shorter than a
    frame is no window of its own, as at a constant rate no frame starts in it: it belongs to the window before,
    unless the tail is dropped.
    """
    length = Fraction(repr(method.seconds))
    stride = length if method.stride_seconds is None else Fraction(repr(method.stride_seconds))
    end = Fraction(video.duration_seconds if stop_seconds is None else stop_seconds)
    frame = 1 / video.fps if video.fps else Fraction(1, 500)
    slack, rest = frame / 2, frame * Fraction(999, 1000)
    ranges: list[tuple[float, float]] = []
    start = Fraction(repr(start_seconds))
    while start + rest < end or not ranges:
        stop = start + length
        if method.tail == "keep" and stop < end <= stop + rest:
            stop = end
        if stop <= end + slack:
            ranges.append((float(start), float(stop)))
        elif method.tail == "keep" or not ranges:
            ranges.append((float(start), float(max(end, start + slack))))
        if stop + rest >= end:
            break
        start += stride
    return ranges


def cut(
    track: Track,
    video: Video,
    methods: Iterable[ClipOptions],
    parts: Sequence[Part],
    events: Mapping[str, Sequence[Part]],
    extent: Part,
) -> list[Clip]:
    """Return the clips of a track that are known before decoding, in time order, each range once.

    `parts` are what the manifest names of it, or all of it; `events` those of each file, by its path, of which what
    lies in the track's `extent` counts. Where two ranges are equal the first one's label stands.
    """
    found: dict[tuple[float, float], Part] = {}
    for method in methods:
        if isinstance(method, Windows):
            for part in parts:
                for start, stop in window_ranges(method, video, part.start, part.stop):
                    found.setdefault((start, stop), part)
        elif isinstance(method, Events):
            for event in parts if method.file is None else events.get(method.file, ()):
                inside = within(event, extent)
                if inside.stop > inside.start:
                    found.setdefault((inside.start, inside.stop), inside)
    return [clip_of(track, start, stop, found[start, stop]) for start, stop in sorted(found)]


def searched(methods: Iterable[ClipOptions], parts: Sequence[Part]) -> list[Part]:
    """Return the parts whose frames are all stored since clips will be found in their scores."""
    return list(parts) if any(isinstance(method, Shots | Scores) for method in methods) else []


def clip_of(track: Track, start: float, stop: float, part: Part) -> Clip:
    """Return the clip of a range that lies in a part, and so has what is said of it."""
    return Clip(
        clip_id=keys.clip_id(track.track_id, start, stop),
        track_id=track.track_id,
        video_id=track.video_id,
        start_seconds=start,
        stop_seconds=stop,
        label=part.label,
        targets=part.targets,
    )
