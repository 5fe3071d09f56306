"""Which URLs a step may name, before anything is resolved."""

import re

import httpx2


def check_url(text: str) -> httpx2.URL:
    """Read a URL that a step may name: absolute, http or https, no user in it.

    Raises ValueError. Which addresses may be reached is decided when the connection is made.
    """
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, UnicodeError) as error:
        raise ValueError(f"not a URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("the URL must begin with http:// or https:// and name a host")
    if url.userinfo:
        raise ValueError("the URL must not hold a user or password; use the header Authorization")
    if "\\" in text or re.search(r"[\s\x00-\x1f\x7f]", text):
        raise ValueError("the URL must not hold spaces, backslashes or control characters")
    return url
