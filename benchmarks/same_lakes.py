"""Compares two lakes that shall hold the same: arrays, tables, reductions and models, each read by its own library.

differences = compare(Path("a"), Path("b"))     # Part of the lake -> what differs; no patchlake is imported
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pyarrow as pa
import torch
import zarr

TOLERANCE = 1e-6
"""Of reductions and of what a training measured; arrays and tables are equal bit by bit."""
NOT_COMPARED = {
    "runs": {"run_id", "started", "stopped", "version", "recipe", "figures"},
    "receipts": {"decode_seconds", "compute_seconds", "write_seconds", "wait_seconds"},
}
"""Table -> columns: times, the names of runs and what they measured."""
TIMES = re.compile(r"second|started|stopped|date|created|version")
"""Keys of a model's card that differ from run to run."""


@dataclass
class Compared:
    """What was compared in one part of a lake, and what differs."""

    num_values: int = 0
    differences: list[str] = field(default_factory=list)


def compare(old: Path, new: Path) -> dict[str, Compared]:
    """Compare the datasets in two folders."""
    parts = {name: Compared() for name in ("arrays", "tables", "reductions", "models")}
    compare_zarr(old / "arrays.zarr", new / "arrays.zarr", parts["arrays"], tolerance=0.0)
    compare_tables(old / "tables", new / "tables", parts["tables"])
    for name in _same_names(old / "reductions", new / "reductions", "*.zarr", parts["reductions"]):
        compare_zarr(old / "reductions" / name, new / "reductions" / name, parts["reductions"], tolerance=TOLERANCE)
    compare_models(old / "models", new / "models", parts["models"])
    return parts


def compare_zarr(old: Path, new: Path, found: Compared, *, tolerance: float) -> None:
    """Compare every group and array of two Zarr stores: names, metadata, attributes and values."""
    nodes = [_nodes(path) for path in (old, new)]
    for name in sorted(nodes[0].keys() ^ nodes[1].keys()):
        found.differences.append(f"{old.name}/{name}: only in the {'old' if name in nodes[0] else 'new'} lake")
    for name in sorted(nodes[0].keys() & nodes[1].keys()):
        a, b = nodes[0][name], nodes[1][name]
        where = f"{old.name}/{name}"
        _compare_values(where, _described(a), _described(b), found, tolerance)
        if isinstance(a, zarr.Array) and isinstance(b, zarr.Array) and a.shape == b.shape:
            _compare_arrays(where, np.asarray(a[...]), np.asarray(b[...]), found, tolerance)


def _nodes(path: Path) -> dict[str, Any]:
    root = zarr.open_group(str(path), mode="r", use_consolidated=False)
    return {"": root, **dict(root.members(max_depth=None))}


def _described(node: Any) -> dict[str, Any]:
    """Return a node's metadata as `zarr.json` holds it, without what is consolidated from other nodes."""
    buffers = node.metadata.to_buffer_dict(zarr.core.buffer.default_buffer_prototype())
    described = json.loads(buffers["zarr.json"].to_bytes())
    described.pop("consolidated_metadata", None)
    return dict(described)


def _compare_arrays(where: str, a: Any, b: Any, found: Compared, tolerance: float) -> None:
    found.num_values += a.size
    if a.dtype.kind not in "fc" or tolerance == 0.0:
        same = a == b if a.dtype.kind != "f" else (a == b) | (np.isnan(a) & np.isnan(b))
    else:
        same = np.isclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
    if not np.all(same):
        where_not = np.argwhere(~np.atleast_1d(same))
        found.differences.append(f"{where}: {len(where_not):,} of {a.size:,} values, first at {where_not[0].tolist()}")


def compare_tables(old: Path, new: Path, found: Compared) -> None:
    """Compare every table's schema and rows, in any order."""
    for name in _same_names(old, new, "*", found):
        a, b = (deltalake.DeltaTable(str(path / name)).to_pyarrow_table() for path in (old, new))
        skipped = NOT_COMPARED.get(name, set())
        for column in sorted(set(a.column_names) ^ set(b.column_names)):
            found.differences.append(
                f"{name}.{column}: only in the {'old' if column in a.column_names else 'new'} lake"
            )
        shared = [column for column in a.column_names if column in b.column_names and column not in skipped]
        for column in shared:
            if a.schema.field(column).type != b.schema.field(column).type:
                found.differences.append(
                    f"{name}.{column}: {a.schema.field(column).type}, {b.schema.field(column).type}"
                )
        rows = [_sorted_rows(table.select(shared)) for table in (a, b)]
        found.num_values += a.num_rows * len(shared)
        if len(rows[0]) != len(rows[1]):
            found.differences.append(f"{name}: {len(rows[0])} rows, {len(rows[1])} rows")
            continue
        for column in shared:
            unequal = [(x[column], y[column]) for x, y in zip(*rows, strict=True) if repr(x[column]) != repr(y[column])]
            if unequal:
                found.differences.append(f"{name}.{column}: {len(unequal)} of {a.num_rows} rows, first {unequal[0]}")


def _sorted_rows(table: pa.Table) -> list[dict[str, Any]]:
    return sorted(table.to_pylist(), key=lambda row: json.dumps(row, default=repr, sort_keys=True))


def compare_models(old: Path, new: Path, found: Compared) -> None:
    """Compare the weights and the card of every model."""
    for name in _same_names(old, new, "**/model.*", found):
        data = [(folder / name).read_bytes() for folder in (old, new)]
        if name.endswith(".json"):
            _compare_values(name, *(_without_times(json.loads(text)) for text in data), found, TOLERANCE)
        elif name.endswith(".pt"):
            a, b = (torch.load(io.BytesIO(text), weights_only=True) for text in data)
            _compare_values(name, _numbers(a), _numbers(b), found, TOLERANCE)
        elif data[0] != data[1]:
            found.differences.append(f"{name}: other bytes")


def _numbers(weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    return {name: value.numpy() for name, value in weights.items()}


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(inner) for key, inner in value.items() if not TIMES.search(key)}
    return [_without_times(inner) for inner in value] if isinstance(value, list) else value


def _compare_values(where: str, a: Any, b: Any, found: Compared, tolerance: float) -> None:
    """Compare what JSON can hold, and arrays in it."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() ^ b.keys()):
            found.differences.append(f"{where}.{key}: only in the {'old' if key in a else 'new'} lake")
        for key in a.keys() & b.keys():
            _compare_values(f"{where}.{key}", a[key], b[key], found, tolerance)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            _compare_values(f"{where}[{i}]", x, y, found, tolerance)
    elif isinstance(a, np.ndarray):
        _compare_arrays(where, a, b, found, tolerance)
    else:
        found.num_values += 1
        close = isinstance(a, float) and isinstance(b, float) and abs(a - b) <= tolerance * max(1.0, abs(a))
        if not (close or repr(a) == repr(b)):
            found.differences.append(f"{where}: {a!r}, {b!r}"[:300])


def _same_names(old: Path, new: Path, pattern: str, found: Compared) -> Iterator[str]:
    """Yield what both folders hold; note what only one does."""
    names = [{str(path.relative_to(folder)) for path in folder.glob(pattern)} for folder in (old, new)]
    for name in sorted(names[0] ^ names[1]):
        found.differences.append(f"{old.name}/{name}: only in the {'old' if name in names[0] else 'new'} lake")
    yield from sorted(names[0] & names[1])
