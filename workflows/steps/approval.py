"""approval: people decide; reminders and escalation run beside the wait for their answers."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

from temporalio import workflow

from workflows.execution import Execution
from workflows.frame import Frame
from workflows.tasks import Task, cancel, first_done
from workflows.unwinding import Aborted
from workflows.walk import run_list

with workflow.unsafe.imports_passed_through():
    from schemas.durations import format_duration
    from schemas.errors import ErrorCode, ExpressionError, SojournError, StepError
    from schemas.expressions import as_text
    from schemas.run import Answer, StepState, StepStatus
    from schemas.steps import Approval, Step

MAX_ASSIGNEES = 100
TIMED_OUT = "timed_out"


async def run(run: Execution, step: Approval, state: StepState, frame: Frame) -> dict[str, Any]:
    """Wait for the answers; gives {decision, data, by, answers}.

    Raises StepError (STEP_TIMEOUT) when none comes in time and `on_timeout` is `fail`.
    """
    if state.data is None:
        _begin(run, step, state, frame)
    if state.choice is None:
        await _decided(run, step, state, frame)
        if _verdict(step, state) is None:
            # From here on no answer is taken.
            state.choice = TIMED_OUT
            run.recorder.touch(state.path)
    if state.choice == TIMED_OUT:
        await _time_out(run, step, state, frame)
    return _output(step, state)


def _begin(run: Execution, step: Approval, state: StepState, frame: Frame) -> None:
    """Render the task and fix its deadlines; the state keeps what a later entry must know."""
    assignees = _people(run.render(step.assignees, frame), "assignees")
    if not assignees:
        raise ExpressionError("'assignees' names nobody")
    later = _people(run.render(step.escalate.to, frame), "escalate.to") if step.escalate else []
    people = len({*assignees, *later})
    if people < step.approvals:
        raise ExpressionError(f"{step.approvals} approvals need as many people, not {people}")
    description = as_text(run.render(step.description, frame)) if step.description else None
    task = {
        "assignees": assignees,
        "description": description,
        "form": step.form,
        "approvals": step.approvals,
    }
    state.input = task
    state.data = {**task, "reminders": 0, "later": later}
    if step.timeout is not None:
        state.until = run.after(step.timeout)
    if step.remind is not None:
        state.data["remind_at"] = run.after(step.remind.every).isoformat()
    if step.escalate is not None:
        state.data["escalate_at"] = run.after(step.escalate.after).isoformat()


def _people(value: Any, field: str) -> list[str]:
    """Read a name or a list of names, each once."""
    names: list[Any] = value if isinstance(value, list) else [value]
    for name in names:
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise ExpressionError(f"'{field}' must hold names, not {str(name)[:60]!r}")
    if len(names) > MAX_ASSIGNEES:
        raise ExpressionError(f"'{field}' holds {len(names)} names; at most {MAX_ASSIGNEES}")
    return list(dict.fromkeys(name.strip() for name in names))


async def _decided(run: Execution, step: Approval, state: StepState, frame: Frame) -> None:
    """Wait until the answers decide, or the time is over."""
    beside = [
        call(run, step, state, frame)
        for call, wanted in ((_remind, step.remind), (_escalate, step.escalate))
        if wanted is not None
    ]
    if not beside:
        await _answers(run, step, state)
        return
    answers = asyncio.create_task(_answers(run, step, state))
    tasks: list[Task] = [answers, *(asyncio.create_task(call) for call in beside)]
    while not answers.done():
        finished = await first_done(tasks)
        tasks = [task for task in tasks if task not in finished]
    await cancel(tasks)


async def _answers(run: Execution, step: Approval, state: StepState) -> None:
    summary = step.title or f"{step.id}: approval"
    while _verdict(step, state) is None:
        seen = len(state.answers)
        await run.waiting(state, _note(step, state))
        if not await run.wait(partial(_more_than, state, seen), state.until, summary):
            return


def _more_than(state: StepState, seen: int) -> bool:
    return len(state.answers) > seen


def _verdict(step: Approval, state: StepState) -> Answer | None:
    """Give the answer that decides: the first rejection, or the approval that is enough."""
    for count, answer in enumerate(state.answers, start=1):
        if answer.decision == "rejected" or count >= step.approvals:
            return answer
    return None


def _note(step: Approval, state: StepState) -> str:
    approved = f"{len(state.answers)} of {step.approvals} approved"
    waiting = [name for name in state.data["assignees"] if not _has_answered(state, name)]
    limit = f", at most {format_duration(step.timeout)}" if step.timeout else ""
    shown = ", ".join(waiting[:3]) + (f" and {len(waiting) - 3} more" if len(waiting) > 3 else "")
    return f"{approved}; asks {shown}{limit}"


def _has_answered(state: StepState, name: str) -> bool:
    return any(answer.by == name for answer in state.answers)


async def _remind(run: Execution, step: Approval, state: StepState, frame: Frame) -> None:
    """Run the reminder's steps every so often, as iterations of the approval."""
    assert step.remind is not None, "only an approval with reminders has them"
    data = state.data
    while data["reminders"] < step.remind.max:
        due = datetime.fromisoformat(data["remind_at"])
        await run.wait(lambda: False, due, f"{step.id}: reminder")
        index: int = data["reminders"]
        names = {"index": index, "approval": _told(state)}
        inner = frame.iteration(step.id, index, names)
        await _aside(run, step.remind.do, state, inner)
        if index > 0:
            run.leave(f"{frame.prefix}{step.id}[{index - 1}].")
        data["reminders"] = index + 1
        data["remind_at"] = run.after(step.remind.every).isoformat()
        await run.recorder.catch_up()


