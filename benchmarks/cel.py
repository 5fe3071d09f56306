"""Measures the expression engine: a typical condition on a large context, and the bombs.

Run `python -m benchmarks.cel` from the root of the repository.
"""

import gc
import json
import resource
import timeit
import tracemalloc
from collections.abc import Callable
from time import perf_counter
from typing import Any

from schemas import cel
from schemas.errors import ExpressionError
from tests.unit.cel.bombs import COMPILE_TIME, RUN_TIME, VARIABLES

CONDITION = 'input.budget >= 2000 && steps.welcome.output.status == "sent"'


def context() -> dict[str, Any]:
    """Build a run's context of about 150 kB as JSON."""
    steps: dict[str, Any] = {
        f"step{number}": {"status": "completed", "output": {"body": "x" * 300}}
        for number in range(400)
    }
    steps["welcome"] = {"status": "completed", "output": {"status": "sent"}}
    rows = [{"sku": f"s{number}", "price": number * 1.5} for number in range(200)]
    return {
        "input": {"budget": 2500, "email": "ada@example.org", "rows": rows},
        "steps": steps,
    }


def microseconds(work: Callable[[], Any], number: int = 20_000) -> float:
    """Return the best time of one call."""
    return min(timeit.repeat(work, number=number, repeat=5)) / number * 1e6


def stopped(work: Callable[[], Any]) -> str:
    """Run what must fail; returns how it ended."""
    try:
        work()
    except cel.BudgetExceeded:
        return "budget"
    except ExpressionError:
        return "error"
    return "value"


def bomb(source: str) -> tuple[str, float, float]:
    """Return how an expression ended, in ms (best of 3, after a first run) and in MiB at most."""

    def work() -> Any:
        cel.compile.cache_clear()
        return cel.compile(source).evaluate(VARIABLES)

    ended = stopped(work)
    times: list[float] = []
    for _ in range(3):
        gc.collect()
        start = perf_counter()
        stopped(work)
        times.append((perf_counter() - start) * 1e3)
    tracemalloc.start()
    stopped(work)
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return ended, min(times), peak


def main() -> None:
    """Print the table."""
    values = context()
    print(f"context: {len(json.dumps(values)) / 1e3:.0f} kB as JSON")
    for source in (
        CONDITION,
        "input.email",
        "size(input.rows.filter(r, r.price > 50.0))",
    ):
        program = cel.compile(source)
        taken = microseconds(lambda program=program: program.evaluate(values), 2_000)
        print(f"{taken:9.2f} µs  {source}")
    cold = microseconds(lambda: (cel.compile.cache_clear(), cel.compile(CONDITION)), 200)
    print(f"{cold:9.2f} µs  to compile the first one")
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    results = {name: bomb(source) for name, source in {**RUN_TIME, **COMPILE_TIME}.items()}
    for name, (ended, taken, peak) in sorted(results.items(), key=lambda item: -item[1][1]):
        print(f"{taken:9.2f} ms {peak:7.2f} MiB  {ended:7} {name}")
    print(
        f"{len(results)} bombs; worst {max(taken for _, taken, _ in results.values()):.1f} ms, "
        f"{max(peak for _, _, peak in results.values()):.1f} MiB of Python objects"
    )
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident) / 1024
    print(f"the process grew by {grown:.1f} MiB over all of them, caches of patterns included")


if __name__ == "__main__":
    main()
