"""What must be the same with and without crashes: results, and effects by their keys."""

import json
from collections.abc import Iterator
from typing import Any

from testing.chaos import Trial
from testing.crash_points import Call

_SHOWN = 120
_NOTHING = object()


def differences(calm: Trial, other_calm: Trial, tried: Trial) -> list[str]:
    """Say what is not as in the calm run; what two calm runs differ in is left out.

    Of a run with an effect in doubt only the effects are looked at: its end is another.
    """
    wanted, found = _facts(calm), _facts(tried)
    # Moments, and whatever else no run has as another.
    again = _facts(other_calm)
    noise = {place for place in wanted if wanted[place] != again.get(place, _NOTHING)}
    if tried.plan.parked:
        # It waits for somebody to say what became of the effect, or goes the way of its error.
        return list(_repeats(tried, noise))
    lines = [f"problem: {problem}" for problem in tried.outcome.problems]
    for place in sorted({*wanted, *found}):
        if place in noise:
            continue
        calmly, now = wanted.get(place, _NOTHING), found.get(place, _NOTHING)
        if calmly != now:
            lines.append(f"{place} is {_short(now)}, not {_short(calmly)}")
    return [*lines, *_repeats(tried, noise)]


def _facts(trial: Trial) -> dict[str, Any]:
    """Give a run's facts as leaves by their place."""
    outcome = trial.outcome
    error = outcome.error
    tree = {
        "status": outcome.status.value,
        "output": outcome.output,
        "error": error and {"code": error.code, "step": error.step},
        "waits_for": outcome.waits_for,
        "vars": outcome.vars,
        "lead": outcome.lead and outcome.lead.model_dump(mode="json"),
        "goal": outcome.goal_reached,
        "emitted": [[each.type, each.key, each.data] for each in outcome.emitted],
        "steps": {
            path: {"status": step.status.value, "output": step.output}
            for path, step in outcome.steps.items()
        },
        "effects": {
            str(call.key): {"name": call.name, "params": call.params} for call in _effects(trial)
        },
    }
    text = json.dumps(tree, default=str).replace(trial.run_id, "RUN")
    return dict(_leaves("", json.loads(text)))


def _effects(trial: Trial) -> list[Call]:
    """Give the first call under each key."""
    calls = [call for call in trial.plan.calls if call.key is not None]
    return list({call.key: call for call in reversed(calls)}.values())


def _repeats(trial: Trial, noise: set[str]) -> Iterator[str]:
    """Judge what came again under a key: it must ask for the same, and be allowed to come."""
    first = {call.key: call for call in _effects(trial)}
    for call in trial.plan.calls:
        original = first.get(call.key)
        if original is None or call is original:
            continue
        key = str(call.key).replace(trial.run_id, "RUN")
        if call.key in trial.plan.once:
            yield f"effects.{key} came again, and is to come at most once"
        asked, before = (
            dict(_leaves(f"effects.{key}.params", _params(one))) for one in (call, original)
        )
        for place in sorted({*asked, *before} - noise):
            if asked.get(place, _NOTHING) != before.get(place, _NOTHING):
                yield (
                    f"{place} was {_short(before.get(place, _NOTHING))}, and"
                    f" {_short(asked.get(place, _NOTHING))} when it came again under the same key"
                )


def _params(call: Call) -> dict[str, Any]:
    return call.params if isinstance(call.params, dict) else {"": call.params}


def _leaves(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(f"{place}.{name}" if place else name, inner)
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            yield from _leaves(f"{place}[{number}]", inner)
    else:
        yield place, value


def _short(value: Any) -> str:
    if value is _NOTHING:
        return "not there"
    text = json.dumps(value, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
