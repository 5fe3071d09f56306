"""What actions raise, and which errors are worth another attempt."""

from typing import Any

from pydantic import ValidationError

from schemas.errors import ErrorCode, Problem, SojournError

_WORTH_RETRYING = frozenset(
    {
        ErrorCode.CIRCUIT_OPEN,
        ErrorCode.DATABASE_UNAVAILABLE,
        ErrorCode.INTERNAL,
        ErrorCode.RATE_LIMITED,
        ErrorCode.STEP_TIMEOUT,
        ErrorCode.TEMPORAL_UNAVAILABLE,
        ErrorCode.TIMEOUT,
    }
)

# Said before anything is done, or by the other side instead of doing it.
_NOTHING_DONE = frozenset(
    {
        ErrorCode.CIRCUIT_OPEN,
        ErrorCode.EMAIL_REJECTED,
        ErrorCode.FORBIDDEN,
        ErrorCode.INVALID_INPUT,
        ErrorCode.NOT_FOUND,
        ErrorCode.RATE_LIMITED,
        ErrorCode.UNAUTHORIZED,
    }
)


class ActionError(SojournError):
    """An action failed; `retryable` says whether another attempt can help.

    `retry_after` is in seconds and comes from the other side (a Retry-After header).
    """

    code = ErrorCode.STEP_FAILED

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retryable: bool = True,
        retry_after: float | None = None,
        hint: str | None = None,
        problems: list[Problem] | None = None,
        details: dict[str, Any] | None = None,
        in_doubt: bool | None = None,
    ) -> None:
        """Build an error; without `code` it is STEP_FAILED."""
        super().__init__(
            message,
            code=code,
            hint=hint,
            problems=problems,
            retry_after=retry_after,
            details=details,
        )
        self.retryable = retryable
        self.in_doubt = in_doubt


class NotYetError(ActionError):
    """Not this action's turn: it comes in `seconds`, as Sojourn itself has promised.

    No fault, so that neither a step's `only` and `except` nor the cap on what other servers may
    ask for apply to it.
    """

    code = ErrorCode.RATE_LIMITED

    def __init__(self, message: str, *, seconds: float, hint: str | None = None) -> None:
        """Build it with the time until the turn."""
        super().__init__(
            message,
            code=ErrorCode.RATE_LIMITED,
            retry_after=seconds,
            hint=hint,
            details={"wait": round(seconds, 3)},
        )
        self.seconds = seconds


class PacedError(ActionError):
    """Another attempt follows in `seconds`: the action has a schedule of its own.

    A Retry-After of the other side that is longer counts instead.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        seconds: float,
        retry_after: float | None = None,
        details: dict[str, Any] | None = None,
        in_doubt: bool | None = None,
    ) -> None:
        """Build it with the time until the next attempt."""
        super().__init__(
            message, code=code, retry_after=retry_after, details=details, in_doubt=in_doubt
        )
        self.seconds = seconds


def is_retryable(error: SojournError) -> bool:
    """Tell whether another attempt may succeed: an ActionError says so, others by their code."""
    if isinstance(error, ActionError):
        return error.retryable
    return error.code in _WORTH_RETRYING


def may_have_happened(error: Exception) -> bool:
    """Tell whether an effect may have happened in spite of an error: where nobody knows, it may."""
    if not isinstance(error, SojournError):
        return True
    if error.in_doubt is not None:
        return error.in_doubt
    return error.code not in _NOTHING_DONE


def invalid_input(name: str, error: ValidationError, root: str = "with") -> ActionError:
    """Turn a failed validation of an action's parameters into INVALID_INPUT with every problem.

    Values never appear in the messages: parameters may hold personal data.
    """
    problems = [
        Problem(
            code=ErrorCode.INVALID_INPUT,
            path=_path(root, fault["loc"]),
            message=_message(fault["type"], fault["msg"]),
        )
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    listed = "; ".join(f"{problem.path}: {problem.message}" for problem in problems[:5])
    more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
    return ActionError(
        f"the parameters of {name} are wrong: {listed}{more}",
        code=ErrorCode.INVALID_INPUT,
        retryable=False,
        problems=problems,
    )


def _path(root: str, location: tuple[int | str, ...]) -> str:
    return root + "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in location)


def _message(kind: str, message: str) -> str:
    return message.removeprefix("Value error, ") if kind == "value_error" else message
