"""What a server's refusal says about another attempt."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

# RFC 9110, 15.5.9; RFC 8470, 5.2; RFC 6585, 4.
_TRANSIENT = frozenset({408, 425, 429})
# The server says by them that it has not begun: even what must not happen twice may be repeated.
_NOT_BEGUN = frozenset({425, 429, 503})
# The request has not left this process.
_NOT_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.UnsupportedProtocol,
)


def is_transient(status: int) -> bool:
    """Tell whether the same request may be answered otherwise later."""
    return status >= 500 or status in _TRANSIENT


def not_begun(status: int) -> bool:
    """Tell whether a status says that the server has done nothing yet."""
    return status in _NOT_BEGUN


def may_have_acted(status: int) -> bool:
    """Tell whether a server that answers so may have done what it was asked to."""
    return status < 400 or (is_transient(status) and not not_begun(status))


def not_sent(error: httpx2.TransportError) -> bool:
    """Tell whether the server cannot have seen anything of the request."""
    return isinstance(error, _NOT_SENT)


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Read Retry-After as seconds from now: a number or an HTTP date (RFC 9110, 10.2.3)."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:10])
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - (now or datetime.now(UTC))).total_seconds())
