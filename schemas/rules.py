"""The rules of the language: one stable word for each thing that a check can find."""

from enum import StrEnum

from schemas.errors import ErrorCode, Problem, Severity


class Rule(StrEnum):
    """What `Problem.rule` says; documented in docs/language.md, and never renamed."""

    # The text and its shape.
    BAD_DOCUMENT = "bad-document"
    UNKNOWN_TYPE = "unknown-type"
    UNKNOWN_PROPERTY = "unknown-property"
    MISSING_PROPERTY = "missing-property"
    BAD_VALUE = "bad-value"
    BAD_TIME_ZONE = "bad-time-zone"
    BAD_SCHEMA = "bad-schema"
    # Parameters of actions.
    UNKNOWN_PARAMETER = "unknown-parameter"
    MISSING_PARAMETER = "missing-parameter"
    BAD_PARAMETER = "bad-parameter"
    # Limits.
    LIMIT_SIZE = "limit-size"
    LIMIT_STEPS = "limit-steps"
    LIMIT_DEPTH = "limit-depth"
    LIMIT_EXPRESSION = "limit-expression"
    LIMIT_BRANCHES = "limit-branches"
    LIMIT_ITEMS = "limit-items"
    LIMIT_ITERATIONS = "limit-iterations"
    LIMIT_ENTRIES = "limit-entries"
    # Steps and their order.
    DUPLICATE_ID = "duplicate-id"
    UNKNOWN_DEPENDENCY = "unknown-dependency"
    CYCLE = "cycle"
    UNREACHABLE_STEP = "unreachable-step"
    CONSTANT_VERDICT = "constant-verdict"
    WAIT_WITHOUT_TIMEOUT = "wait-without-timeout"
    UNBOUNDED_LOOP = "unbounded-loop"
    NESTED_COMPENSATION = "nested-compensation"
    MISPLACED_STEP = "misplaced-step"
    UNUSED_SAVEPOINT = "unused-savepoint"
    UNKNOWN_CODE = "unknown-code"
    # Expressions.
    SYNTAX = "syntax"
    UNKNOWN_NAME = "unknown-name"
    UNKNOWN_FIELD = "unknown-field"
    UNKNOWN_FUNCTION = "unknown-function"
    TYPE_CLASH = "type-clash"
    UNKNOWN_STEP = "unknown-step"
    NOT_YET_RUN = "not-yet-run"
    MAYBE_NOT_RUN = "maybe-not-run"
    MAYBE_NULL = "maybe-null"
    # Secrets and connections.
    MISPLACED_SECRET = "misplaced-secret"  # noqa: S105 - a rule
    UNKNOWN_SECRET = "unknown-secret"  # noqa: S105 - a rule
    UNKNOWN_CONNECTION = "unknown-connection"


def refused(rule: Rule, path: str, message: str, hint: str | None = None) -> Problem:
    """Build an error of a definition; the rules of limits carry LIMIT_EXCEEDED."""
    limit = rule.startswith("limit-")
    code = ErrorCode.LIMIT_EXCEEDED if limit else ErrorCode.DEFINITION_INVALID
    return Problem(code=code, rule=rule, path=path, message=message, hint=hint)


def warned(rule: Rule, path: str, message: str, hint: str | None = None) -> Problem:
    """Build a warning about a definition: it may be published all the same."""
    found = refused(rule, path, message, hint)
    return found.model_copy(update={"severity": Severity.WARNING})
