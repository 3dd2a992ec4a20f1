"""Families: the registry of kinds (extractors, filters, models, ...), each with its options and its builder.

A built-in kind is one file and one line in the folder's `__init__`: `"edges": (".edges:EdgesSpec", ".edges:Edges")`.
Kinds from outside need no line here:

* an installed package offers one under the entry point group `patchlake.FAMILY` (`patchlake.features`, ...); it is
  imported only if a recipe names it and no built-in kind has that name;
* `module:Class` names one in an importable module, or in a file in the recipe's folder.

Both name either a class with an attribute `Options` (a subclass of the family's options; without it the family's
options are used), built as `Class(options, **context)`; or, if options need no separate builder (clip methods), a
subclass of the family's options; or a pair (options, builder).
"""

from __future__ import annotations

import copyreg
import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from patchlake.tasks.errors import RecipeError
from patchlake.tasks.strict.base import base_of, expected_one_of

Ref = Any
"""An object, or `module:name`, imported when first needed (`.module:name`: relative to the family's package)."""


@dataclass(frozen=True)
class Kind:
    """A member of a family; its references are imported when first used."""

    to_options: Ref
    to_builder: Ref
    package: str | None = None
    """Package of references that begin with a dot."""

    @property
    def options(self) -> type[BaseModel]:
        """The options class of its entries."""
        options: type[BaseModel] = self._object(self.to_options)
        return options

    @property
    def builder(self) -> Callable[..., Any]:
        """Callable that takes the options, and the family's context as keywords."""
        builder: Callable[..., Any] = self._object(self.to_builder)
        return builder

    def _object(self, ref: Ref) -> Any:
        if not isinstance(ref, str):
            return ref
        module, _, name = ref.partition(":")
        return getattr(importlib.import_module(module, self.package), name)