async def _escalate(run: Execution, step: Approval, state: StepState, frame: Frame) -> None:
    """Add the people of `to` when it is time, then run the escalation's steps once."""
    assert step.escalate is not None, "only an approval with an escalation has one"
    data = state.data
    if data["escalate_at"] is None:
        return
    if not data.get("escalated"):
        due = datetime.fromisoformat(data["escalate_at"])
        await run.wait(lambda: False, due, f"{step.id}: escalation")
        data["escalated"] = True
        data["assignees"] = list(dict.fromkeys([*data["assignees"], *data["later"]]))
        state.input = {**state.input, "assignees": data["assignees"]}
        await run.waiting(state, _note(step, state))
    names = {"index": data["reminders"], "approval": _told(state)}
    await _aside(run, step.escalate.do, state, frame.naming(names))
    data["escalate_at"] = None
    await run.recorder.catch_up()


async def _aside(run: Execution, steps: Sequence[Step], state: StepState, frame: Frame) -> None:
    """Run steps whose failure stays with them: the approval goes on."""
    try:
        await run_list(run, steps, frame)
    except Aborted:
        raise
    except SojournError as failure:
        extra = {"step": state.path, "code": failure.code}
        workflow.logger.warning("a reminder or an escalation failed", extra=extra)


def _told(state: StepState) -> dict[str, Any]:
    """What reminders and escalation see as `approval`."""
    data = state.data
    return {
        "path": state.path,
        "description": data["description"],
        "assignees": data["assignees"],
        "waiting_for": [name for name in data["assignees"] if not _has_answered(state, name)],
        "approvals": data["approvals"],
        "deadline": state.until.isoformat() if state.until else None,
    }


async def _time_out(run: Execution, step: Approval, state: StepState, frame: Frame) -> None:
    if isinstance(step.on_timeout, list):
        state.status = StepStatus.RUNNING
        state.note = state.until = None
        run.recorder.touch(state.path)
        await run_list(run, step.on_timeout, frame)
    elif step.on_timeout == "fail":
        assert step.timeout is not None, "without a timeout only answers end the wait"
        raise StepError(
            f"no decision within {format_duration(step.timeout)}: "
            f"{len(state.answers)} of {step.approvals} approved",
            code=ErrorCode.STEP_TIMEOUT,
        )


def _output(step: Approval, state: StepState) -> dict[str, Any]:
    last = _verdict(step, state)
    answers = [answer.model_dump(mode="json") for answer in state.answers]
    state.data = None
    if last is None:
        return {"decision": TIMED_OUT, "data": {}, "by": None, "answers": answers}
    return {"decision": last.decision, "data": last.data, "by": last.by, "answers": answers}
