"""Runs that were, against a definition that may be: the same inputs and results, another way?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from schemas.definition import Definition
from schemas.durations import format_duration
from schemas.run import StepStatus
from schemas.step_base import StepBase
from schemas.steps import ActionStep, Approval, Condition, Split, SubRun, Wait
from testing.bench import Bench
from testing.cases import Case
from testing.loading import step_id
from testing.outcome import Outcome, parting

REPLAYABLE = ("completed", "failed", "cancelled")


@dataclass(frozen=True)
class Replayed:
    """One run replayed; `differences` are told in words and empty where all is as it was."""

    run_id: str
    differences: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """True when the run goes the way it went."""
        return not self.differences


async def replay(
    bench: Bench,
    candidate: Definition,
    run: Mapping[str, Any],
    steps: Sequence[Mapping[str, Any]],
    lead: Mapping[str, Any] | None = None,
) -> Replayed:
    """Run a recorded run's input and results, as the API gives them, through a candidate.

    What `output` of a step has made of a result is recorded, the result itself is not: such
    steps of the candidate give the recorded output.
    """
    given = recorded_case(candidate, run, steps, lead)
    outcome = await bench.run(as_recorded(candidate, steps), given, run_id=run["id"])
    return Replayed(run["id"], differences(run, steps, outcome))


def as_recorded(candidate: Definition, steps: Sequence[Mapping[str, Any]]) -> Definition:
    """Give the candidate with `output` taken from the steps whose output is recorded."""
    known = {step_id(step["path"]) for step in steps}
    copy = candidate.model_copy(deep=True)
    for _, step in copy.walk():
        if step.id in known and isinstance(step, ActionStep | Condition | Wait | Approval | SubRun):
            step.output = None
    return copy


def recorded_case(
    candidate: Definition,
    run: Mapping[str, Any],
    steps: Sequence[Mapping[str, Any]],
    lead: Mapping[str, Any] | None = None,
) -> Case:
    """Make a case of a recorded run: its input, and what the world answered it."""
    by_id = candidate.by_id()
    began = datetime.fromisoformat(run["started_at"])
    case: dict[str, Any] = {"name": run["id"], "input": _literal(run["input"])}
    for part in ("mocks", "checks", "variants"):
        case[part] = {}
    for part in ("events", "signals", "answers", "operators"):
        case[part] = []
    if lead is not None:
        case["lead"] = lead
    for record in steps:
        step = by_id.get(step_id(record["path"]))
        if step is not None and getattr(step, "type", None) == record["type"]:
            _add(case, step, record, began)
    if run["status"] == "cancelled" and run.get("finished_at"):
        at = _since(run["finished_at"], began)
        case["operators"].append({"at": at, "action": "cancel"})
    _add_goal(case, candidate, steps, began)
    return Case.model_validate(case)


def _add(case: dict[str, Any], step: StepBase, record: Mapping[str, Any], began: datetime) -> None:
    path, output = record["path"], record.get("output")
    match step:
        case ActionStep():
            _add_result(case, record)
        case Condition() if step.check is not None and isinstance(output, bool):
            case["checks"][path] = output
        case Split() if isinstance(output, Mapping) and "variant" in output:
            case["variants"][path] = output["variant"]
        case Wait() if record["status"] == StepStatus.COMPLETED and not _late(step, record):
            _add_arrival(case, step, output, _since(record["finished_at"], began))
        case Approval() if isinstance(output, Mapping):
            for answer in output.get("answers") or []:
                told = {name: answer[name] for name in ("decision", "data", "by")}
                at = _since(answer["at"], began)
                case["answers"].append({"at": at, "step": path, **told})
        case SubRun():
            _add_sub_run(case, step, record)
        case _:
            return


def _add_result(case: dict[str, Any], record: Mapping[str, Any]) -> None:
    error = record.get("error")
    if error:
        fault = {"code": error["code"], "message": error["message"], "retryable": False}
        case["mocks"][record["path"]] = [{"error": fault}]
    elif record["status"] in (StepStatus.COMPLETED, StepStatus.COMPENSATED):
        case["mocks"][record["path"]] = [{"result": _literal(record.get("output"))}]


def _add_sub_run(case: dict[str, Any], step: SubRun, record: Mapping[str, Any]) -> None:
    output = record.get("output")
    if step.depends == "conditional" and isinstance(output, Mapping) and output.get("error"):
        error = output["error"]
        fault = {"code": error["code"], "message": error["message"]}
        case["mocks"][record["path"]] = [{"error": fault}]
    elif step.depends == "conditional" and isinstance(output, Mapping):
        case["mocks"][record["path"]] = [{"result": _literal(output.get("output"))}]
    else:
        _add_result(case, record)


def _late(step: Wait, record: Mapping[str, Any]) -> bool:
    """True for a wait that reached its timeout: nothing came."""
    if step.timeout is None:
        return False
    began = datetime.fromisoformat(record["started_at"])
    return datetime.fromisoformat(record["finished_at"]) - began >= step.timeout


def _add_arrival(case: dict[str, Any], step: Wait, output: Any, at: str) -> None:
    sources = step.sources()
    arrived = [(sources[0], output)]
    if step.any is not None and isinstance(output, Mapping):
        arrived = [(sources[output["index"]], output["data"])]
    elif step.all is not None and isinstance(output, Sequence):
        arrived = list(zip(sources, output, strict=False))
    for source, data in arrived:
        if source.signal is not None:
            case["signals"].append({"at": at, "name": source.signal, "data": data})
        else:
            # Whatever its key was, the run waited for it.
            case["events"].append({"at": at, "type": source.event, "data": data})


def _add_goal(
    case: dict[str, Any],
    candidate: Definition,
    steps: Sequence[Mapping[str, Any]],
    began: datetime,
) -> None:
    """Let the goal's event come when its first step began; what it carried is not recorded."""
    names = {step.id for step in candidate.on_goal}
    reached = [step for step in steps if step_id(step["path"]) in names and step["started_at"]]
    if candidate.goal is not None and reached:
        at = _since(min(step["started_at"] for step in reached), began)
        case["events"].append({"at": at, "type": candidate.goal.event})


