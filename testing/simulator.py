"""Running one case for somebody who asks over the API: one at a time, within a deadline."""

import asyncio
from typing import Any

from activities.registry import Registry
from schemas.definition import Definition
from schemas.document import Document
from schemas.errors import ErrorCode, SojournError
from testing.bench import Bench
from testing.cases import Case
from testing.coverage import measure
from testing.judging import judge
from testing.loading import check_names, read_model
from testing.report import case_json, coverage_json
from testing.server import find_server

DEADLINE = 30.0


class Simulator:
    """Runs cases on a time-skipping server of their own; `deadline` is in seconds."""

    def __init__(self, registry: Registry, *, deadline: float = DEADLINE) -> None:
        """Fake these actions; raises NoServerError when the server is not installed."""
        find_server()
        self._registry = registry
        self._deadline = deadline
        self._turn = asyncio.Lock()

    async def simulate(self, definition: Definition, given: dict[str, Any]) -> dict[str, Any]:
        """Run a case and give its outcome with the edges it took.

        Raises InputError for a bad case, SojournError TIMEOUT when others before it, or it
        itself, take too long, NoServerError.
        """
        document = Document(given, {})
        case = read_model(document, Case)
        check_names(Document({"cases": [given]}, {}), [case], definition)
        try:
            async with (
                asyncio.timeout(self._deadline),
                self._turn,
                Bench.open(self._registry) as bench,
            ):
                outcome = judge(await bench.run(definition, case), case)
        except TimeoutError as error:
            raise SojournError(
                f"the simulation did not end within {self._deadline:g} s",
                code=ErrorCode.TIMEOUT,
                hint="simulations run one at a time; try again",
            ) from error
        return {**case_json(outcome), "coverage": coverage_json(measure(definition, [outcome]))}
