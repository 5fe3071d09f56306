"""Fingerprints of failures: one for all failures that come from the same cause."""

import hashlib
import re

_NORMALISED = (
    (re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.IGNORECASE), "<url>"),
    (re.compile(r"[^\s'\"<>@,;:()]+@[^\s'\"<>@,;:()]+"), "<address>"),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\b(?=[0-9a-z_-]*[0-9])[0-9a-z_-]{16,}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\b(?=[a-f]*[0-9])[0-9a-f]{8,}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "<n>"),
    (re.compile(r"\s+"), " "),
)
_INDEX = re.compile(r"\[\d+\]")
# What is stored of a message, and what of it tells two causes apart, in characters.
MAX_MESSAGE = 2000
_TELLING = 500


def normalised(message: str) -> str:
    """Give a message without what differs from failure to failure: numbers, ids, addresses."""
    text = message[:MAX_MESSAGE]
    for pattern, word in _NORMALISED:
        text = pattern.sub(word, text)
    return text.strip()[:_TELLING]


def without_indices(path: str | None) -> str:
    """Give a step's path without its iterations: `each[].send`; empty without a path."""
    return _INDEX.sub("[]", path or "")


def parts(path: str | None, code: str, message: str) -> tuple[str, str, str]:
    """Give what of a failure its fingerprint is made of, beside its kind and its definition."""
    return without_indices(path), code, normalised(message)


def fingerprint(kind: str, definition: str, path: str | None, code: str, message: str) -> str:
    """Give the fingerprint: SHA-256, in hex, of kind, definition, path, code and message.

    One line each; `db.dead_letters` makes the same in SQL.
    """
    lines = (kind, definition, *parts(path, code, message))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
