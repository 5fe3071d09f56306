"""One session: all test files on one server."""

import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from activities.registry import Registry
from testing.bench import Bench
from testing.judging import judge
from testing.loading import BadFile, Suite, find_files, load
from testing.outcome import Outcome
from testing.report import Report, SuiteResult

OnCase = Callable[[Suite, int, Outcome], None]


async def run_files(
    paths: Iterable[Path],
    registry: Registry,
    *,
    cover: float = 0.0,
    only: str | None = None,
    on_case: OnCase | None = None,
) -> Report:
    """Run the cases of the files, and of the `*.test.yaml` in folders, one after the other.

    `only` picks the cases whose name holds that text. Raises NoServerError; whatever is wrong
    with a file is told in the report.
    """
    began = time.monotonic()
    report = Report(cover=cover)
    suites: list[Suite] = []
    for path in find_files(paths):
        found = load(path, registry)
        if isinstance(found, BadFile):
            report.bad.append(found)
        else:
            suites.append(found)
    async with _Benches(registry) as benches:
        for suite in suites:
            report.results.append(await _run(benches, suite, only, on_case))
    return Report(report.results, report.bad, cover, time.monotonic() - began)


class _Benches:
    """One bench for all cases, and another after a case that has broken it."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._stack = AsyncExitStack()
        self._bench: Bench | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def get(self) -> Bench:
        if self._bench is None or self._bench.broken:
            await self._stack.aclose()
            self._bench = await self._stack.enter_async_context(Bench.open(self._registry))
        return self._bench


async def _run(
    benches: _Benches, suite: Suite, only: str | None, on_case: OnCase | None
) -> SuiteResult:
    outcomes: list[Outcome] = []
    for index, case in enumerate(suite.cases):
        if only is not None and only not in case.name:
            continue
        bench = await benches.get()
        outcome = await bench.run(suite.definition, case, templates=suite.templates)
        outcomes.append(judge(outcome, case))
        if on_case is not None:
            on_case(suite, index, outcome)
    return SuiteResult(suite, outcomes)
