"""Base of all options of a cluster: frozen, unknown keys are errors with a hint, local paths start at a base folder."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError


class Strict(BaseModel):
    """Unknown keys are errors, and nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _hint_at_unknown_keys(cls, data: object) -> object:
        """Refuse unknown keys with the nearest known one; pydantic's own message names none."""
        known = list(cls.model_fields)
        unknown = [key for key in data if key not in known] if isinstance(data, dict) else []
        if isinstance(data, dict) and unknown:
            errors = [
                error_at(str(key), f"unknown key, got {data[key]!r}; {expected_one_of(str(key), known)}", data[key])
                for key in unknown
            ]
            raise ValidationError.from_exception_data(cls.__name__, errors)
        return data


def expected_one_of(given: str, known: Iterable[str]) -> str:
    """Return the end of an error's sentence: the nearest known word, if one is near, and all of them.

    >>> expected_one_of("wrokers", ["kind", "workers"])
    'did you mean workers? expected one of: kind, workers'
    """
    known = list(known)
    close = difflib.get_close_matches(given, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}expected one of: {', '.join(known)}"


def error_at(key: str, sentence: str, given: object) -> InitErrorDetails:
    """Return one wrong key for a ValidationError; being a value error, its sentence is complete."""
    details: Any = PydanticCustomError("value_error", "{error}", {"error": sentence})
    return InitErrorDetails(type=details, loc=(key,), input=given)


def resolved(path: str, info: ValidationInfo) -> str:
    """Return an absolute path, from the folder `base` of the validation's context; without one the path as it is."""
    base = (info.context or {}).get("base")
    return path if base is None or "://" in path else os.path.normpath(Path(base) / Path(path).expanduser())


LocalPath = Annotated[str, AfterValidator(resolved)]
"""A file or folder of this machine, relative to the folder that `kinds.registry.parse` is given as `base`."""
