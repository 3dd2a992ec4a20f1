"""The ledger: what the lake already holds, and so what is left to do. Only receipts prove that rows exist."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from patchlake.tasks.errors import OURS
from patchlake.tasks.grid import Layout
from patchlake.tasks.lake import schema
from patchlake.tasks.lake.product import Product
from patchlake.tasks.lake.tables import Tables
from patchlake.tasks.plan.units import slots_of
from patchlake.tasks.types import Placement, Source, Video


class SlotSet(Set[int]):
    """A set of slots at one byte each; a Python set takes a hundred, so memory would grow with every unit of a run."""

    def __init__(self) -> None:
        self._held = bytearray()

    def update(self, slots: Iterable[int]) -> None:
        """Add slots."""
        for slot in slots:
            if slot >= len(self._held):
                self._held.extend(bytes(slot + 1 - len(self._held)))
            self._held[slot] = 1

    def __contains__(self, slot: object) -> bool:
        return isinstance(slot, int) and 0 <= slot < len(self._held) and bool(self._held[slot])

    def __iter__(self) -> Iterator[int]:
        return (slot for slot, held in enumerate(self._held) if held)

    def __len__(self) -> int:
        return sum(self._held)


@dataclass
class Ledger:
    """A snapshot of the tables, kept up to date by the coordinator while it commits."""

    sources: dict[tuple[str, int, str], tuple[Source, str | None]]
    """(uri, size, version) -> the source with its last verdict, and its video's id."""
    videos: dict[str, Video]
    tracks: dict[str, int]
    """track_id -> number in the `track` coordinate."""
    placements: dict[str, Placement]
    """span_key -> where the span lies, planned or done."""
    done: dict[str, SlotSet] = field(default_factory=dict)
    """product -> slots with a receipt under the current digest."""
    written: dict[int, set[str]] = field(default_factory=dict)
    """slot -> span_keys with a receipt there, for any product."""
    stale: set[str] = field(default_factory=set)
    """Products with receipts under another digest: their options, model or code changed."""
    surplus: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    """span_key -> row of the span, and PTS of decoded frames before it that the packets had not listed (`pts.pack`)."""
    first_free_slot: int = 0
    """No span was ever planned into this slot or a later one."""
    lost: dict[str, str] = field(default_factory=dict)
    """video_id -> message, for videos whose unit repeatedly killed its workers in this run."""

    @classmethod
    def read(cls, tables: Tables, products: Mapping[str, Product], layout: Layout) -> Ledger:
        """Return the ledger read from the tables."""
        judged = {}
        for row in tables.sources.rows():
            source = schema.source_of(row)
            judged[source.uri, source.size, source.version] = (source, row["video_id"])
        ledger = cls(
            sources=judged,
            videos={row["video_id"]: schema.video_of(row) for row in tables.videos.rows()},
            tracks={row["track_id"]: row["track"] for row in tables.tracks.rows()},
            placements={
                row["span_key"]: schema.placement_of(row)
                for row in sorted(tables.spans.rows(), key=lambda row: row["row_start"])  # the last placement wins
            },
        )
        ledger.first_free_slot = max(
            (slots_of(p, layout)[-1] + 1 for p in ledger.placements.values() if p.span.num_rows), default=0
        )
        written = ledger.written
        columns = ["product", "product_digest", "span_keys", "slots"]
        for row in tables.receipts.rows(columns):
            for span_key, slot in zip(row["span_keys"], row["slots"], strict=True):
                written.setdefault(slot, set()).add(span_key)
            product = products.get(row["product"])
            if product is not None and product.digest != row["product_digest"]:
                ledger.stale.add(product.name)
            elif product is not None:
                ledger.done.setdefault(product.name, SlotSet()).update(row["slots"])
        ledger._forget_shut_out(layout)
        for row in tables.failures.rows():
            if ledger.is_about(row) and row["row_start"] // layout.slot_frames in written:
                ledger.note_surplus(row)
        return ledger

    def is_about(self, failure: Mapping[str, Any]) -> bool:
        """Return whether a row of `failures` is about the current placement of its span."""
        placement = self.placements.get(failure["span_key"])
        return placement is not None and placement.row_start <= failure["row_start"] < placement.row_stop

    def forget_failed(self, tables: Tables) -> None:
        """Forget placements of spans of which nothing was stored through no fault of the file: they are replanned."""
        failed = {row["span_key"] for row in tables.failures.rows() if self.is_about(row) and row["reason"] in OURS}
        for row in tables.receipts.rows(["span_keys", "num_rows"]):
            failed -= {key for key, num_rows in zip(row["span_keys"], row["num_rows"], strict=True) if num_rows}
        for key in failed:
            del self.placements[key]

    def note_surplus(self, failure: Mapping[str, Any]) -> None:
        """Record the surplus frames in a row of `failures`, for which there was no room."""
        if failure["surplus"]:
            placement = self.placements[failure["span_key"]]
            row = failure["row_start"] + failure["num_rows_planned"] - placement.row_start
            known = self.surplus.setdefault(failure["span_key"], [])
            if (row, failure["surplus"]) not in known:
                known.append((row, failure["surplus"]))

    def _forget_shut_out(self, layout: Layout) -> None:
        """Forget placements in slots that were committed without them (their source was missing then)."""
        for key, placement in list(self.placements.items()):
            if any(slot in self.written and key not in self.written[slot] for slot in slots_of(placement, layout)):
                del self.placements[key]

    def missing(
        self, placements: Iterable[Placement], products: Iterable[str], layout: Layout
    ) -> dict[int, tuple[str, ...]]:
        """Return slot -> missing products, for the slots of some spans; complete slots are left out."""
        names = tuple(products)
        slots = {slot for placement in placements for slot in slots_of(placement, layout)}
        lacking = {slot: tuple(n for n in names if slot not in self.done.get(n, ())) for slot in sorted(slots)}
        return {slot: lack for slot, lack in lacking.items() if lack}

    def complete(self, placement: Placement, products: Iterable[str], layout: Layout) -> bool:
        """Return whether all given products of a span are committed."""
        slots = slots_of(placement, layout)
        return all(slot in self.done.get(name, ()) for name in products for slot in slots)
