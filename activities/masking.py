"""Hides, in what one attempt of an action leaves behind, the secrets that it was given."""

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import quote, quote_plus

from schemas.connections import MIN_SECRET

MASK = "***"
_LEFT = "!#$%&'()*+,/:;=?@[]"


class Masks:
    """The values to hide, in each of the forms in which they may come back."""

    def __init__(self) -> None:
        """Hide nothing yet."""
        self._forms: dict[str, None] = {}
        self._ordered: list[str] | None = None

    def __bool__(self) -> bool:
        return bool(self._forms)

    def add(self, *values: str) -> None:
        """Hide these values, also URL-encoded, inside JSON, and in base64."""
        for value in values:
            if len(value) >= MIN_SECRET:
                self._forms.update(dict.fromkeys(_forms(value)))
        self._ordered = None

    def text(self, text: str) -> str:
        """Replace every form of every value."""
        if self._ordered is None:
            # The longest first: one value may be the beginning of another.
            self._ordered = sorted(self._forms, key=len, reverse=True)
        for form in self._ordered:
            if form in text:
                text = text.replace(form, MASK)
        return text

    def value(self, value: Any) -> Any:
        """Copy of JSON data with the values hidden, in keys as well."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.value(key): self.value(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(one) for one in value]
        return value


_current: ContextVar[Masks | None] = ContextVar("sojourn_masks", default=None)


@contextmanager
def masking() -> Iterator[Masks]:
    """Collect what is to be hidden in one attempt."""
    masks = Masks()
    token = _current.set(masks)
    try:
        yield masks
    finally:
        _current.reset(token)


def hide(*values: str) -> None:
    """Have values hidden in whatever the running attempt leaves; outside of one, do nothing."""
    masks = _current.get()
    if masks is not None:
        masks.add(*values)


def masked(text: str) -> str:
    """Give a text with what the running attempt hides replaced; call it before a text is cut."""
    masks = _current.get()
    return masks.text(text) if masks else text


def mask_log(_logger: Any, _method: str, event: Any) -> Any:
    """Hide the running attempt's secrets in a log line: a structlog processor."""
    masks = _current.get()
    return masks.value(event) if masks else event


def _forms(value: str) -> Iterator[str]:
    yield value
    yield quote(value, safe="")
    yield quote(value)
    yield quote_plus(value)
    # As it stands in a URL whose author did not encode it.
    yield quote(value, safe=_LEFT)
    # As a host.
    yield value.lower()
    for ascii_only in (True, False):
        yield json.dumps(value, ensure_ascii=ascii_only)[1:-1]
    encoded = base64.b64encode(value.encode()).decode()
    yield encoded
    yield encoded.rstrip("=")
