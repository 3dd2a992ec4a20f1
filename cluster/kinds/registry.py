"""Names of the kinds of clusters, and from a recipe's `cluster:` to the checked options of its kind."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from patchlake.cluster.errors import ClusterError
from patchlake.cluster.spec import ClusterSpec
from patchlake.cluster.strict import error_at, expected_one_of

JOBQUEUE = "patchlake.cluster.kinds.jobqueue:QueueSpec"
CUSTOM = "patchlake.cluster.kinds.custom:ClassSpec"
"""The kind of any class that is named by its dotted path."""
KINDS: dict[str, type[ClusterSpec] | str] = {
    "local": "patchlake.cluster.kinds.local:LocalSpec",
    "ssh": "patchlake.cluster.kinds.ssh:SshSpec",
    "address": "patchlake.cluster.kinds.address:AddressSpec",
    "slurm": JOBQUEUE,
    "pbs": JOBQUEUE,
    "lsf": JOBQUEUE,
    "sge": JOBQUEUE,
    "oar": JOBQUEUE,
    "moab": JOBQUEUE,
    "htcondor": JOBQUEUE,
}
"""Kind -> its options, as a class or as `module:Class`, so that only the libraries of a used kind are imported."""


def register(kind: str, model: type[ClusterSpec] | str) -> None:
    """Add a kind of another package: a class, or `module:Class`, imported when a recipe names the kind.

    Raises ClusterError if another class has the name already.
    """
    if KINDS.setdefault(kind, model) != model:
        raise ClusterError(
            f"cluster.kind: {kind!r} names {KINDS[kind]} already, and {model} wants the name, too: "
            "rename the kind, or uninstall the package that brings it."
        )


def model_of(kind: str) -> type[ClusterSpec]:
    """Return the class of a kind; a name with a dot is the dotted path of a Dask cluster class.

    Raises KeyError for an unknown kind, ClusterError for one whose class can't be imported.
    """
    model = CUSTOM if "." in kind and kind not in KINDS else KINDS[kind]
    if not isinstance(model, str):
        return model
    module, _, name = model.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ClusterError(
            f"cluster.kind: {kind!r} is {model}, which can't be imported ({error}): correct or reinstall its package."
        ) from error
    if not (isinstance(found, type) and issubclass(found, ClusterSpec)):
        raise ClusterError(f"cluster.kind: {kind!r} is {model}: expected a subclass of {ClusterSpec.__qualname__}.")
    return found


def parse(data: Mapping[str, Any], *, base: str | os.PathLike[str] | None = None) -> ClusterSpec:
    """Return the checked options of a recipe's `cluster`; its local paths are relative to `base`, if that is given.

    Raises pydantic's ValidationError, whose errors have the key as their place.
    """
    kind = data.get("kind", "local")
    try:
        model = model_of(str(kind))
    except KeyError:
        sentence = f"unknown kind, got {kind!r}; {expected_one_of(str(kind), KINDS)}"
        error = error_at("kind", f"{sentence}; or a class's path such as package.Class", kind)
        raise ValidationError.from_exception_data("cluster", [error]) from None
    return model.model_validate({**data, "kind": kind}, context={"base": base})
