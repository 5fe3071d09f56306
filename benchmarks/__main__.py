"""Runs the benchmarks: `python -m benchmarks [--quick] [--only PART …] [--json FILE]`.

The servers and workers are started for it and ended with it. Nothing is asserted on times.
"""

import argparse
import asyncio
import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from benchmarks import analytics, cel, foreach, latency, sleepers, tables
from benchmarks.cases import CASES
from benchmarks.compare import HANDWRITTEN, SOJOURN, compare
from benchmarks.stack import running_stack

PARTS = (*(case.name for case in CASES), "latency", "sleepers", "foreach", "analytics", "cel")
_MEASURED = ("latency", "sleepers", "foreach", "analytics")
# These start no stack of servers.
_ALONE = {"analytics", "cel"}


@dataclass(frozen=True)
class Sizes:
    """How much is done; `share` is that of each case's runs."""

    pairs: int
    share: float
    concurrency: int
    starts: int
    sleepers: int
    items: int
    step_rows: int
    idle: float


FULL = Sizes(
    pairs=5,
    share=1.0,
    concurrency=50,
    starts=200,
    sleepers=10_000,
    items=10_000,
    step_rows=1_000_000,
    idle=30.0,
)
QUICK = Sizes(
    pairs=1,
    share=0.1,
    concurrency=10,
    starts=20,
    sleepers=50,
    items=1000,
    step_rows=10_000,
    idle=2.0,
)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the short form, under a minute")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--pairs", type=int, help="interleaved pairs of each case")
    parser.add_argument("--concurrency", type=int, help="runs under way at once")
    parser.add_argument("--sleepers", type=int, help="runs that sleep")
    parser.add_argument(
        "--sandbox",
        nargs="+",
        choices=(SOJOURN, HANDWRITTEN),
        default=[],
        help="sides whose workflows run in the SDK's sandbox; by default neither's do",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure there")
    return parser.parse_args()


async def measure(
    parts: list[str], sizes: Sizes, sandboxed: list[str], told: Callable[[str], None]
) -> dict[str, Any]:
    """Measure the parts that need servers; gives {part: figures}."""
    found: dict[str, Any] = {}
    cases = [case for case in CASES if case.name in parts]
    async with running_stack() as stack:
        if cases:
            found["comparisons"] = await compare(
                stack,
                cases,
                pairs=sizes.pairs,
                share=sizes.share,
                concurrency=sizes.concurrency,
                sandboxed=sandboxed,
                told=told,
            )
        if "latency" in parts:
            found["latency"] = await latency.measure(stack, sizes.starts)
        if "sleepers" in parts:
            found["sleepers"] = await sleepers.measure(
                stack,
                sizes.sleepers,
                idle=sizes.idle,
                concurrency=sizes.concurrency,
                told=told,
            )
        if "foreach" in parts:
            found["foreach"] = await foreach.measure(stack, sizes.items, told=told)
    return found


def _machine() -> dict[str, Any]:
    return {
        "cores": psutil.cpu_count(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def main() -> None:
    """Measure, print the tables and write the figures."""
    arguments = _arguments()
    sizes = QUICK if arguments.quick else FULL
    asked = {name: getattr(arguments, name) for name in ("pairs", "concurrency", "sleepers")}
    sizes = replace(sizes, **{name: value for name, value in asked.items() if value is not None})
    # The expression engine has tests with limits of their own; the short form leaves it out.
    short = [part for part in PARTS if part != "cel"] if arguments.quick else list(PARTS)
    parts: list[str] = arguments.only or short
    console = tables.console()
    machine = _machine()
    console.print(f"{machine['cores']} cores, load before: {machine['load'][0]:.2f}")
    found: dict[str, Any] = {}
    told = console.log if console.is_terminal else console.print
    if set(parts) - _ALONE:
        found = asyncio.run(measure(parts, sizes, arguments.sandbox, told))
    if "analytics" in parts:
        found["analytics"] = asyncio.run(analytics.measure(sizes.step_rows, told=told))
        console.print(analytics.table(found["analytics"]))
    comparisons = found.get("comparisons", [])
    if comparisons:
        console.print(tables.comparisons(comparisons))
    if "latency" in found:
        console.print(tables.latencies(found["latency"]))
    if "sleepers" in found:
        console.print(tables.sleeping(found["sleepers"]))
    if "foreach" in found:
        console.print(foreach.table(found["foreach"]))
    if comparisons or "latency" in found:
        console.print(tables.targets(comparisons, found.get("latency")))
    if arguments.json is not None:
        figures = {
            "machine": machine,
            "sandboxed": arguments.sandbox,
            "comparisons": [asdict(one) for one in comparisons],
            **{name: asdict(found[name]) for name in _MEASURED if name in found},
        }
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    if "cel" in parts:
        cel.main()


if __name__ == "__main__":
    main()
