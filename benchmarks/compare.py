"""Sojourn and the hand-written workflow in turns: A B A B …, each case by itself."""

import asyncio
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from statistics import median

from benchmarks import rows
from benchmarks.cases import Case, run_input
from benchmarks.driving import closed_loop
from benchmarks.handwritten import Order
from benchmarks.meter import Meter
from benchmarks.noop import registry
from benchmarks.stack import Stack
from dev.processes import Child
from schemas.actions import Catalogue
from schemas.run import RunStatus
from schemas.validation import load_definition

SOJOURN, HANDWRITTEN = "sojourn", "handwritten"
_QUEUES = {SOJOURN: "sojourn", HANDWRITTEN: "handwritten"}
_MODULES = {
    SOJOURN: "benchmarks.sojourn_worker",
    HANDWRITTEN: "benchmarks.handwritten_worker",
}
# Seconds after the last result in which what the servers still do counts to the same side.
_TAIL = 0.5
_SAMPLES = 10


@dataclass(frozen=True)
class Round:
    """One side's turn; CPU is in ms per run."""

    side: str
    runs_per_second: float
    worker_ms: float
    total_ms: float
    events: float
    foreign_cores: float


@dataclass
class Comparison:
    """The rounds of one case, in the order in which they were run."""

    case: str
    title: str
    runs: int
    concurrency: int
    rounds: list[Round] = field(default_factory=list)

    def of(self, side: str, what: Callable[[Round], float]) -> float:
        """Give the median of a figure over one side's rounds."""
        return median(what(one) for one in self.rounds if one.side == side)

    def ratio(self, what: Callable[[Round], float]) -> float:
        """Give the median of Sojourn / hand-written over the pairs."""
        ours = [what(one) for one in self.rounds if one.side == SOJOURN]
        theirs = [what(one) for one in self.rounds if one.side == HANDWRITTEN]
        return median(a / b for a, b in zip(ours, theirs, strict=True))


class Sides:
    """Both workers, running."""

    def __init__(self, stack: Stack, workers: dict[str, Child]) -> None:
        self._stack = stack
        self._workers = workers
        self._catalogue: Catalogue = registry()

    async def turn(self, side: str, case: Case, runs: int, concurrency: int) -> Round:
        """Run one side's turn."""
        source = case.definition if side == SOJOURN else case.other
        if source is not None:
            meter, seconds, ids = await self._sojourn(source, runs, concurrency)
        else:
            meter, seconds, ids = await self._handwritten(case, runs, concurrency)
        await asyncio.sleep(_TAIL)
        usage = meter.read()
        return Round(
            side=side,
            runs_per_second=runs / seconds,
            worker_ms=usage.worker / runs * 1e3,
            total_ms=usage.total / runs * 1e3,
            events=await self._events(ids[-_SAMPLES:]),
            foreign_cores=usage.foreign_cores,
        )

    def _meter(self, side: str) -> Meter:
        return Meter([self._workers[side].pid], self._stack.server_pids)

    async def _sojourn(
        self, source: str, runs: int, concurrency: int
    ) -> tuple[Meter, float, list[str]]:
        definition = load_definition(source, self._catalogue)
        made = rows.starts(definition, run_input(self._stack.target_url), runs)
        await rows.insert(self._stack.database, made)
        before = await rows.count(self._stack.database, definition.name)
        gateway = self._stack.gateway(_QUEUES[SOJOURN])
        client = self._stack.client

        async def call(start: rows.RunStart) -> None:
            await gateway.start(start)
            await client.get_workflow_handle(start.workflow_id).result()

        meter = self._meter(SOJOURN)
        began = time.perf_counter()
        await closed_loop(made, call, concurrency)
        seconds = time.perf_counter() - began
        done = (await rows.count(self._stack.database, definition.name)).get(
            RunStatus.COMPLETED, 0
        ) - before.get(RunStatus.COMPLETED, 0)
        if done != runs:
            raise AssertionError(f"{done} of {runs} rows are completed")
        return meter, seconds, [start.workflow_id for start in made]

    async def _handwritten(
        self, case: Case, runs: int, concurrency: int
    ) -> tuple[Meter, float, list[str]]:
        client = self._stack.client
        order = Order.model_validate(run_input(self._stack.target_url))
        ids = [f"{case.workflow}/{uuid.uuid4()}" for _ in range(runs)]

        async def call(identity: str) -> None:
            handle = await client.start_workflow(
                case.workflow, order, id=identity, task_queue=_QUEUES[HANDWRITTEN]
            )
            await handle.result()

        meter = self._meter(HANDWRITTEN)
        began = time.perf_counter()
        await closed_loop(ids, call, concurrency)
        return meter, time.perf_counter() - began, ids

    async def _events(self, ids: list[str]) -> float:
        counts: list[int] = []
        for identity in ids:
            history = await self._stack.client.get_workflow_handle(identity).fetch_history()
            counts.append(len(history.events))
        return median(counts)


async def compare(
    stack: Stack,
    cases: list[Case],
    *,
    pairs: int,
    share: float,
    concurrency: int,
    sandboxed: Collection[str],
    told: Callable[[str], None],
) -> list[Comparison]:
    """Compare each case in `pairs` interleaved pairs of `share` of its runs.

    Both workers run all the time; before a case each has a turn that does not count. The sides in
    `sandboxed` run their workflows in the SDK's sandbox.
    """
    workers = {
        side: await stack.start_worker(
            module, _QUEUES[side], SOJOURN_WORKFLOW_SANDBOX=str(side in sandboxed)
        )
        for side, module in _MODULES.items()
    }
    sides = Sides(stack, workers)
    found: list[Comparison] = []
    try:
        for case in cases:
            runs = max(concurrency, round(case.runs * share))
            comparison = Comparison(case.name, case.title, runs, concurrency)
            for side in _MODULES:
                await sides.turn(side, case, max(10, runs // 5), concurrency)
            for number in range(pairs):
                for side in _MODULES:
                    one = await sides.turn(side, case, runs, concurrency)
                    comparison.rounds.append(one)
                    told(
                        f"{case.name} {number + 1}/{pairs} {side}: {one.runs_per_second:.1f} runs/s"
                        f", {one.worker_ms:.1f} ms worker, {one.total_ms:.1f} ms all"
                    )
            found.append(comparison)
    finally:
        for worker in workers.values():
            stack.stop(worker)
    return found
