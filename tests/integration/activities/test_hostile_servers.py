"""Servers that send too much, too slowly, or nonsense: memory and time stay bounded."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.evidence import figures
from tests.servers.hostile import MEBIBYTE, hostile
from tests.servers.wire import WireServer

SECONDS = 2.5
BOUND = 64 * MEBIBYTE
# What each way must come to; a server that goes on for ever is cut at the size or at the deadline.
TOO_MUCH = ("LIMIT_EXCEEDED",)
TOO_LATE = ("STEP_TIMEOUT",)
NONSENSE = ("HTTP_ERROR",)
EXPECTED: dict[str, tuple[str, ...]] = {
    "large_body": TOO_MUCH,
    "endless_chunks": TOO_MUCH,
    "tiny_chunks": (*TOO_MUCH, *TOO_LATE),
    "huge_chunk": (*TOO_MUCH, *NONSENSE),
    "negative_chunk": NONSENSE,
    "chunk_extension": NONSENSE,
    "endless_trailers": NONSENSE,
    "two_lengths": NONSENSE,
    "endless_headers": NONSENSE,
    "many_headers": NONSENSE,
    "endless_header_line": NONSENSE,
    "endless_continues": NONSENSE,
    "no_http": NONSENSE,
    "byte_a_second": TOO_LATE,
    "silence": TOO_LATE,
    "gzip_bomb": TOO_MUCH,
    "deflate_bomb": TOO_MUCH,
    "gzip_in_gzip": NONSENSE,
    "brotli": NONSENSE,
    "zstd": NONSENSE,
    "deep_json": NONSENSE,
    "deep_objects": NONSENSE,
    "wide_json": (*TOO_MUCH, "OK"),
    "large_json": TOO_MUCH,
}


async def _call(repository: Path, server: WireServer, *arguments: str) -> list[dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.kit.hostile_cases", server.url, *arguments,
        cwd=repository, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return json.loads(out)


async def test_memory_and_deadlines_hold(repository: Path) -> None:
    async with WireServer(hostile) as server:
        found = await _call(repository, server, str(SECONDS), *EXPECTED)
        asked = [request.target.strip("/") for request in server.requests]
    assert {
        one["path"]: one["code"] for one in found if one["code"] not in EXPECTED[one["path"]]
    } == {}
    # One request each: nothing is sent again inside an attempt, and none of them is worth another.
    assert asked == list(EXPECTED)
    assert [one["path"] for one in found if one["retryable"]] == []
    grown = sum(one["grown"] for one in found)
    slowest = max(one["seconds"] for one in found if one["code"] == "STEP_TIMEOUT")
    assert grown <= BOUND, found
    # With time for a busy machine.
    assert slowest <= SECONDS + 3, found
    figures(
        "T12 hostile servers",
        ways=len(found),
        mebibytes_grown=round(grown / MEBIBYTE, 1),
        slowest_seconds=round(slowest, 2),
        deadline_seconds=SECONDS,
    )


@pytest.mark.parametrize("path", ["small_gzip_bomb", "large_body"])
async def test_a_client_that_reads_all_grows(repository: Path, path: str) -> None:
    async with WireServer(hostile) as server:
        (found,) = await _call(repository, server, "naive", path)
    assert found["grown"] > BOUND
