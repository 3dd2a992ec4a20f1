"""Figures of a run: typed; `rows` words them for terminal and report; stored as JSON in the table `runs`.

The JSON's keys are a contract: `RunFigures.from_json` reads rows of earlier versions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from patchlake.tasks.types import PIXELS, UnitResult

PARTS = ("decode", "compute", "write", "wait")
"""Parts of a unit's time, as named in receipts (docs/observing.md)."""
Rows = list[tuple[str, str]]
"""(name, sentence)."""
Seconds = Mapping[str, Mapping[str, float]]
"""Part -> product -> seconds, summed over the workers."""


@dataclass(frozen=True, kw_only=True)
class LightFigures:
    """A run compared with the speed of light: the same work done by the bare parts alone, on the same workers."""

    frames_per_second: float
    """Speed of the run: rows over the wall time of its units and commits."""
    light_frames_per_second: float
    parts: Mapping[str, float] = field(default_factory=dict)
    """Seconds per row and worker of each bare part: decode, write, filters, and features by name."""
    features_share: float | None = None
    """Seconds of the bare features over seconds of the run's features; None: no features."""

    @property
    def share(self) -> float:
        """Measured speed over speed of light."""
        return self.frames_per_second / self.light_frames_per_second

    def to_json(self) -> dict[str, Any]:
        """Return the keys added to the figures of an ingest."""
        found: dict[str, Any] = {
            "frames/s": self.frames_per_second,
            "light frames/s": self.light_frames_per_second,
            "measured / light": self.share,
            "light parts": dict(self.parts),
        }
        return found if self.features_share is None else {**found, "features measured / light": self.features_share}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LightFigures | None:
        """Return these figures from those of an ingest; None if they were not measured."""
        if "measured / light" not in data:
            return None
        return cls(
            frames_per_second=data["frames/s"],
            light_frames_per_second=data["light frames/s"],
            parts=data.get("light parts", {}),
            features_share=data.get("features measured / light"),
        )


