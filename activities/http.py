"""The `http` action: one request to an outside system, through the guarded client."""

import asyncio
import re
from typing import Annotated, Any, Literal, Self

import httpx2
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import to_json

from activities._answers import is_transient, may_have_acted, not_begun, not_sent, retry_after
from activities._client import BEGUN
from activities._effects import idempotency_key
from activities._reading import MAX_WHOLE_BYTES, Body, parse_json, read_body
from activities._redirects import MAX_REDIRECTS, REDIRECTS, redirected
from activities._urls import check_url
from activities.context import ActionContext
from activities.errors import ActionError
from activities.http_auth import authorised
from activities.registry import action
from schemas.connections import CONNECTION_NAME
from schemas.errors import ErrorCode, SojournError
from schemas.run import MAX_OUTPUT_BYTES

# A larger body is an artifact; the headers are a part of the output too.
MAX_KEPT_BYTES = MAX_OUTPUT_BYTES - 16 * 1024
_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
# Of those, what a server may do twice when it is asked twice (RFC 9110, 9.2.2).
_NOT_IDEMPOTENT = frozenset({"POST", "PATCH"})
_MAX_CONNECT = 10.0
# Framing and routing belong to the client; a step may not forge them.
_OWN_HEADERS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_EXPECT = re.compile(r"^(?:(?P<klass>[1-5])xx|(?P<low>[1-5]\d\d)(?:-(?P<high>[1-5]\d\d))?)$")
_HEADER_NAME = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$")
_HEADER_BREAK = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

Status = Annotated[int, Field(ge=100, le=599)]
Scalar = str | int | float | bool


