"""Many runs asleep in a delay of three days: how fast they start, and what they cost asleep."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks import rows
from benchmarks.driving import closed_loop
from benchmarks.meter import Meter, resident_mib
from benchmarks.noop import registry
from benchmarks.stack import Stack
from schemas.run import RunStatus
from schemas.validation import load_definition

CACHE = 1000
_DEFINITION = """\
name: sleeper
input: {type: object, properties: {email: {type: string}}}
steps:
  - {id: nap, type: delay, for: 3d}
  - {id: after, type: noop, with: {value: 1}}
"""
_QUEUE = "sleepers"
_SETTLE = 5.0
_DEADLINE = 600.0


@dataclass
class Sleepers:
    """What was found; `resident` maps runs started to the worker's memory in MiB.

    CPU is in percent of one core while nothing happens for `idle_seconds`.
    """

    runs: int
    cache: int
    start_rate: float = 0.0
    asleep_rate: float = 0.0
    resident: dict[int, float] = field(default_factory=dict)
    resident_asleep: float = 0.0
    idle_seconds: float = 0.0
    worker_percent: float = 0.0
    temporal_percent: float = 0.0
    postgres_percent: float = 0.0
    rows: dict[str, int] = field(default_factory=dict)


async def measure(
    stack: Stack, count: int, *, idle: float, concurrency: int, told: Callable[[str], None]
) -> Sleepers:
    """Start `count` runs that sleep, wait until every row says so, then watch `idle` seconds."""
    worker = await stack.start_worker(
        "benchmarks.sojourn_worker", _QUEUE, SOJOURN_MAX_CACHED_WORKFLOWS=str(CACHE)
    )
    found = Sleepers(runs=count, cache=CACHE)
    definition = load_definition(_DEFINITION, registry())
    made = rows.starts(definition, {"email": "ada@example.com"}, count)
    await rows.insert(stack.database, made)
    gateway = stack.gateway(_QUEUE)
    started = 0
    step = max(1, count // 10)

    async def call(start: rows.RunStart) -> None:
        nonlocal started
        await gateway.start(start)
        started += 1
        if started % step == 0:
            found.resident[started] = resident_mib(worker.pid)
            told(f"{started} started, worker {found.resident[started]:.0f} MiB")

    found.resident[0] = resident_mib(worker.pid)
    began = time.perf_counter()
    await closed_loop(made, call, concurrency)
    found.start_rate = count / (time.perf_counter() - began)
    async with asyncio.timeout(_DEADLINE):
        while True:
            by_status = await rows.count(stack.database, definition.name)
            if by_status.get(RunStatus.WAITING, 0) == count:
                break
            await asyncio.sleep(0.2)
    found.asleep_rate = count / (time.perf_counter() - began)
    await asyncio.sleep(min(_SETTLE, idle))
    await _watch(stack, worker.pid, idle, found)
    found.resident_asleep = resident_mib(worker.pid)
    by_status = await rows.count(stack.database, definition.name)
    found.rows = {status.value: number for status, number in by_status.items()}
    stack.stop(worker)
    return found


async def _watch(stack: Stack, worker: int, idle: float, found: Sleepers) -> None:
    temporal, postgres = stack.server_pids
    meters = {
        "worker": Meter.of_servers([worker]),
        "temporal": Meter.of_servers([temporal]),
        "postgres": Meter.of_servers([postgres]),
    }
    await asyncio.sleep(idle)
    usage = {name: meter.read() for name, meter in meters.items()}
    percent = {name: one.servers / one.wall * 100 for name, one in usage.items()}
    found.idle_seconds = usage["worker"].wall
    found.worker_percent = percent["worker"]
    found.temporal_percent = percent["temporal"]
    found.postgres_percent = percent["postgres"]
