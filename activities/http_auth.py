"""The credentials of an http connection: where a step's URL leads with it, and what is sent."""

import base64
import re
from collections.abc import Mapping

import httpx2

from activities.context import ActionContext
from activities.errors import ActionError
from activities.masking import hide
from activities.vault import Connection
from schemas.errors import ErrorCode

_UP = re.compile(r"(?:^|/)(?:\.|%2e){2}(?:/|$)", re.IGNORECASE)


async def authorised(
    context: ActionContext, name: str, url: str, headers: Mapping[str, str]
) -> tuple[str, dict[str, str]]:
    """Give the whole URL of a request over a connection, and its headers with the credentials.

    `url` is relative to the connection's base_url, or absolute on its origin: the credentials go
    nowhere else. Raises ActionError INVALID_INPUT.
    """
    connection = await context.services.vault.connection(context.step.workspace, name, "http")
    target = joined(connection.config["base_url"], url, name)
    given = credentials(connection)
    lower = {one.lower() for one in headers}
    for header in given:
        if header.lower() in lower:
            raise _invalid(f"the header {header} comes from the connection {name!r}; leave it out")
    return target, {**headers, **given}


def joined(base: str, url: str, name: str = "") -> str:
    """Give the URL that `url` stands for: below `base`, or itself where it is on its origin.

    `leads/1`, `/leads/1` and `?page=2` all go below the base's own path. Raises ActionError
    INVALID_INPUT for another origin and for `..`, with which an input could leave the base.
    """
    path, mark, query = url.partition("?")
    if "://" in path:
        if not same_origin(base, url):
            raise _invalid(
                f"the url is not on the origin of the connection {name!r}",
                hint="give a path below its base_url, or leave 'connection' out",
            )
        return url
    if _UP.search(path):
        raise _invalid("a url that is relative to a connection must not hold '..'")
    if path.strip("/"):
        return f"{base.rstrip('/')}/{path.lstrip('/')}{mark}{query}"
    return f"{base}{mark}{query}"


def same_origin(one: str, other: str) -> bool:
    """Tell whether two URLs have the same scheme, host and port."""
    try:
        return origin(httpx2.URL(one)) == origin(httpx2.URL(other))
    except (httpx2.InvalidURL, UnicodeError):
        return False


def origin(url: httpx2.URL) -> tuple[str, str, int]:
    """Give scheme, host and port, the default one written out."""
    return url.scheme, url.host.lower(), url.port or (443 if url.scheme == "https" else 80)


def credentials(connection: Connection) -> dict[str, str]:
    """Give the headers that a connection of kind http sends; empty for `auth: none`.

    Raises ActionError INVALID_INPUT where a part is missing.
    """
    config, auth = connection.config, connection.config.get("auth", "none")
    if auth == "none":
        return {}
    if auth == "bearer":
        return {"Authorization": f"Bearer {_part(connection, 'token')}"}
    if auth == "basic":
        pair = f"{config.get('username') or ''}:{_part(connection, 'password')}"
        encoded = base64.b64encode(pair.encode()).decode()
        # What comes back of it is not the password's own form.
        hide(encoded)
        return {"Authorization": f"Basic {encoded}"}
    header = config.get("header")
    if not header:
        raise _invalid(f"the connection {connection.name!r} names no header")
    return {header: _part(connection, "value")}


def _part(connection: Connection, name: str) -> str:
    value = connection.secrets.get(name)
    if value is None:
        raise _invalid(f"the connection {connection.name!r} has no {name!r}")
    return value


def _invalid(message: str, hint: str | None = None) -> ActionError:
    return ActionError(message, code=ErrorCode.INVALID_INPUT, retryable=False, hint=hint)
