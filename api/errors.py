"""Errors as the API answers them: RFC 9457 problem details, `application/problem+json`."""

from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from api.correlation import request_id
from schemas.errors import ConflictError, DefinitionError, ErrorCode, Problem, SojournError

MEDIA_TYPE = "application/problem+json"
STATUS: dict[str, int] = {
    ErrorCode.DEFINITION_INVALID: 422,
    ErrorCode.DEFINITION_NOT_FOUND: 404,
    ErrorCode.VERSION_CONFLICT: 409,
    ErrorCode.INVALID_INPUT: 422,
    ErrorCode.EXPRESSION_ERROR: 422,
    ErrorCode.LIMIT_EXCEEDED: 413,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.CONFLICT: 409,
    ErrorCode.TEMPORAL_UNAVAILABLE: 503,
    ErrorCode.DATABASE_UNAVAILABLE: 503,
    ErrorCode.TIMEOUT: 504,
    # Of the issuer of tokens: nothing else here is fetched for a caller.
    ErrorCode.HTTP_ERROR: 503,
}
_HTTP_CODES: dict[int, ErrorCode] = {
    401: ErrorCode.UNAUTHORIZED,
    403: ErrorCode.FORBIDDEN,
    404: ErrorCode.NOT_FOUND,
    413: ErrorCode.LIMIT_EXCEEDED,
    429: ErrorCode.RATE_LIMITED,
}
_log = structlog.get_logger(__name__)


class ProblemDetail(BaseModel):
    """The body of every error answer."""

    type: str = Field(description="a URN for the kind of error", examples=["urn:sojourn:not-found"])
    title: str = Field(description="the status in words", examples=["Not Found"])
    status: int = Field(description="the HTTP status", examples=[404])
    detail: str = Field(description="what is wrong", examples=["run 'x' does not exist"])
    code: str = Field(description="stable, machine readable", examples=["NOT_FOUND"])
    hint: str | None = Field(default=None, description="what to do about it")
    problems: list[Problem] = Field(default_factory=list, description="each fault of a bad input")
    request_id: str | None = Field(default=None, description="names the request in the logs")


class KeyReusedError(ConflictError):
    """An idempotency key came again with another body; answered 422, not 409."""


def status_of(error: SojournError) -> int:
    """The HTTP status of an error; 500 for codes that a client cannot cause."""
    # A definition over a limit of the language is a bad definition; its body may be small.
    if isinstance(error, KeyReusedError | DefinitionError):
        return 422
    return STATUS.get(error.code, 500)


def problem_body(
    status: int,
    code: str,
    detail: str,
    *,
    hint: str | None = None,
    problems: list[Problem] | None = None,
) -> bytes:
    """The JSON of one problem, with the id of the request at hand."""
    return (
        ProblemDetail(
            type=f"urn:sojourn:{code.lower().replace('_', '-')}",
            title=HTTPStatus(status).phrase,
            status=status,
            detail=detail,
            code=code,
            hint=hint,
            problems=problems or [],
            request_id=request_id(),
        )
        .model_dump_json()
        .encode()
    )


def problem_response(
    status: int,
    code: str,
    detail: str,
    *,
    hint: str | None = None,
    problems: list[Problem] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """A problem+json response."""
    body = problem_body(status, code, detail, hint=hint, problems=problems)
    return Response(body, status_code=status, media_type=MEDIA_TYPE, headers=headers)


async def _sojourn_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, SojournError):
        raise error
    status = status_of(error)
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status >= 500:
        _log.warning("request_failed", code=error.code, status=status, error=error.message)
    detail = error.message
    if status == 500:
        detail = "an internal error; the logs have it under the request id"
    return problem_response(
        status, error.code, detail, hint=error.hint, problems=error.problems, headers=headers
    )


def _path(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


async def _validation_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    problems = [
        Problem(
            code=ErrorCode.INVALID_INPUT,
            path=_path(fault["loc"]),
            message=str(fault["msg"]).encode("utf-8", "replace").decode(),
        )
        for fault in error.errors()[:100]
    ]
    detail = "; ".join(f"{each.path}: {each.message}" for each in problems[:3])
    return problem_response(422, ErrorCode.INVALID_INPUT, detail, problems=problems)


async def _http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    code = _HTTP_CODES.get(error.status_code)
    if code is None:
        code = ErrorCode.INVALID_INPUT if error.status_code < 500 else ErrorCode.INTERNAL
    headers = dict(error.headers or {})
    return problem_response(error.status_code, code, str(error.detail), headers=headers)


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error raised in `app` as a problem."""
    app.add_exception_handler(SojournError, _sojourn_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)


_DESCRIPTIONS = {
    400: "The body cannot be read",
    401: "The credential is missing or wrong",
    403: "The caller, or whoever is named, may not do this",
    404: "It does not exist",
    409: "It is not in the state that the request needs",
    413: "The body is too large",
    422: "The request is not valid; `problems` lists each fault",
    429: "Too many; retry after the time in `Retry-After`",
    503: "Temporal or PostgreSQL does not answer; retry after the time in `Retry-After`",
}
_RETRY_AFTER = {
    "Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}
}


def problems(*statuses: int, closed: bool = True) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses for these problem statuses, and those that every operation may give.

    `closed` operations need a credential and add 401, 403, 429; 422 and 503 are always there.
    """
    every = {*statuses, 422, 503, *({401, 403, 429} if closed else ())}
    return {
        status: {
            "description": _DESCRIPTIONS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetail"}}},
            **({"headers": _RETRY_AFTER} if status in (429, 503) else {}),
        }
        for status in sorted(every)
    }
