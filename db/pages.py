"""Keyset pages: stable while rows are added, and as fast on the last page as on the first."""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from schemas.errors import InputError

MAX_PAGE = 200
DEFAULT_PAGE = 50


class Keyed(Protocol):
    """A row that a page can be cut after."""

    @property
    def created_at(self) -> datetime:
        """When the row was made."""
        ...

    @property
    def id(self) -> str:
        """The row's id, which decides between rows of the same microsecond."""
        ...


RowT = TypeVar("RowT", bound=Keyed)


@dataclass(frozen=True)
class Page(Generic[RowT]):
    """One page, newest first; `next_cursor` is None on the last one."""

    items: list[RowT]
    next_cursor: str | None


def encode_cursor(created_at: datetime, row_id: str) -> str:
    """Return the opaque text that stands for the place after this row."""
    data = json.dumps([created_at.isoformat(), row_id]).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> tuple[datetime, str]:
    """Return what `encode_cursor` was given; raises InputError for any other text."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        when, row_id = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        created_at = datetime.fromisoformat(when)
        if created_at.utcoffset() is None or not isinstance(row_id, str) or "\x00" in row_id:
            raise ValueError("not a cursor of ours")
    except (ValueError, TypeError, binascii.Error) as error:
        raise InputError("the cursor is not one that a list has returned", path="cursor") from error
    return created_at, row_id


def page_size(limit: int) -> int:
    """Return `limit` if it is between 1 and MAX_PAGE; raises InputError otherwise."""
    if not 1 <= limit <= MAX_PAGE:
        raise InputError(f"limit must be between 1 and {MAX_PAGE}, not {limit}", path="limit")
    return limit


def cut(rows: Sequence[RowT], limit: int) -> Page[RowT]:
    """Make a page of at most `limit` from rows that were asked for with `limit + 1`."""
    items = list(rows[:limit])
    more = len(rows) > limit
    return Page(items, encode_cursor(items[-1].created_at, items[-1].id) if more else None)