class Family:
    """Kind -> its options and its builder, as a registry and as the type of a recipe entry.

    `Annotated[FeatureOptions, FEATURES]` is the type of an entry: a mapping with the key `kind`; a bare word, short for
    a mapping without other keys; `kind:PATH`, if the kind's options have a `path`; or `module:Class`.
    """

    def __init__(
        self,
        name: str,
        kinds: Mapping[str, Ref | tuple[Ref, Ref]],
        *,
        options: type[BaseModel],
        package: str | None = None,
        key: str = "kind",
        default: str | None = None,
    ) -> None:
        """Create a family.

        `name`: also names the entry point group `patchlake.NAME`. `kinds`: the built-in kinds, each (options, builder),
        or one options class without a builder. `options`: base class of all kinds' options. `key`: the entry's key
        whose value is the kind; `default`: the kind if the key is left out. If there is a kind `custom`, an entry
        `module:Class` becomes its `path`.
        """
        self.name, self.options, self.key, self.default = name, options, key, default
        self._kinds = {kind: to if isinstance(to, tuple) else (to, to) for kind, to in kinds.items()}
        self._package = package

    @property
    def ours(self) -> tuple[str, ...]:
        """Names of the built-in kinds, in order."""
        return tuple(self._kinds)

    def names(self) -> list[str]:
        """Return the names of all kinds: built-in ones, and those of installed packages, without importing these."""
        return [*self._kinds, *(name for name in self._offered() if name not in self._kinds)]

    def only(self, *kinds: str) -> Family:
        """Return a family of only some built-in kinds, for an entry that accepts no others."""
        chosen = {kind: self._kinds[kind] for kind in kinds}
        return Closed(self.name, chosen, options=self.options, package=self._package, key=self.key)

    def get(self, kind: str, folder: str = "") -> Kind:
        """Return a kind; the module of `module:Class` may be in `folder`. Raises RecipeError if there is none."""
        if kind in self._kinds:
            options, builder = self._kinds[kind]
            return Kind(options, builder, self._package)
        if ":" in kind:
            found = self._kind_of(load_class(kind, folder, where=self.name), kind)
            copyreg.pickle(found.options, partial(_reduced, self, kind, folder))  # type: ignore[arg-type]
            return found
        offered = self._offered().get(kind)
        if offered is None:
            raise RecipeError(f"{self.name}: {self._unknown(kind)}")
        try:
            return self._kind_of(offered.load(), kind)
        except (ImportError, AttributeError) as error:
            raise RecipeError(
                f"{self.name}: {kind} is offered as {offered.value} by an installed package, but can't be imported: "
                f"{error}; repair or remove that package"
            ) from error

    def entry(self, data: object, base: Path | None = None) -> Any:
        """Return the options of a recipe's entry; `base`: the recipe's folder.

        Raises pydantic's ValidationError for wrong options, ValueError or RecipeError for a wrong kind.
        """
        if isinstance(data, self.options):
            return data
        spelled = self._spelled_out(data)
        options = self.get(spelled[self.key], str(base or "")).options
        return options.model_validate(spelled, context={"base": base})

    def build(self, entry: Any, **context: Any) -> Any:
        """Return what the entry describes, built as `builder(entry, **context)`."""
        if not isinstance(entry, self.options):
            raise TypeError(f"expected an entry of a recipe's {self.name}, got {entry!r}")
        return self.get(getattr(entry, self.key)).builder(entry, **context)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema by which pydantic reads an entry; it is serialized by its own options class."""
        return core_schema.with_info_before_validator_function(self._validated, core_schema.any_schema())

    def _validated(self, value: object, info: ValidationInfo) -> Any:
        try:
            return self.entry(value, base_of(info))
        except RecipeError as error:  # pydantic adds the key, which is more precise than the family's name
            raise ValueError(str(error).removeprefix(f"{self.name}: ")) from error

    def _spelled_out(self, data: object) -> dict[str, Any]:
        """Return an entry as a mapping with the family's key; raises ValueError if it is not an entry."""
        if isinstance(data, str):
            kind, colon, path = data.partition(":")
            takes_path = kind in self._kinds and "path" in self.get(kind).options.model_fields
            data = {self.key: kind, "path": path} if colon and takes_path else {self.key: data}
        if not isinstance(data, Mapping):
            raise ValueError(f"got {data!r}, expected a word or a mapping with `{self.key}`")
        kind = data.get(self.key, self.default)
        if not isinstance(kind, str):
            raise ValueError(f"got {dict(data)!r}; `{self.key}`: {expected_one_of('', self.names(), quoted=True)}")
        if ":" in kind and "custom" in self._kinds:
            return {**data, self.key: "custom", "path": kind}
        return {**data, self.key: kind}

    def _unknown(self, kind: str) -> str:
        return f"got {self.key} {kind!r}; {expected_one_of(kind, self.names(), quoted=True)}"

    def _offered(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=f"patchlake.{self.name}")}

    def _kind_of(self, found: Any, kind: str) -> Kind:
        """Return a kind from outside: a class with `Options`, an options class, or (options, builder)."""
        options, builder = found if isinstance(found, tuple) else (getattr(found, "Options", self.options), found)
        if isinstance(found, type) and issubclass(found, self.options):
            options = found
        if not (isinstance(options, type) and issubclass(options, self.options)) or not callable(builder):
            raise RecipeError(
                f"{self.name}: {kind}: got options {options!r} and builder {builder!r}, expected a subclass of "
                f"{self.options.__module__}.{self.options.__qualname__} and a class or function"
            )
        return Kind(options, builder)


class Closed(Family):
    """A family that can't be extended from outside."""

    def get(self, kind: str, folder: str = "") -> Kind:
        """Return a built-in kind."""
        if kind not in self._kinds:
            raise RecipeError(f"{self.name}: {self._unknown(kind)}")
        return super().get(kind, folder)

    def _offered(self) -> dict[str, EntryPoint]:
        return {}


def load_class(path: str, folder: str, *, where: str) -> Any:
    """Return the class that `module:Class` names; the module is importable, or a file in `folder`, the recipe's."""
    module, _, name = path.partition(":")
    if folder and folder not in sys.path:  # so that workers, too, find a module next to the recipe
        sys.path.append(folder)
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        known = "an importable module, or one in the recipe's folder"
        raise RecipeError(f"{where}: got {path!r}, expected a class in {known}: {error}") from error


def _reduced(family: Family, kind: str, folder: str, entry: BaseModel) -> tuple[Any, ...]:
    """Pickle options whose class is in the recipe's folder: another process must find the module first."""
    return _restored, (family.name, family.options, kind, folder, dict(entry), entry.model_fields_set)


def _restored(
    name: str, base: type[BaseModel], kind: str, folder: str, values: dict[str, Any], given: set[str]
) -> BaseModel:
    options = Family(name, {}, options=base).get(kind, folder).options
    return options.model_construct(_fields_set=given, **values)
