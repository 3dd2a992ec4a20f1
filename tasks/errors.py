"""The errors that users see, each one sentence: what was given, what was expected, what to do."""


class PatchlakeError(Exception):
    """Base class of all errors that patchlake raises on purpose."""


class RecipeError(PatchlakeError):
    """The recipe can't be run as written; the command line exits with 2."""


class NothingFoundError(RecipeError):
    """The corpus contains no video; the command line exits with 2."""


class LakeError(PatchlakeError):
    """The lake does not fit the recipe or this version, or its bytes are not what was committed."""


class ModelError(RecipeError):
    """A pretrained model is missing, unreachable, or not of the kind that the recipe expects."""


class DecodeError(PatchlakeError):
    """A video can't be read as requested; `reason` is from the closed list `types.Reason`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return (DecodeError, (self.reason, self.message))


OURS = ("timeout", "memory", "crash")
"""Reasons that may be the machine's fault, not the file's: `failed`, not `rejected`."""