@dataclass(frozen=True, kw_only=True)
class IngestFigures:
    """What the units of a run did. Figures of several passes or batches add up."""

    rows: int = 0
    """Planned pixel rows, each counted once."""
    units: int = 0
    slots: int = 0
    room: float = 0.0
    """Rows of those slots, padding included."""
    frames_decoded: int = 0
    frames_redecoded: int = 0
    """Of those, frames decoded only to reach the first one needed."""
    num_bytes: int = 0
    busy_seconds: float = 0.0
    """Seconds that workers spent in units."""
    seconds: Seconds = field(default_factory=dict)
    """`compute` of a unit's first product holds the CPU time of the frame filters."""
    light: LightFigures | None = None

    @classmethod
    def of_unit(cls, result: UnitResult) -> IngestFigures:
        """Return the figures of one unit; its rows are counted with the plan."""
        parts = {part for receipt in result.receipts for part in receipt.seconds}
        return cls(
            frames_decoded=result.num_decoded,
            frames_redecoded=result.num_redecoded,
            num_bytes=sum(receipt.num_bytes for receipt in result.receipts),
            busy_seconds=result.seconds,
            seconds={
                part: {r.product: r.seconds[part] for r in result.receipts if part in r.seconds}
                for part in sorted(parts)
            },
        )

    @classmethod
    def of_plan(cls, rows: int, units: int, slots: int, *, slot_frames: int) -> IngestFigures:
        """Return the figures of a plan: pixel rows, units, and slots of `slot_frames` rows."""
        return cls(rows=rows, units=units, slots=slots, room=slots * slot_frames)

    def __add__(self, other: IngestFigures) -> IngestFigures:
        return IngestFigures(
            rows=self.rows + other.rows,
            units=self.units + other.units,
            slots=self.slots + other.slots,
            room=self.room + other.room,
            frames_decoded=self.frames_decoded + other.frames_decoded,
            frames_redecoded=self.frames_redecoded + other.frames_redecoded,
            num_bytes=self.num_bytes + other.num_bytes,
            busy_seconds=self.busy_seconds + other.busy_seconds,
            seconds=_added(self.seconds, other.seconds),
            light=other.light or self.light,
        )

    @property
    def padding(self) -> float:
        """Share of the rows of new slots that no frame fills."""
        return 1 - self.rows / self.room if self.room else 0.0

    def spent(self, part: str) -> float:
        """Return the seconds of a part, over all products."""
        return sum(self.seconds.get(part, {}).values())

    def time_spent(self) -> dict[str, float]:
        """Return the seconds that workers spent on units, by part, and waiting before them; {}: unknown.

        `other` is everything between a unit's parts: opening, seeking, moving shards into place, and time in which an
        extractor did not have the core.
        """
        if not self.busy_seconds:
            return {}
        compute = self.seconds.get("compute", {})
        parts = {"decode": self.spent("decode")}
        parts |= {"filters" if name == PIXELS else name: value for name, value in compute.items() if value > 0}
        parts["write"] = self.spent("write")
        parts["other"] = max(0.0, self.busy_seconds - sum(parts.values()))
        return {**parts, "wait": self.spent("wait")}

    def lines(self) -> Rows:
        """Return these figures as (name, sentence)."""
        rows = [
            ("rows", f"{self.rows:,} new, in {self.units:,} units"),
            ("bytes", f"{self.num_bytes / 1e6:,.1f} MB written"),
            ("padding", f"{self.padding:.1%} of the rows of new slots"),
            ("decoding", f"{self.frames_decoded:,} frames, {self.frames_redecoded:,} of them again"),
        ]
        if (light := self.light) is not None:
            limit = f"speed of light {light.light_frames_per_second:,.0f} frames/s"
            rows.append(("speed", f"{light.frames_per_second:,.0f} frames/s; {limit}"))
            rows.append(("ingest: measured / light", f"{light.share:.2f}"))
        if spent := self.time_spent():
            total = sum(spent.values())
            shares = ", ".join(f"{name} {seconds / (total or 1.0):.0%}" for name, seconds in spent.items())
            rows.append(("time of the workers", f"{shares}; {total:,.1f} seconds in all"))
        if light is not None and light.features_share is not None:
            rows.append(("features: measured / light", f"{light.features_share:.2f}"))
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return plain values, under the keys of the table `runs`."""
        found: dict[str, Any] = {
            "frames decoded": self.frames_decoded,
            "frames re-decoded": self.frames_redecoded,
            "busy seconds": self.busy_seconds,
            "bytes": self.num_bytes,
        }
        found |= {f"{part} {name}": value for part, by in self.seconds.items() for name, value in by.items()}
        found |= {"rows": self.rows, "units": self.units, "slots": self.slots, "padding": self.padding}
        return found | (self.light.to_json() if self.light is not None else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> IngestFigures:
        """Return the figures that `to_json` made, in this version or an earlier one."""
        rows, padding = data.get("rows", 0), data.get("padding", 0.0)
        seconds: dict[str, dict[str, float]] = {}
        for key, value in data.items():
            part, _, product = key.partition(" ")
            if part in PARTS and product:
                seconds.setdefault(part, {})[product] = value
        return cls(
            rows=rows,
            units=data.get("units", 0),
            slots=data.get("slots", 0),
            room=rows / (1 - padding) if padding < 1 else 1.0,
            frames_decoded=data.get("frames decoded", 0),
            frames_redecoded=data.get("frames re-decoded", 0),
            num_bytes=data.get("bytes", 0),
            busy_seconds=data.get("busy seconds", 0.0),
            seconds=seconds,
            light=LightFigures.from_json(data),
        )


def accounts(unmatched: Mapping[str, int], left_out: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Say which names and rows of the recipe's files gave nothing: a sentence for each file and reason.

    >>> accounts({"e.csv": 2, "b.csv": 0}, {"e.csv": {"past the end of its video": 1}})
    ['e.csv: 2 names match no source', 'e.csv: 1 row left out: past the end of its video']
    """
    names = [f"{file}: {_count(count, 'name')} no source" for file, count in unmatched.items() if count]
    rows = [
        f"{file}: {count:,} row{'s' if count > 1 else ''} left out: {why}"
        for file, reasons in left_out.items()
        for why, count in reasons.items()
    ]
    return [*names, *rows]


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun} matches" if count == 1 else f"{count:,} {noun}s match"


