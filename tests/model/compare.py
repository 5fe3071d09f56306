"""Where a played run and the model's story differ, in words."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from tests.model.cases import Case
from tests.model.puppets import Played
from tests.model.story import Raw, Story, Told
from tests.model.units import HOUR

# Times are whole and quarter hours; real time that passes beside is seconds.
_TOLERANCE = 0.2


def differences(case: Case, story: Story, played: Played) -> list[str]:
    """Give every difference; none when interpreter and model agree."""
    found: list[str] = []

    def check(what: str, model: Any, real: Any) -> None:
        if model != real:
            found.append(f"{what}: model {model!r}, interpreter {real!r}")

    state = played.state
    check("status", story.status, state.status.value)
    check("recorded status", story.status, played.status)
    check("output", _plain(story.output), _plain(state.output))
    model_error = (story.error.code, story.error.step) if story.error else None
    check("error", model_error, (state.error.code, state.error.step or "") if state.error else None)
    check("vars", _plain(story.vars), _plain(state.vars))
    check("variants", story.variants, state.variants)
    check("steps only here", *_only(story.steps.keys(), played.records.keys()))
    for path, told in story.steps.items():
        record = played.records.get(path)
        if record is not None:
            found += _step(told, record, state.started_at)
    check("compensations", story.undone, _undone(case.definition, played))
    return found


def _only(one: Iterable[str], other: Iterable[str]) -> tuple[list[str], list[str]]:
    first, second = set(one), set(other)
    return sorted(first - second), sorted(second - first)


def _step(told: Told, record: Raw, begin: datetime) -> list[str]:
    found: list[str] = []
    error = record.get("error")
    pairs = [
        ("status", told.status, record["status"]),
        ("error", told.error and told.error.code, error and error["code"]),
        ("attempts", told.attempts, record["attempts"] if record["type"] == "probe" else 0),
    ]
    if told.status in ("completed", "compensated", "skipped"):
        pairs.append(("output", _plain(told.output), _plain(record.get("output"))))
    for what, model, real in pairs:
        if model != real:
            found.append(f"{told.path} {what}: model {model!r}, interpreter {real!r}")
    for what, seconds in (("started", told.started), ("finished", told.finished)):
        moment = record.get(f"{what}_at")
        hours = (datetime.fromisoformat(moment) - begin).total_seconds() / HOUR if moment else -1
        if abs(seconds / HOUR - hours) > _TOLERANCE:
            found.append(
                f"{told.path} {what}: model {seconds / HOUR:.2f}h, interpreter {hours:.2f}h"
            )
    return found


def _plain(value: Any) -> Any:
    """Errors inside outputs by code and step alone: their messages are no promise."""
    if isinstance(value, dict):
        if {"code", "step"} <= value.keys():
            return {"code": value["code"], "step": value["step"]}
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _undone(definition: Raw, played: Played) -> list[str]:
    """Give whose compensations ran, in the order in which they began."""
    owners = _owners(definition)
    undone: list[str] = []
    for record in sorted(played.records.values(), key=lambda record: record["started_at"]):
        owner = owners.get(record["id"])
        if owner is not None:
            path = record["path"].removesuffix(record["id"]) + owner
            if path not in undone:
                undone.append(path)
    return undone


def _owners(value: Any) -> dict[str, str]:
    """Map the steps of every compensation to the step they undo."""
    found: dict[str, str] = {}
    if isinstance(value, list):
        for item in value:
            found |= _owners(item)
    elif isinstance(value, dict):
        for step in value.get("compensate", ()):
            found[step["id"]] = value["id"]
        for item in value.values():
            found |= _owners(item)
    return found
