"""What logs may show: secrets are hidden by key and by shape, addresses and phones too.

The process's own log and the logs of runs follow the same rules.
"""

import hashlib
import re
from collections.abc import MutableMapping
from typing import Any

MASK = "***"
_MAX_DEPTH = 8
_SECRET_KEY = re.compile(
    r"passw|secret|token|authorization|api_?-?key|cookie|credential|private_?-?key|phone|mobile",
    re.IGNORECASE,
)
# Counts and names of things, not the things: `tokens=12`, `token_url=…` stay readable.
_HARMLESS_KEY = re.compile(r"(^|_)tokens$|_tokens_|^max_tokens", re.IGNORECASE)
_EMAIL = re.compile(r"[A-Za-z0-9._%+'-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}")
_URL_PASSWORD = re.compile(r"(?<=://)([^\s:/@]*):([^\s/@]+)@")
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"""\b((?:[\w-]*(?:password|passwd|secret|token|api[_-]?key|authorization))["']?\s*[=:]\s*["']?)"""
    r"""(?!Bearer|Basic)([^\s"',;&}]{3,})""",
    re.IGNORECASE,
)
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_PHONE = re.compile(r"(?<![\w.:+-])\+\d[\d ().-]{7,18}\d\b")


class Masking:
    """A structlog processor that hides secrets by key and by shape, and hashes email addresses.

    The hash is keyed, so that the lines of one installation can be joined and addresses cannot be
    guessed from it.
    """

    def __init__(self, key: str) -> None:
        """Hash addresses under `key`."""
        self._key = hashlib.sha256(key.encode()).digest()

    def __call__(
        self, _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Mask every field of a log line."""
        return self.fields(dict(event))

    def fields(self, values: dict[str, Any]) -> dict[str, Any]:
        """Give a copy of named values with each masked by its name and its shape."""
        return {key: self._field(key, value, 0) for key, value in values.items()}

    def text(self, value: str) -> str:
        """Mask what looks like a secret, a phone number or an address inside a text."""
        if len(value) < 6:
            return value
        masked = _URL_PASSWORD.sub(rf"\1:{MASK}@", value)
        masked = _BEARER.sub(rf"\1 {MASK}", masked)
        masked = _ASSIGNED.sub(rf"\1{MASK}", masked)
        masked = _JWT.sub(MASK, masked)
        masked = _PHONE.sub(MASK, masked)
        return _EMAIL.sub(lambda found: self.email(found.group()), masked)

    def email(self, address: str) -> str:
        """Give `email:` and twelve hexadecimal digits, the same for the same address."""
        digest = hashlib.blake2b(address.lower().encode(), key=self._key, digest_size=6)
        return f"email:{digest.hexdigest()}"

    def _field(self, key: str, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if _SECRET_KEY.search(key) and not _HARMLESS_KEY.search(key):
            return MASK
        return self._value(value, depth)

    def _value(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, bool | int | float):
            return value
        if depth >= _MAX_DEPTH:
            return "…"
        if isinstance(value, dict):
            return {name: self._field(str(name), inner, depth + 1) for name, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._value(inner, depth + 1) for inner in value]
        return self.text(str(value))
