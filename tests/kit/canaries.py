"""Canaries: values that must be nowhere, the forms in which they may show, and where to look."""

import base64
import io
import json
import logging
import random
import re
import string
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import asyncpg
import structlog

from settings import Settings
from telemetry import configure_logging


def secrets_of(seed: random.Random, count: int) -> list[str]:
    """Make random secrets, each with characters that change in URLs, JSON and base64."""
    letters = string.ascii_letters + string.digits
    return ["".join(seed.choices(letters, k=20)) + '+/"&%' + str(n) for n in range(count)]


def addresses_of(seed: random.Random, count: int) -> list[str]:
    """Make random e-mail addresses."""
    names = ["".join(seed.choices(string.ascii_lowercase, k=16)) for _ in range(count)]
    return [f"{name}{number}@example.com" for number, name in enumerate(names)]


def _forms(value: str) -> Iterable[str]:
    inside = json.dumps(value)[1:-1]
    yield from (value, quote(value, safe=""), quote(value), inside, json.dumps(inside)[1:-1])
    yield base64.b64encode(value.encode()).decode().rstrip("=")


class Net:
    """Finds canaries in text or bytes, whatever form they have taken."""

    def __init__(self, canaries: Iterable[str]) -> None:
        """Look for these."""
        self._of = {form: one for one in canaries for form in _forms(one)}
        ordered = sorted(self._of, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered)).encode())

    def caught(self, hay: bytes | str) -> set[str]:
        """Give the canaries that are in the hay."""
        data = hay.encode("utf-8", "surrogatepass") if isinstance(hay, str) else hay
        return {self._of[found.decode()] for found in self._pattern.findall(data)}


async def columns_with(url: str, net: Net) -> dict[str, set[str]]:
    """Search every value of every table of a database; gives `table.column` and what is in it."""
    found: dict[str, set[str]] = {}
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
        )
        for (table,) in tables:
            # Not as JSONB: it refuses a U+0000 that columns of JSON may hold.
            for (row,) in await connection.fetch(f'SELECT row_to_json(t)::text FROM "{table}" t'):
                for column, value in json.loads(row).items():
                    if caught := net.caught(_hay(value)):
                        found.setdefault(f"{table}.{column}", set()).update(caught)
    finally:
        await connection.close()
    return found


def _hay(value: Any) -> bytes:
    if isinstance(value, str) and value.startswith("\\x"):
        # A bytea, in hex.
        return bytes.fromhex(value[2:])
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


@contextmanager
def product_log(settings: Settings) -> Iterator[io.StringIO]:
    """What the processes write to their log meanwhile, through the product's own formatting."""
    root, kept = logging.getLogger(), io.StringIO()
    handlers, level, config = root.handlers, root.level, structlog.get_config()
    configure_logging(settings)
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(kept)
    try:
        yield kept
    finally:
        root.handlers, root.level = handlers, level
        structlog.configure(**config)