class HttpParams(BaseModel):
    """Parameters of `http`."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, title="http")

    method: Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    connection: Annotated[str, Field(pattern=CONNECTION_NAME)] | None = Field(
        default=None, description="a stored connection of kind http, whose credentials are sent"
    )
    url: str = Field(
        min_length=1,
        max_length=8192,
        description="http or https; internal addresses need the operator's leave; with"
        " `connection` a path below its base_url",
        examples=["https://api.example.com/leads"],
    )
    headers: dict[str, str] = Field(default_factory=dict, description="request headers")
    query: dict[str, Scalar | list[Scalar] | None] = Field(
        default_factory=dict, description="added to the URL; a list repeats its name, null drops it"
    )
    json_: Any = Field(default=None, alias="json", description="body sent as JSON")
    body: str | None = Field(default=None, description="body sent as it is, as UTF-8")
    form: dict[str, Scalar | list[Scalar]] | None = Field(
        default=None, description="body sent as application/x-www-form-urlencoded"
    )
    expect: list[Status | str] = Field(
        default=["2xx"],
        min_length=1,
        max_length=20,
        description="statuses that are success: numbers, classes such as 2xx, ranges 200-299",
        examples=[["2xx", 404]],
    )
    follow_redirects: bool = Field(
        default=False, description="follow at most 3, never from https to http"
    )
    idempotent: bool = Field(
        default=False,
        description="the server does requests with one Idempotency-Key once: POST and PATCH are"
        " then tried again after any lost answer",
    )
    output: Literal["auto", "json", "text", "none"] = Field(
        default="auto", description="how the body is kept; auto goes by the content type"
    )

    @field_validator("url")
    @classmethod
    def _url(cls, value: str, info: ValidationInfo) -> str:
        # Below a connection's base_url it is whole only when the connection is known.
        if info.data.get("connection") is None:
            check_url(value)
        return value

    @field_validator("method", mode="before")
    @classmethod
    def _method(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("headers")
    @classmethod
    def _headers(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name[:64]!r} is not a header name")
            if name.lower() in _OWN_HEADERS:
                raise ValueError(f"the header {name} is set by Sojourn")
            if _HEADER_BREAK.search(text):
                raise ValueError(f"the header {name} must not hold line breaks")
        return value

    @field_validator("expect")
    @classmethod
    def _expect(cls, value: list[int | str]) -> list[int | str]:
        for entry in value:
            if isinstance(entry, str) and not _EXPECT.fullmatch(entry):
                raise ValueError(f"{entry[:20]!r} is no status; write 404, '2xx' or '200-299'")
        return value

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        given = [
            name
            for name, field in (("json", "json_"), ("body", "body"), ("form", "form"))
            if field in self.model_fields_set and getattr(self, field) is not None
        ]
        if len(given) > 1:
            raise ValueError(f"give one body, not {' and '.join(given)}")
        return self

    def expects(self, status: int) -> bool:
        """Tell whether a status is success."""
        return any(_matches(entry, status) for entry in self.expect)

    @property
    def repeatable(self) -> bool:
        """Whether another attempt does no harm where nobody knows what became of this one.

        Who gives a key of their own knows a server that looks at it.
        """
        return (
            self.method not in _NOT_IDEMPOTENT
            or self.idempotent
            or any(name.lower() == "idempotency-key" for name in self.headers)
        )


class HttpResult(BaseModel):
    """What came back; `body` is JSON, a text, null, or the reference of an artifact."""

    status: int
    headers: dict[str, str] = Field(description="names in lower case; repeated ones joined")
    body: Any = Field(
        default=None,
        description="above 240 KiB {artifact, size, content_type, preview}: the bytes are at GET"
        " /runs/{run}/artifacts/{artifact}",
    )
    url: str = Field(description="the address that answered, after redirects")


class _Course:
    """How far an exchange has come: the request that was sent last, and whether others were."""

    request: httpx2.Request | None = None
    redirected = False

    @property
    def in_doubt(self) -> bool:
        """Whether the other side may have done what it was asked."""
        return self.redirected or (
            self.request is not None and self.request.extensions.get(BEGUN, False)
        )


@action("http", cancellable=True, ledger="common")
async def http(params: HttpParams, context: ActionContext) -> HttpResult:
    """Send one HTTP request and keep its answer.

    POST, PUT, PATCH and DELETE carry an `Idempotency-Key` made from the step key, the same over
    all attempts. Raises HTTP_ERROR (retryable for 5xx, 408, 425, 429 and lost connections; a POST
    or PATCH that is not idempotent only where the server has not begun it), FORBIDDEN for a target
    that is not public, LIMIT_EXCEEDED for an answer too large, STEP_TIMEOUT. An error is `in_doubt`
    once the request was begun, unless the answer tells that nothing was done.
    """
    course = _Course()
    try:
        return await _bounded(params, context, course)
    except SojournError as error:
        if error.in_doubt is None or course.redirected:
            error.in_doubt = course.in_doubt
        raise


async def _bounded(params: HttpParams, context: ActionContext, course: _Course) -> HttpResult:
    try:
        async with asyncio.timeout(context.budget):
            given, credentials = await _connected(params, context)
            return await _exchange(given, context, credentials, course)
    except TimeoutError as error:
        raise _in_doubt(
            params,
            f"no whole answer within {context.budget:g} s",
            code=ErrorCode.STEP_TIMEOUT,
            details={"method": params.method},
        ) from error
    except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.InvalidURL) as error:
        raise _invalid(f"the request cannot be sent: {error}") from error
    except UnicodeEncodeError as error:
        raise _invalid("the headers of a request must be plain ASCII") from error
    except httpx2.TransportError as error:
        message = f"the connection failed: {type(error).__name__}: {error}"
        if not_sent(error):
            raise ActionError(message, code=ErrorCode.HTTP_ERROR, in_doubt=False) from error
        raise _in_doubt(params, message, code=ErrorCode.HTTP_ERROR) from error


def _in_doubt(
    params: HttpParams, message: str, *, code: ErrorCode, details: dict[str, Any] | None = None
) -> ActionError:
    """Build the error of a request whose answer was lost: the server may have done its part."""
    if params.repeatable:
        return ActionError(message, code=code, details=details, in_doubt=True)
    return ActionError(
        message,
        code=code,
        retryable=False,
        hint=f"the server may have done this {params.method}; where it honours Idempotency-Key,"
        " 'idempotent: true' has it tried again",
        details={**(details or {}), "in_doubt": True},
        in_doubt=True,
    )


async def _connected(
    params: HttpParams, context: ActionContext
) -> tuple[HttpParams, tuple[str, ...]]:
    """Give the parameters with the URL and the credentials of their connection, if there is one.

    The second part are the names of the headers that the connection adds.
    """
    if params.connection is None:
        return params, ()
    url, headers = await authorised(context, params.connection, params.url, params.headers)
    try:
        check_url(url)
    except ValueError as error:
        raise _invalid(f"the url is wrong: {error}") from error
    added = tuple(name for name in headers if name not in params.headers)
    return params.model_copy(update={"url": url, "headers": headers}), added


async def _exchange(
    params: HttpParams, context: ActionContext, credentials: tuple[str, ...], course: _Course
) -> HttpResult:
    client = context.services.http
    headers = {name.lower(): text for name, text in params.headers.items()}
    headers["accept-encoding"] = "gzip"
    if params.method in _UNSAFE:
        headers.setdefault("idempotency-key", idempotency_key(context.step.key))
    # A host that does not answer at all must not look like an answer that was lost.
    patience = httpx2.Timeout(context.budget, connect=min(_MAX_CONNECT, context.budget * 0.8))
    request = client.build_request(
        params.method, _with_query(params), headers=headers, timeout=patience, **_body(params)
    )
    for hop in range(MAX_REDIRECTS + 1):
        course.request = request
        response = await client.exchange(request)
        try:
            follow = params.follow_redirects and not params.expects(response.status_code)
            if follow and response.status_code in REDIRECTS and "location" in response.headers:
                if hop == MAX_REDIRECTS:
                    raise ActionError(
                        f"more than {MAX_REDIRECTS} redirects",
                        code=ErrorCode.HTTP_ERROR,
                        retryable=False,
                    )
                request = redirected(client, request, response, credentials)
                course.redirected = True
                continue
            return await _result(params, response, context)
        finally:
            await response.aclose()
    raise AssertionError("unreachable: the last hop returns or raises")


async def _result(
    params: HttpParams, response: httpx2.Response, context: ActionContext
) -> HttpResult:
    status = response.status_code
    if not params.expects(status):
        raise _unexpected(params, response, await read_body(response))
    kept: Any = None
    if params.output != "none":
        body = await read_body(response, whole=context.keeps)
        kept = await _kept(params.output, response, body, context)
    return HttpResult(
        status=status,
        headers={name.lower(): text for name, text in response.headers.items()},
        body=kept,
        url=str(response.request.url),
    )


async def _kept(output: str, response: httpx2.Response, body: Body, context: ActionContext) -> Any:
    """Give the body's value, or the reference of an artifact where it is too large for a step."""
    body.check_kept()
    if body.size <= MAX_WHOLE_BYTES:
        value = _parsed(output, response, body)
        if body.size <= MAX_KEPT_BYTES or len(to_json(value)) <= MAX_KEPT_BYTES:
            return value
    kind = response.headers.get("content-type") or "application/octet-stream"
    reference = await context.keep(body.data, kind)
    return _parsed(output, response, body) if reference is None else reference


