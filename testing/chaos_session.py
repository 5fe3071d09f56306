"""A chaos session: each case calm, then with crashes, and what came out otherwise."""

import random
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from activities.registry import Registry
from schemas.errors import InputError, NotFoundError
from testing.cases import Case
from testing.chaos import Stage, Trial
from testing.chaos_facts import differences
from testing.crash_points import Point, at_random, boundaries
from testing.judging import judge
from testing.loading import ENDINGS, BadFile, Suite, load


@dataclass(frozen=True)
class Row:
    """One run with crashes: where they were, how many came, and what was not as in the calm run.

    `repeats` are calls of actions that came again under the same key, `parked` steps with
    `delivery: at_most_once` of which the crash left in doubt whether they took effect.
    """

    crash: str
    crashes: int
    repeats: int
    parked: int
    differences: list[str]


@dataclass(frozen=True)
class CaseChaos:
    """One case: how its calm run ended, how many calls of actions it made, and its rows."""

    name: str
    status: str
    calls: int
    failures: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True when the calm run holds, and each run with crashes was as the calm one."""
        return not self.failures and not any(row.differences for row in self.rows)


@dataclass(frozen=True)
class ChaosReport:
    """All cases of a file; `seed` is what random crashes were drawn from, if they were."""

    file: Path
    definition: str
    seed: int | None
    cases: list[CaseChaos]

    @property
    def ok(self) -> bool:
        """True when every case is."""
        return all(case.ok for case in self.cases)

    def to_json(self) -> dict[str, Any]:
        """Give the report as JSON values."""
        return {
            "ok": self.ok,
            "file": str(self.file),
            "definition": self.definition,
            "seed": self.seed,
            "cases": [{**asdict(case), "ok": case.ok} for case in self.cases],
        }


OnRow = Callable[[Case, Row], None]
OnCase = Callable[[CaseChaos], None]


def find_cases(file: Path, registry: Registry) -> Suite:
    """Read a test file, or that of a definition: beside it, or in `tests` beside it.

    Raises NotFoundError for a definition without one, InputError for what is not valid.
    """
    path = file
    if not file.name.endswith(ENDINGS):
        stems = [folder / f"{file.stem}" for folder in (file.parent, file.parent / "tests")]
        places = [stem.with_name(f"{stem.name}{end}") for stem in stems for end in ENDINGS]
        found = [place for place in places if place.is_file()]
        if not found:
            raise NotFoundError(
                f"{file} has no test file", hint=f"write {places[0]}: see `sojourn test`"
            )
        path = found[0]
    suite = load(path, registry)
    if isinstance(suite, BadFile):
        raise InputError(f"{suite.path}: {suite.message}", problems=suite.problems)
    return suite


async def run_chaos(
    suite: Suite,
    registry: Registry,
    *,
    only: str | None = None,
    seed: int | None = None,
    rounds: int = 10,
    on_row: OnRow | None = None,
    on_case: OnCase | None = None,
) -> ChaosReport:
    """Crash the worker at every boundary of every case, or at random ones in `rounds` a case.

    `only` picks the cases whose name holds that text. Raises NoServerError, NotFoundError when
    there is no such case.
    """
    cases = [case for case in suite.cases if only is None or only in case.name]
    if not cases:
        raise NotFoundError(f"{suite.path} has no case {only!r}")
    done: list[CaseChaos] = []
    async with _Stages(registry) as stages:
        for number, case in enumerate(cases):
            # A case has its own moments, whichever others run.
            moments = None if seed is None else random.Random(f"{seed}:{case.name}")  # noqa: S311
            chaos = _CaseRuns(stages, suite, case)
            found = await chaos.run(moments, rounds, on_row)
            done.append(found)
            if on_case is not None:
                on_case(done[number])
    return ChaosReport(suite.path, suite.definition.name, seed, done)


class _Stages:
    """One stage for all cases, and another after a case that has broken it."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._stack = AsyncExitStack()
        self._stage: Stage | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def get(self) -> Stage:
        if self._stage is None or self._stage.bench.broken:
            await self._stack.aclose()
            self._stage = await self._stack.enter_async_context(Stage.open(self._registry))
        return self._stage


@dataclass(frozen=True)
class _CaseRuns:
    stages: _Stages
    suite: Suite
    case: Case

    async def _try(self, points: list[Point]) -> Trial:
        stage = await self.stages.get()
        return await stage.run(self.suite, self.case, points, str(uuid.uuid4()))

    async def run(
        self, moments: random.Random | None, rounds: int, on_row: OnRow | None
    ) -> CaseChaos:
        calm = await self._try([])
        # The second shows what no two runs have in common.
        again = await self._try([])
        judge(calm.outcome, self.case)
        found = CaseChaos(
            self.case.name,
            calm.outcome.status.value,
            sum(call.key is not None for call in calm.plan.calls),
            [*calm.outcome.problems, *calm.outcome.failures],
        )
        if found.failures:
            return found
        places = boundaries(calm.plan.calls)
        tries = [[point] for point in places]
        if moments is not None:
            tries = [at_random(places, moments) for _ in range(rounds)]
        for points in tries:
            tried = await self._try(points)
            row = Row(
                "; ".join(map(str, points)),
                tried.plan.crashes,
                tried.plan.repeats(),
                len(tried.plan.parked),
                differences(calm, again, tried),
            )
            found.rows.append(row)
            if on_row is not None:
                on_row(self.case, row)
        return found