def _since(moment: str, began: datetime) -> str:
    return format_duration(datetime.fromisoformat(moment) - began)


def _literal(value: Any) -> Any:
    """Keep a recorded `{{` from being read as an expression of the case."""
    if isinstance(value, str):
        return value.replace("{{", "{{ '{' }}{{ '{' }}")
    if isinstance(value, Mapping):
        return {name: _literal(item) for name, item in value.items()}
    return [_literal(item) for item in value] if isinstance(value, list) else value


# -- what is other than it was ---------------------------------------------------------------


def differences(
    run: Mapping[str, Any], steps: Sequence[Mapping[str, Any]], outcome: Outcome
) -> list[str]:
    """Say in words how a replayed run differs from the recorded one."""
    went = [step["path"] for step in steps if step["status"] != StepStatus.SKIPPED]
    goes = outcome.path
    found = [*outcome.problems]
    if set(went) != set(goes):
        found.append(_first_difference(went, goes))
        left = [path for path in went if path not in goes]
        new = [path for path in goes if path not in went]
        found += [f"no longer runs: {', '.join(left)}"] if left else []
        found += [f"runs in addition: {', '.join(new)}"] if new else []
    if outcome.status != run["status"]:
        found.append(f"is {outcome.status}, was {run['status']}")
    elif outcome.output != run.get("output"):
        found.append("gives another output")
    elif (outcome.error.code if outcome.error else None) != (run.get("error") or {}).get("code"):
        found.append(f"fails with {outcome.error.code if outcome.error else 'nothing'}")
    for record in steps:
        replayed = outcome.steps.get(record["path"])
        asked = record.get("input")
        if replayed is None or asked is None or replayed.input is None:
            continue
        if record["type"] == replayed.type and replayed.input != asked:
            found.append(f"calls {record['path']!r} with other parameters")
    return found


def _first_difference(went: Sequence[str], goes: Sequence[str]) -> str:
    after, was, comes = parting(went, goes)
    return f"{after} comes {comes}, was {was}"
