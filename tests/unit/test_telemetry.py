"""Logs hide what is secret, and metrics of Temporal and of ours are one text."""

import json
import logging
import sys
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
import structlog

from schemas.masking import MASK, Masking
from settings import load_settings
from telemetry import MeteringMiddleware, Telemetry, configure_logging

masking = Masking("postgresql://one")


def masked(**event: object) -> dict[str, object]:
    return dict(masking(None, "info", dict(event)))


@pytest.mark.parametrize(
    "key",
    ["password", "user_password", "api_key", "apiKey", "X-API-Key", "Authorization", "token",
     "access_token", "client_secret", "cookie", "phone", "mobile_number", "private_key"],
)  # fmt: skip
def test_secrets_are_hidden_by_their_key(key: str) -> None:
    assert masked(**{key: "hush"}) == {key: MASK}
    assert masked(nested=[{key: {"deep": "hush"}}]) == {"nested": [{key: MASK}]}


@pytest.mark.parametrize("key", ["tokens", "input_tokens", "step", "run_id", "status"])
def test_what_is_no_secret_stays(key: str) -> None:
    assert masked(**{key: 12}) == {key: 12}


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("postgresql://user:hush@db/x", "hush"),
        ("Authorization: Bearer abc.def-123456", "abc.def-123456"),
        ("Basic dXNlcjpodXNo", "dXNlcjpodXNo"),
        ('{"password": "hush-hush"}', "hush-hush"),
        ("GET /x?api_key=hush-hush&a=1", "hush-hush"),
        ("client_secret=hush-hush", "hush-hush"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc_123", "eyJhbGciOiJIUzI1NiJ9"),
        ("call +46 70-123 45 67 now", "123 45 67"),
        ("to ada.lovelace+x@sub.example.com", "ada"),
    ],
)
def test_secrets_are_hidden_inside_texts(text: str, hidden: str) -> None:
    assert hidden not in str(masked(event=text)["event"])


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T04:47:14.123456+00:00",
        "01a1fc7f-b794-7484-a1c8-9f4172d7222d",
        "default/lead-nurture/01a1fc7f-b794-7484-a1c8-9f4172d7222d",
        "12 tokens used, 3 attempts",
        "http://127.0.0.1:8000/api/v1/runs",
    ],
)
def test_ordinary_texts_stay_as_they_are(text: str) -> None:
    assert masked(event=text) == {"event": text}


def test_addresses_are_joined_but_not_told() -> None:
    first = masked(event="from Ada@Example.com", to="ada@example.com")
    assert str(first["event"]) == f"from {first['to']}"
    assert str(first["to"]).startswith("email:")
    # Another installation has another key: nobody can look an address up.
    assert Masking("another").email("ada@example.com") != first["to"]


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[StringIO]:
    root = logging.getLogger()
    before = root.handlers, root.level
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@h/d")
    monkeypatch.setattr(sys, "stderr", StringIO())
    configure_logging(load_settings(None, log_format="json"))
    yield sys.stderr  # pyright: ignore[reportReturnType]
    root.handlers, level = before
    root.setLevel(level)
    structlog.reset_defaults()


def test_ours_and_the_libraries_lines_are_json_with_the_correlation_id(
    logs: StringIO,
) -> None:
    with structlog.contextvars.bound_contextvars(correlation_id="abc"):
        structlog.get_logger("ours").info("sent", to="ada@example.com")
        logging.getLogger("theirs").warning("bad %s", "token=hush-hush")
        try:
            raise ValueError("password=hush-hush")
        except ValueError:
            structlog.get_logger("ours").exception("failed")
    lines = [json.loads(line) for line in logs.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["sent", f"bad token={MASK}", "failed"]
    assert {line["correlation_id"] for line in lines} == {"abc"}
    assert "ValueError" in lines[2]["exception"]
    assert "hush" not in json.dumps(lines)


async def test_metrics_of_temporal_and_ours_are_one_text() -> None:
    from temporalio.client import Client

    telemetry = Telemetry()
    telemetry.runs_started.add(2, {"definition": "unit"})

    async def app(scope, receive, send) -> None:
        scope["route"] = type("Route", (), {"path": "/things/{id}"})()
        await send({"type": "http.response.start", "status": 201, "headers": []})

    async def nothing(*_: object) -> Any:
        return None

    scope = {"type": "http", "method": "PUT", "path": "/things/5"}
    await MeteringMiddleware(app, telemetry)(scope, nothing, nothing)
    await Client.connect("127.0.0.1:1", lazy=True, runtime=telemetry.runtime)

    text = telemetry.render().decode()
    assert 'sojourn_runs_started_total{definition="unit"} 2.0' in text
    labels = 'method="PUT",route="/things/{id}",status="201"'
    assert f"sojourn_api_request_duration_seconds_count{{{labels}}} 1.0" in text
    assert "process_resident_memory_bytes" in text
    assert "things/5" not in text