def _parsed(output: str, response: httpx2.Response, body: Body) -> Any:
    kind = response.headers.get("content-type", "").split(";")[0].strip().lower()
    if output != "text" and not body.data.strip():
        return None
    is_json = kind == "application/json" or kind.endswith("+json")
    if output == "json" or (output == "auto" and is_json):
        return parse_json(body.data)
    return body.text(response)


def _unexpected(params: HttpParams, response: httpx2.Response, body: Body) -> ActionError:
    status = response.status_code
    transient = is_transient(status) and (params.repeatable or not_begun(status))
    return ActionError(
        f"{response.request.method} {response.request.url.host} answered {status}"
        f" {response.reason_phrase}".rstrip(),
        code=ErrorCode.HTTP_ERROR,
        retryable=transient,
        retry_after=retry_after(response.headers) if transient else None,
        details={"status": status, "body": body.excerpt(response)},
        in_doubt=may_have_acted(status),
    )


def _with_query(params: HttpParams) -> httpx2.URL:
    url = check_url(params.url)
    extra = [
        (name, _written(one))
        for name, value in params.query.items()
        if value is not None
        for one in (value if isinstance(value, list) else [value])
    ]
    return url.copy_with(params=[*url.params.multi_items(), *extra]) if extra else url


def _body(params: HttpParams) -> dict[str, Any]:
    if params.form is not None:
        fields = {
            name: [_written(one) for one in value] if isinstance(value, list) else _written(value)
            for name, value in params.form.items()
        }
        return {"data": fields}
    if params.body is not None:
        return {"content": params.body.encode()}
    if "json_" in params.model_fields_set:
        return {"json": params.json_}
    return {}


def _matches(entry: int | str, status: int) -> bool:
    if isinstance(entry, int):
        return entry == status
    found = _EXPECT.fullmatch(entry)
    if found is None:
        return False
    if found["klass"]:
        return status // 100 == int(found["klass"])
    return int(found["low"]) <= status <= int(found["high"] or found["low"])


def _written(value: Scalar) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _invalid(message: str) -> ActionError:
    return ActionError(message, code=ErrorCode.INVALID_INPUT, retryable=False)
