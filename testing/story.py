"""A run in words: what happened, what it waits for, what comes next."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from schemas.definition import Definition
from schemas.durations import format_duration
from schemas.graph import dependencies
from schemas.steps import Approval, ForEach, Repeat, Step, Wait
from testing.loading import step_id

_SHOWN = 160
_OPEN = ("queued", "running", "waiting", "paused", "compensating")
_DONE = ("completed", "failed", "skipped", "cancelled", "compensated")


def tell(
    run: Mapping[str, Any],
    steps: Sequence[Mapping[str, Any]],
    definition: Definition | None,
    now: datetime,
) -> list[str]:
    """Give the lines of a run's story, from the API's run and steps.

    Without the definition nothing is said about what comes next.
    """
    lines = [_headline(run, now), *_end(run)]
    if steps:
        lines += ["", "What happened:"]
        lines += [f"  {_step_line(step)}" for step in steps if step["status"] in _DONE]
    waiting = [step for step in steps if step["status"] not in _DONE]
    if run["status"] in _OPEN and waiting:
        lines += ["", "Now:"]
        lines += [f"  {_now_line(step, now)}" for step in _leaves(waiting)]
        if definition is not None:
            following = list(_next_lines(_leaves(waiting), definition))
            lines += ["", "Next:", *(f"  {line}" for line in following)]
    return lines


def _headline(run: Mapping[str, Any], now: datetime) -> str:
    text = f"Run {run['id']} of {run['definition']} version {run['version']} is {run['status']}"
    started, finished = _time(run.get("started_at")), _time(run.get("finished_at"))
    if started is None:
        return f"{text}; it has not started."
    text += f". It started on {started:%Y-%m-%d at %H:%M:%S} UTC"
    if finished is not None:
        return f"{text} and took {_length(finished - started)}."
    return f"{text}, {_length(now - started)} ago."


def _end(run: Mapping[str, Any]) -> Iterator[str]:
    error = run.get("error")
    if error:
        step = f" in the step {error['step']!r}" if error.get("step") else ""
        yield f"It failed with {error['code']}{step}: {error['message']}"
    elif run["status"] == "completed" and run.get("output") is not None:
        yield f"It gave {_short(run['output'])}."


def _step_line(step: Mapping[str, Any]) -> str:
    started = _time(step.get("started_at"))
    when = f"{started:%m-%d %H:%M:%S}  " if started is not None else ""
    return f"{when}{_titled(step)}: {_how(step)}"


def _titled(step: Mapping[str, Any]) -> str:
    return f"{step['path']} ({step['title']})" if step.get("title") else str(step["path"])


def _how(step: Mapping[str, Any]) -> str:
    status, error = step["status"], step.get("error")
    started, finished = _time(step.get("started_at")), _time(step.get("finished_at"))
    took = f" after {_length(finished - started)}" if started and finished else ""
    tries = f", {step['attempts']} attempts" if (step.get("attempts") or 0) > 1 else ""
    match status:
        case "skipped":
            return "skipped by an operator" if error else "skipped, its 'if' was false"
        case "failed" if error:
            return f"failed{took}{tries} with {error['code']}: {error['message']}"
        case "completed" if error:
            return f"failed with {error['code']}, and its fallback gave {_short(step['output'])}"
        case "completed" if step["type"] in ("condition", "split", "switch", "approval"):
            return f"{_verdict(step)}{took}"
        case "completed" if step["type"] == "delay":
            return f"slept{took.replace(' after', '')}"
        case "compensated":
            return "completed, and undone later"
        case _:
            return f"{status}{took}{tries}"


def _verdict(step: Mapping[str, Any]) -> str:
    output = step.get("output")
    if isinstance(output, bool):
        return "yes" if output else "no"
    if isinstance(output, Mapping) and "variant" in output:
        return f"went to the variant {output['variant']!r}"
    if isinstance(output, Mapping) and "decision" in output:
        by = f" by {output['by']}" if output.get("by") else ""
        return f"{output['decision']}{by}"
    return "completed"


def _leaves(steps: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Leave out the steps that only hold others."""
    waiting = [step for step in steps if step["status"] == "waiting"]
    return waiting or list(steps[-1:])


def _now_line(step: Mapping[str, Any], now: datetime) -> str:
    note = step.get("note") or f"is {step['status']}"
    until = _time(step.get("until"))
    if until is None:
        return f"{_titled(step)} {note}"
    left = f", in {_length(until - now)}" if until > now else ""
    return f"{_titled(step)} {note}; until {until:%Y-%m-%d %H:%M:%S} UTC{left}"


def _next_lines(leaves: Sequence[Mapping[str, Any]], definition: Definition) -> Iterator[str]:
    by_id = definition.by_id()
    for leaf in leaves:
        name = step_id(leaf["path"])
        step = by_id.get(name)
        if step is None:
            yield f"the definition at hand has no step {name!r}"
            continue
        after = following(definition, name)
        yield f"after {name}: {', then '.join(after)}"
        if isinstance(step, Wait | Approval) and step.timeout is not None:
            yield f"  if the time runs out: {_late(step)}"
    if definition.goal is not None:
        yield f"at any time: the event {definition.goal.event!r} ends the run"


def _late(step: Wait | Approval) -> str:
    if isinstance(step.on_timeout, list):
        return ", then ".join(one.title or one.id for one in step.on_timeout)
    return "the run goes on" if step.on_timeout == "continue" else "the step fails"


def following(definition: Definition, name: str, limit: int = 3) -> list[str]:
    """Give in words the next steps after a step, at most `limit`, or how the run ends."""
    found: list[str] = []
    for _, steps in definition.top_lists():
        found = _after(steps, name) or []
        if found:
            break
    shown = found[:limit]
    return shown if len(found) <= limit else [*shown, "…"]


def _after(steps: Sequence[Step], name: str) -> list[str] | None:
    """Give what follows a step in a list or in the lists around it; None if it is not there."""
    for step in steps:
        if step.id == name:
            return _rest(steps, step)
        for _, nested in step.step_lists():
            inner = _after(nested, name)
            if inner is None:
                continue
            inner = [line for line in inner if line != _ENDS]
            if isinstance(step, ForEach | Repeat) and not inner:
                inner = [f"the next iteration of {step.title or step.id}"]
            return [*inner, *_rest(steps, step)]
    return None


_ENDS = "the run ends"


def _rest(steps: Sequence[Step], step: Step) -> list[str]:
    """Give the steps of a list that wait for a step, directly or not, in their order."""
    waits_for = dependencies(steps)
    reached = {step.id}
    rest: list[str] = []
    for other in steps:
        if reached.intersection(waits_for[other.id]):
            reached.add(other.id)
            rest.append(other.title or other.id)
    return [*rest, _ENDS]


def _time(value: Any) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else None


def _length(value: timedelta) -> str:
    if abs(value) < timedelta(seconds=10):
        return format_duration(value)
    return format_duration(timedelta(seconds=round(value.total_seconds())))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
