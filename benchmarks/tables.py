"""What was measured, as tables for people."""

from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.cases import CASES, Case
from benchmarks.compare import HANDWRITTEN, SOJOURN, Comparison
from benchmarks.latency import Latency, p95
from benchmarks.sleepers import Sleepers

_LATENCY_TARGET = 1.5


def comparisons(found: list[Comparison]) -> Table:
    """Two rows for each case, and the medians of the ratios of its pairs."""
    table = Table(title="Sojourn beside a hand-written workflow")
    for name in ("case", "side"):
        table.add_column(name)
    for name in ("runs/s", "worker ms/run", "all CPU ms/run", "events", "foreign cores"):
        table.add_column(name, justify="right")
    for one in found:
        for side in (SOJOURN, HANDWRITTEN):
            table.add_row(
                one.title if side == SOJOURN else "",
                side if side == SOJOURN or case_of(one).other is None else "the other way",
                f"{one.of(side, lambda turn: turn.runs_per_second):.1f}",
                f"{one.of(side, lambda turn: turn.worker_ms):.1f}",
                f"{one.of(side, lambda turn: turn.total_ms):.1f}",
                f"{one.of(side, lambda turn: turn.events):g}",
                f"{one.of(side, lambda turn: turn.foreign_cores):.2f}",
            )
        table.add_row(
            "",
            f"ratio, median of {len(one.rounds) // 2}",
            f"{one.ratio(lambda turn: turn.runs_per_second):.2f}",
            f"{one.ratio(lambda turn: turn.worker_ms):.2f}",
            f"{one.ratio(lambda turn: turn.total_ms):.2f}",
            f"{more_events(one):+g}",
            "",
            end_section=True,
        )
    return table


def case_of(one: Comparison) -> Case:
    """Give the case that was compared."""
    return next(case for case in CASES if case.name == one.case)


def more_events(one: Comparison) -> float:
    """Give how many more events a run of Sojourn's has in its history."""
    return one.of(SOJOURN, lambda turn: turn.events) - one.of(HANDWRITTEN, lambda turn: turn.events)


def _targets_of(one: Comparison) -> list[tuple[str, str, float, bool]]:
    case = case_of(one)
    found: list[tuple[str, str, float, bool]] = []

    def at_least(what: str, wanted: float | None, measured: float) -> None:
        if wanted is not None:
            found.append((f"{one.title}: {what}", f"≥ {wanted:g}", measured, measured >= wanted))

    def at_most(what: str, wanted: float | None, measured: float) -> None:
        if wanted is not None:
            found.append((f"{one.title}: {what}", f"≤ {wanted:g}", measured, measured <= wanted))

    at_least("throughput ratio", case.min_speed, one.ratio(lambda turn: turn.runs_per_second))
    at_most("CPU ratio", case.max_cpu, one.ratio(lambda turn: turn.total_ms))
    at_most("more events", case.more_events, more_events(one))
    at_most("events", case.max_events, one.of(SOJOURN, lambda turn: turn.events))
    return found


def targets(found: list[Comparison], latency: Latency | None) -> Table:
    """Every target, what was measured, and whether it is met."""
    table = Table(title="Targets")
    for name in ("target", "wanted", "measured", ""):
        table.add_column(name)
    rows = [row for one in found for row in _targets_of(one)]
    if latency is not None:
        ratio = latency.ratio
        wanted = f"≤ {_LATENCY_TARGET:g}"
        rows.append(("start through the API: ratio", wanted, ratio, ratio <= _LATENCY_TARGET))
    for what, wanted, measured, good in rows:
        table.add_row(what, wanted, f"{measured:.3g}", "met" if good else "MISSED")
    return table


def latencies(found: Latency) -> Table:
    """The start's p50 and p95."""
    table = Table(title=f"Start latency, one at a time, {len(found.api)} of each")
    table.add_column("what")
    table.add_column("p50 ms", justify="right")
    table.add_column("p95 ms", justify="right")
    for name, times in (
        ("POST /api/v1/definitions/{name}/runs", found.api),
        ("client.start_workflow", found.start_workflow),
        ("commit of run, key and audit row", found.commit),
    ):
        table.add_row(name, f"{median(times):.2f}", f"{p95(times):.2f}")
    table.add_row("ratio of API to the sum of the others", f"{found.ratio:.2f}", "")
    return table


def sleeping(found: Sleepers) -> Table:
    """Figures of the sleepers."""
    table = Table(title=f"{found.runs:,} runs asleep in a delay of three days")
    table.add_column("what")
    table.add_column("figure", justify="right")
    resident = found.resident
    rows = [
        ("starts per second", f"{found.start_rate:.1f}"),
        ("runs asleep per second", f"{found.asleep_rate:.1f}"),
        ("worker RSS before", f"{resident[0]:.0f} MiB"),
        *((f"  after {number:,} starts", f"{mib:.0f} MiB") for number, mib in resident.items()),
        ("worker RSS with all asleep", f"{found.resident_asleep:.0f} MiB"),
        ("max_cached_workflows", f"{found.cache:,}"),
        (f"worker CPU over {found.idle_seconds:.0f} s idle", f"{found.worker_percent:.1f} %"),
        ("Temporal server CPU", f"{found.temporal_percent:.1f} %"),
        ("PostgreSQL CPU", f"{found.postgres_percent:.1f} %"),
        *((f"rows {status}", f"{number:,}") for status, number in found.rows.items()),
    ]
    for row in rows:
        if row[0] != "  after 0 starts":
            table.add_row(*row)
    return table


def console() -> Console:
    """Give a console that is wide enough, also for a pipe."""
    return Console(width=None if Console().is_terminal else 120)
