"""Bodies, headers and queries of deliveries, as expressions see them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.errors import InputError
from schemas.webhook_bodies import kept_headers, names_of, read_body, read_pairs

JSON = "application/json; charset=utf-8"
FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("body", "kind", "wanted"),
    [
        (b'{"a": [1, 2.5, null, "x"]}', JSON, {"a": [1, 2.5, None, "x"]}),
        (b'"x"', "application/vnd.x+json", "x"),
        (b"", JSON, None),
        (b"a=1&b=&a=2&a=3&c=%C3%BC", FORM, {"a": ["1", "2", "3"], "b": "", "c": "ü"}),
        (b'{"a": 1}', "", {"a": 1}),
        (b"{a", "", "{a"),
        (b'{"a": 1}', "text/plain", '{"a": 1}'),
        (b"\xff\x00", "application/octet-stream", "/wA="),
    ],
)
def test_bodies(body: bytes, kind: str, wanted: Any) -> None:
    assert read_body(body, kind) == wanted


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"NaN",
        b"[1e999]",
        b"1" * 21,
        b"[" * 100_000,
        b"[" * 200 + b"]" * 200,
        b"\xff",
        rb'"\ud800"',
        rb'"\u0000"',
    ],
)
def test_bodies_that_are_not_what_they_say(body: bytes) -> None:
    with pytest.raises(InputError):
        names_of(
            body=body,
            headers={"content-type": JSON},
            query="",
            delivery_id="d",
            received_at=datetime.now(UTC),
        )


def test_too_many_fields() -> None:
    with pytest.raises(InputError):
        read_pairs("&".join(["a=1"] * 1001))


def test_headers_that_are_kept() -> None:
    given = {"authorization": "x", "x-github-event": "e" * 2000, "x-mine": "m", "cookie": "c"}
    assert kept_headers(given, ["x-mine"]) == {"x-github-event": "e" * 1024, "x-mine": "m"}
