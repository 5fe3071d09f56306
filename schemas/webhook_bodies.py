"""Deliveries as expressions see them: `body`, `headers`, `query` and `delivery`."""

import base64
import json
import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from schemas.errors import InputError
from schemas.storable import find_unstorable

MAX_HEADER = 1024
MAX_PAIRS = 1000
# What every delivery keeps of its headers; a trigger may name more.
KEPT_HEADERS: Final = frozenset(
    {
        "content-type",
        "user-agent",
        "webhook-id",
        "webhook-timestamp",
        "x-event-key",
        "x-github-delivery",
        "x-github-event",
        "x-github-hook-id",
        "x-gitlab-event",
        "x-gitlab-event-uuid",
        "x-shopify-event-id",
        "x-shopify-shop-domain",
        "x-shopify-topic",
        "x-slack-request-timestamp",
        "x-slack-retry-num",
        "x-slack-retry-reason",
    }
)


def kept_headers(headers: Mapping[str, str], more: Iterable[str]) -> dict[str, str]:
    """Give the headers that are kept, lower-case, each cut to 1,024 characters."""
    names = sorted(KEPT_HEADERS | set(more))
    return {
        name: value[:MAX_HEADER].replace("\x00", "\ufffd")
        for name in names
        if (value := headers.get(name)) is not None
    }


def read_pairs(text: str) -> dict[str, Any]:
    """Read a query or a form; a name that comes more than once gives a list.

    Raises InputError above 1,000 pairs.
    """
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_PAIRS)
    except ValueError as error:
        raise InputError(f"the fields cannot be read: {error}") from error
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    return found


def read_body(body: bytes, content_type: str) -> Any:
    """Read a body by its content type: JSON, a form, or text; base64 for what is no UTF-8.

    Without a content type it is JSON if it can be read as such. Raises InputError for a body that
    is not what its type says.
    """
    kind = content_type.partition(";")[0].strip().lower()
    try:
        text = body.decode()
    except UnicodeDecodeError:
        if _is_json(kind):
            raise InputError("the body is not JSON: it is no UTF-8") from None
        return base64.b64encode(body).decode()
    if _is_json(kind):
        return read_json(text)
    if kind == "application/x-www-form-urlencoded":
        return read_pairs(text)
    if not kind:
        try:
            return read_json(text)
        except InputError:
            return text
    return text


def read_json(text: str) -> Any:
    """Read JSON; raises InputError, also for what JSON has no numbers for, and too deep a nesting.

    An empty text is null: some senders post nothing.
    """
    if not text.strip():
        return None
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the body is not JSON: {str(error)[:200]}") from error


def _is_json(kind: str) -> bool:
    return kind == "application/json" or kind.endswith("+json")


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is not finite")
    return value


def _integer(text: str) -> int:
    # Expressions count with 64 bits, and int() takes long on long texts.
    if len(text) > 20:
        raise ValueError("an integer has more than 64 bits")
    return int(text)


def names_of(
    *,
    body: bytes,
    headers: Mapping[str, str],
    query: str,
    delivery_id: str,
    received_at: datetime,
) -> dict[str, Any]:
    """Give what a delivery is to expressions; raises InputError for a body that lies of its type.

    `headers` are those that were kept.
    """
    read = {"body": read_body(body, headers.get("content-type", "")), "query": read_pairs(query)}
    if fault := find_unstorable(read):
        raise InputError(f"the delivery cannot be used: {fault}")
    return {
        **read,
        "headers": dict(headers),
        "delivery": {"id": delivery_id, "received_at": received_at.isoformat()},
    }