@dataclass(kw_only=True)
class RunFigures:
    """Figures of a whole run; each stage fills in its own."""

    sources: Mapping[str, int] = field(default_factory=dict)
    """Status -> number of sources."""
    clips: int = 0
    probed: int | None = None
    """Sources read by this run before planning."""
    ingest: IngestFigures | None = None
    """None: nothing to store."""
    unmatched: Mapping[str, int] = field(default_factory=dict)
    """File of boxes or events -> how many of its names match no source."""
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """File of events -> why -> how many of its rows give no clip."""
    regions: int | None = None
    """Rows of the table `regions`, if the recipe has such a feature."""
    reductions: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name -> figures of the reductions that this run made."""
    train: Mapping[str, Any] | None = None
    """Figures of the model in the lake, trained by this run or earlier; or {"skipped": reason}."""
    trained: bool = False
    """Whether this run trained it."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Stage -> wall time; `all`: the whole run."""

    @property
    def worked(self) -> bool:
        """Whether this run stored, reduced or trained anything."""
        return self.ingest is not None or bool(self.reductions) or self.trained

    def note_ingest(self, figures: IngestFigures) -> None:
        """Add the figures of one pass over a plan."""
        self.ingest = figures if self.ingest is None else self.ingest + figures

    def rows(self) -> Rows:
        """Return the figures as (name, sentence), for people."""
        rows: Rows = []
        if self.sources:
            rows.append(("sources", ", ".join(f"{count:,} {status}" for status, count in sorted(self.sources.items()))))
        rows.append(("clips", f"{self.clips:,}"))
        rows += [("not used", line) for line in accounts(self.unmatched, self.left_out)]
        nothing = [("rows", "none new: nothing was decoded, all is in the lake")]
        rows += nothing if self.ingest is None else self.ingest.lines()
        for name, found in self.reductions.items():
            rows.append((name, ", ".join(f"{key} {value:,}" for key, value in found.items())))
        stages = {name: seconds for name, seconds in self.seconds.items() if name != "all"}
        times = ", ".join(f"{name} {seconds:,.1f}" for name, seconds in stages.items())
        total = self.seconds.get("all", sum(stages.values()))
        return [*rows, ("wall time by stage", f"{times} seconds; {total:,.1f} in all")]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as the table `runs` keeps them."""
        return {**dict(self._items()), "seconds": dict(self.seconds)}

    def _items(self) -> Iterator[tuple[str, Any]]:
        yield "sources", dict(self.sources)
        yield "clips", self.clips
        if self.probed is not None:
            yield "probed", self.probed
        if self.ingest is not None:
            yield "ingest", self.ingest.to_json()
        for key, found in (("unmatched", self.unmatched), ("left out", self.left_out)):
            if any(found.values()):
                yield key, found
        if self.regions is not None:
            yield "regions", self.regions
        yield from self.reductions.items()
        if self.train is not None:
            yield "train", self.train
        if self.trained:
            yield "trained", True

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunFigures:
        """Return the figures that `to_json` made, in this version or an earlier one."""
        known = (
            "sources",
            "clips",
            "probed",
            "ingest",
            "unmatched",
            "left out",
            "regions",
            "train",
            "trained",
            "seconds",
        )
        ingest = data.get("ingest")
        return cls(
            sources=data.get("sources", {}),
            clips=data.get("clips", 0),
            probed=data.get("probed"),
            ingest=None if ingest is None else IngestFigures.from_json(ingest),
            unmatched=data.get("unmatched", {}),
            left_out=data.get("left out", {}),
            regions=data.get("regions"),
            reductions={key: value for key, value in data.items() if key not in known},
            train=data.get("train"),
            trained=data.get("trained", False),
            seconds=dict(data.get("seconds", {})),
        )


def _added(one: Seconds, other: Seconds) -> Seconds:
    """Return the sum of two tables of seconds, entry by entry."""
    found = {part: dict(by_product) for part, by_product in one.items()}
    for part, by_product in other.items():
        into = found.setdefault(part, {})
        for product, seconds in by_product.items():
            into[product] = into.get(product, 0.0) + seconds
    return found
