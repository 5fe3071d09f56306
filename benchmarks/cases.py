"""The cases: each written for Sojourn and by hand, or in two ways for Sojourn."""

from dataclasses import dataclass
from typing import Any

from benchmarks.handwritten import STEPS


@dataclass(frozen=True)
class Case:
    """One case: Sojourn's definition in YAML, and the hand-written workflow's type.

    With `other`, another definition stands in the place of the hand-written workflow.

    The targets: `min_speed` and `max_cpu` are ratios Sojourn / hand-written of throughput and of
    CPU per run; `max_events` is what a run of Sojourn's may have in its history, `more_events` how
    many more than the hand-written one.
    """

    name: str
    title: str
    definition: str
    workflow: str
    runs: int
    other: str | None = None
    min_speed: float | None = None
    max_cpu: float | None = None
    max_events: int | None = None
    more_events: int | None = None


_INPUT = "input: {type: object, properties: {budget: {type: integer}, url: {type: string}}}"


def _definition(name: str, step: str) -> str:
    steps = "\n".join(
        f"  - {{id: s{number}, {step.replace('%d', str(number))}}}" for number in range(STEPS)
    )
    return f"name: {name}\n{_INPUT}\nsteps:\n{steps}\n"


def _http(execution: str) -> str:
    call = "type: http, timeout: 5s, with: {url: '{{ input.url }}'}"
    return _definition(f"http-{execution}", f"{call}, execution: {execution}")


CASES = [
    Case(
        "noop",
        f"{STEPS} no-op activities",
        _definition("noop", "type: noop, with: {value: %d}"),
        "HandwrittenNoop",
        runs=150,
        min_speed=0.85,
        max_cpu=1.15,
        more_events=2,
    ),
    Case(
        "conditions",
        f"{STEPS} conditions (local activities)",
        _definition("conditions", "type: condition, if: 'input.budget >= %d'"),
        "HandwrittenConditions",
        runs=400,
        max_events=16,
    ),
    Case(
        "http",
        f"{STEPS} http calls to loopback",
        _http("queued"),
        "HandwrittenHttp",
        runs=150,
    ),
    Case(
        "inline",
        f"{STEPS} inline http calls beside queued ones",
        _http("inline"),
        "",
        # Three of these seconds would be the ramp of the first callers and the tail of the last.
        runs=600,
        other=_http("queued"),
        min_speed=3,
    ),
]


def run_input(target_url: str) -> dict[str, Any]:
    """Give the input of every run, on both sides."""
    return {"budget": 5000, "url": target_url}
