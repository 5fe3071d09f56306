"""Error codes and the one exception family that the API, activities, runs and the CLI speak."""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict


class ErrorCode(StrEnum):
    """Every code Sojourn itself raises; a `fail` step may raise codes of its own."""

    DEFINITION_INVALID = "DEFINITION_INVALID"
    DEFINITION_NOT_FOUND = "DEFINITION_NOT_FOUND"
    VERSION_CONFLICT = "VERSION_CONFLICT"
    INVALID_INPUT = "INVALID_INPUT"
    EXPRESSION_ERROR = "EXPRESSION_ERROR"
    STEP_FAILED = "STEP_FAILED"
    STEP_TIMEOUT = "STEP_TIMEOUT"
    HTTP_ERROR = "HTTP_ERROR"
    EMAIL_REJECTED = "EMAIL_REJECTED"
    DELIVERY_UNKNOWN = "DELIVERY_UNKNOWN"
    AI_UNAVAILABLE = "AI_UNAVAILABLE"
    AI_INVALID_OUTPUT = "AI_INVALID_OUTPUT"
    CODE_ERROR = "CODE_ERROR"
    CIRCUIT_OPEN = "CIRCUIT_OPEN"
    RATE_LIMITED = "RATE_LIMITED"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    UNAUTHORIZED = "UNAUTHORIZED"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    CONFLICT = "CONFLICT"
    TEMPORAL_UNAVAILABLE = "TEMPORAL_UNAVAILABLE"
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"
    TIMEOUT = "TIMEOUT"
    CANCELLED = "CANCELLED"
    INTERNAL = "INTERNAL"


class Position(BaseModel):
    """A place in a source text; `line` and `column` count from 1."""

    model_config = ConfigDict(frozen=True)

    line: int
    column: int


class Severity(StrEnum):
    """What a problem does: an error refuses what is checked, a warning only tells."""

    ERROR = "error"
    WARNING = "warning"


class Problem(BaseModel):
    """One thing wrong with an input; `path` as `steps[2].with.to`, `position` for texts.

    `code` is the broad error code; `rule` says in one stable word which check found it.
    """

    model_config = ConfigDict(frozen=True)

    code: str = ErrorCode.DEFINITION_INVALID
    rule: str | None = None
    severity: Severity = Severity.ERROR
    path: str = ""
    position: Position | None = None
    message: str
    hint: str | None = None


class SojournError(Exception):
    """Base of all errors Sojourn raises on purpose.

    `code` is stable and machine readable, `message` is for people, `hint` says what to do,
    `problems` lists each fault of a bad input, `retry_after` is in seconds. `in_doubt` tells
    whether what failed may have taken effect all the same; None where nobody has said.
    """

    code: str = ErrorCode.INTERNAL
    in_doubt: bool | None = None

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hint: str | None = None,
        path: str | None = None,
        problems: list[Problem] | None = None,
        retry_after: float | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        """Build an error; without `code` the class's own is used."""
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.hint = hint
        self.path = path
        self.problems = problems or []
        self.retry_after = retry_after
        self.details = details or {}


class DefinitionError(SojournError):
    """A definition breaks a rule of the language."""

    code = ErrorCode.DEFINITION_INVALID


class InputError(SojournError):
    """An input does not fit its schema."""

    code = ErrorCode.INVALID_INPUT


class ExpressionError(SojournError):
    """An expression is wrong, or cannot be evaluated over the values at hand.

    `offset` is the place in the source, in characters from 0, where known.
    """

    code = ErrorCode.EXPRESSION_ERROR

    def __init__(self, message: str, *, offset: int | None = None, hint: str | None = None) -> None:
        """Build an expression error at `offset`."""
        super().__init__(message, hint=hint)
        self.offset = offset


class LimitError(SojournError):
    """A limit of the language or of the service is exceeded; the message holds the number."""

    code = ErrorCode.LIMIT_EXCEEDED


class NotFoundError(SojournError):
    """The thing named does not exist, or belongs to another workspace."""

    code = ErrorCode.NOT_FOUND


class ConflictError(SojournError):
    """The thing is not in the state that the request needs."""

    code = ErrorCode.CONFLICT


class StepError(SojournError):
    """A step failed for good."""

    code = ErrorCode.STEP_FAILED


class UnavailableError(SojournError):
    """A service that Sojourn depends on does not answer; retry after `retry_after` seconds."""

    code = ErrorCode.TEMPORAL_UNAVAILABLE
