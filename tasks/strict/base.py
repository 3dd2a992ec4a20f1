"""Common base of all parts of a recipe: frozen values, errors that name the key, paths relative to the recipe."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

_UNKNOWN_KEY = "unknown_key"
_UNION_MEMBER = re.compile(r"bool|int|float|str|.*[^a-z0-9_].*")
"""Union members in pydantic's error locations, to be left out; keys of a recipe never look like this."""


class Strict(BaseModel):
    """A part of a recipe: frozen once parsed; the error for an unknown key lists the known ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="wrap")
    @classmethod
    def _say_known_keys(cls, data: Any, handler: ModelWrapValidatorHandler[Any]) -> Any:
        try:
            return handler(data)
        except ValidationError as error:
            found = error.errors(include_url=False)
            if not any(map(_is_own_unknown_key, found)):
                raise
            known = sorted(cls.model_fields)
            details = [_details(item, known) for item in found]
            raise ValidationError.from_exception_data(cls.__name__, details) from None


def _is_own_unknown_key(item: Any) -> bool:
    return bool(item["type"] == "extra_forbidden" and len(item["loc"]) == 1)


def _details(item: Any, known: Sequence[str]) -> InitErrorDetails:
    """Return an error in pydantic's input form; that of an unknown key lists the known ones."""
    kind: Any = item["type"]
    if _is_own_unknown_key(item):
        kind = PydanticCustomError(_UNKNOWN_KEY, "{expected}", {"expected": expected_one_of(item["loc"][0], known)})
    elif kind == _UNKNOWN_KEY:
        kind = PydanticCustomError(_UNKNOWN_KEY, "{expected}", item["ctx"])
    return InitErrorDetails(type=kind, loc=item["loc"], input=item["input"], ctx=item.get("ctx", {}))


def expected_one_of(given: object, known: Iterable[str], *, quoted: bool = False) -> str:
    """Return `did you mean X? expected one of: X, Y`; the question only if a known word is similar."""
    words = list(known)
    close = difflib.get_close_matches(str(given), words, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}expected one of: {', '.join(repr(word) if quoted else word for word in words) or 'none'}"


def base_of(info: ValidationInfo) -> Path | None:
    """Return the folder of the recipe being parsed (`context={"base": folder}`), or None."""
    base = (info.context or {}).get("base")
    return None if base is None else Path(base)


def resolved(path: str, base: Path | None) -> str:
    """Return a path relative to `base` as an absolute one; unchanged if it is a URL or `base` is None."""
    return path if base is None or "://" in path else os.path.normpath(base / Path(path).expanduser())


def _resolve(path: str, info: ValidationInfo) -> str:
    return resolved(path, base_of(info))


def _recipe_folder(given: str, info: ValidationInfo) -> str:
    base = base_of(info)
    return given if base is None else str(base)


LocalPath = Annotated[str, AfterValidator(_resolve)]
"""A path relative to the recipe, or a URL; `~` is expanded."""
RecipeFolder = Annotated[str, AfterValidator(_recipe_folder), Field(validate_default=True)]
"""The recipe's folder, filled in automatically: users' own modules may be there."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
ClassPath = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
"""`module:Class`; the module is importable, or a file in the recipe's folder."""


def sentences(error: ValidationError, *, prefix: tuple[str, ...] = (), known: Sequence[str] | None = None) -> str:
    """Return all errors of a validation, one line per key: what was given, what was expected.

    `prefix` is the key of a part that is validated separately; `known` are its keys, if its models are not `Strict`.
    """
    lines: dict[tuple[str, str], list[str]] = {}
    for item in error.errors(include_url=False):
        place, given, expected = _sentence({**item, "loc": (*prefix, *item["loc"])}, known or ())
        lines.setdefault((place, given), []).append(expected)
    return "\n  ".join(
        f"{place}: {given}{'; or: '.join(dict.fromkeys(expected))}" if place else given + "; ".join(expected)
        for (place, given), expected in lines.items()
    )


def _sentence(item: Any, known: Sequence[str]) -> tuple[str, str, str]:
    """Return the key of an error, what was given there, and what was expected."""
    *parents, last = item["loc"] or ("",)
    if item["type"] in (_UNKNOWN_KEY, "extra_forbidden"):
        is_ours = item["type"] == _UNKNOWN_KEY
        expected = item["ctx"]["expected"] if is_ours else expected_one_of(last, sorted(known))
        return _place([*parents, last], keep_last=True), f"unknown key, got {item['input']!r}; ", expected
    place = _place(item["loc"])
    if item["type"] == "value_error":
        return place, str(item["ctx"]["error"]), ""
    if item["type"] == "missing":
        return place, "missing; expected a value", ""
    return place, f"got {item['input']!r}, expected: ", item["msg"]


def _place(loc: Sequence[int | str], *, keep_last: bool = False) -> str:
    text = ""
    for i, part in enumerate(loc):
        if isinstance(part, int):
            text += f"[{part}]"
        elif (keep_last and i == len(loc) - 1) or not _UNION_MEMBER.fullmatch(part):
            text += f".{part}" if text else part
    return text
