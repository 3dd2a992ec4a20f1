"""Versions that a worker must share with the coordinator."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python (without the last number) and of packages; "none" if one is missing."""
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "none"
    return found


def check_versions(wanted: dict[str, str]) -> None:
    """Raise ValueError unless this process has the versions of the coordinator."""
    found = versions_of(name for name in wanted if name != "python")
    differing = [f"{name} {found[name]} (here {version})" for name, version in wanted.items() if found[name] != version]
    if differing:
        raise ValueError(
            f"the worker on {platform.node()} has {', '.join(differing)}: install the same versions on all machines"
        )
