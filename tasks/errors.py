"""The errors that a user can meet, each a sentence: what was given, what was expected, what to do."""


class PatchlakeError(Exception):
    """Base of all errors that patchlake raises on purpose."""


class RecipeError(PatchlakeError):
    """The recipe can't be run as written; the command line exits with 2."""


class NothingFoundError(RecipeError):
    """The corpus names no video at all; the command line exits with 2."""


class LakeError(PatchlakeError):
    """The lake does not fit the recipe or this version, or its bytes are not what was committed."""


class ModelError(RecipeError):
    """A pretrained model is missing or unreachable, or is of another kind than the recipe says."""


class DecodeError(PatchlakeError):
    """A video can't be read as asked; `reason` is from the closed list of `types.Reason`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return (DecodeError, (self.reason, self.message))


OURS = ("timeout", "memory", "crash")
"""Reasons that may lie in the machine and not in the file: `failed`, not `rejected`."""
