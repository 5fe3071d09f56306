"""agent: turns of a model and calls of tools, each with a path of its own.

Turns and calls share one count: `helper[0]` asks the model, `helper[1].search` is the tool that
it called, `helper[2]` asks again. The conversation is in the step's state, and so goes along when
the run continues as new.
"""

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import FailureError

from workflows.execution import Execution
from workflows.frame import Frame
from workflows.outcomes import error_info
from workflows.tasks import result_of
from workflows.unwinding import Aborted, RunFailed
from workflows.walk import run_list

with workflow.unsafe.imports_passed_through():
    from pydantic_core import to_json

    from schemas.errors import ErrorCode, InputError, LimitError, SojournError
    from schemas.policies import Retry
    from schemas.run import MAX_STATE_BYTES, StepState, StepStatus
    from schemas.steps import Agent
    from schemas.steps_agent import MAX_CONVERSATION_BYTES, MAX_TOOL_ANSWER_BYTES
    from schemas.validation import check_input

TURN = "agent_turn"
TURN_TIMEOUT = timedelta(seconds=60)
_HEARTBEAT = timedelta(seconds=10)
_DATABASE_PAUSE = timedelta(seconds=15)
_DEFAULT_RETRY = Retry()


async def run(run: Execution, step: Agent, state: StepState, frame: Frame) -> dict[str, Any]:
    """Let the model and its tools talk until it answers; gives the answer and what it took.

    Raises LimitError when `max_turns` did not bring one or the conversation is too long, and the
    errors of a turn. A tool's error is told to the model.
    """
    if state.data is None:
        state.input = run.render(step.question(), frame)
        state.data = {
            "question": state.input,
            "messages": [],
            "calls": [],
            "index": 0,
            "turns": 0,
            "made": 0,
            "last": None,
            "usage": {"input_tokens": 0, "output_tokens": 0, "requests": 0, "cost_usd": 0.0},
        }
    talk: dict[str, Any] = state.data
    while True:
        while talk["calls"]:
            await _call(run, step, talk, frame)
        if talk["turns"] >= step.max_turns:
            raise LimitError(
                f"the model had {talk['turns']} turns and gave no answer; 'max_turns' is"
                f" {step.max_turns}"
            )
        _check_size(run, talk)
        # As before every step: a paused run starts nothing, a long one continues as new.
        await run.gate()
        answer = await _turn(run, step, state, talk)
        talk["turns"] += 1
        talk["index"] += 1
        talk["messages"] += answer["said"]
        talk["calls"] = answer["calls"]
        _count(talk["usage"], answer["usage"])
        if not talk["calls"]:
            break
    state.data = None
    return {
        "output": answer["output"],
        "text": answer["text"],
        "turns": talk["turns"],
        "calls": talk["made"],
        "model": answer["model"],
        "provider": answer["provider"],
        "usage": talk["usage"],
    }


async def _call(run: Execution, step: Agent, talk: dict[str, Any], frame: Frame) -> None:
    """Run the next call's steps, and add to the conversation what came of them."""
    call = talk["calls"][0]
    tool = next((tool for tool in step.tools if tool.name == call["name"]), None)
    failed = True
    if tool is None:
        names = ", ".join(tool.name for tool in step.tools)
        answer: Any = {"error": f"there is no tool {call['name'][:64]!r}; there are: {names}"}
    elif call["arguments"] is None:
        answer = {"error": "the arguments are not a JSON object"}
    else:
        try:
            check_input({"type": "object", **tool.parameters}, call["arguments"])
        except InputError as error:
            answer = {"error": error.message}
        else:
            inner = frame.iteration(step.id, talk["index"], {"args": call["arguments"]})
            if talk["last"] not in (None, inner.prefix):
                run.leave(talk["last"])
            talk["last"] = inner.prefix
            try:
                answer, failed = await run_list(run, tool.do, inner), False
            except Aborted:
                raise
            except SojournError as error:
                answer = {"error": error.message, "code": str(error.code)}
            talk["made"] += 1
    talk["messages"].append(
        {
            "role": "tool",
            "id": call["id"],
            "name": call["name"],
            "content": _told(answer),
            **({"failed": True} if failed else {}),
        }
    )
    talk["index"] += 1
    talk["calls"] = talk["calls"][1:]


def _told(answer: Any) -> str:
    """Write a tool's answer as the model reads it, cut where it is too long."""
    text = answer if isinstance(answer, str) else to_json(answer).decode()
    data = text.encode()
    if len(data) <= MAX_TOOL_ANSWER_BYTES:
        return text
    kept = data[:MAX_TOOL_ANSWER_BYTES].decode("utf-8", "ignore")
    return f"{kept}\n(cut: {len(data)} bytes in all)"


def _check_size(run: Execution, talk: dict[str, Any]) -> None:
    """Refuse a conversation that would not fit into an activity's input or the run's state."""
    size = len(to_json([talk["question"], talk["messages"]]))
    if size > MAX_CONVERSATION_BYTES:
        raise LimitError(
            f"the conversation has {size} bytes; the limit is {MAX_CONVERSATION_BYTES}"
        )
    open_talks = [
        len(to_json(state.data))
        for state in run.state.steps.values()
        if state.type == "agent" and state.data is not None
    ]
    if sum(open_talks) > MAX_STATE_BYTES // 2:
        raise LimitError(
            f"the conversations of this run have {sum(open_talks)} bytes; the limit is"
            f" {MAX_STATE_BYTES // 2}"
        )


async def _turn(run: Execution, step: Agent, state: StepState, talk: dict[str, Any]) -> Any:
    """Ask the model once, in an activity; while the database is away the turn waits for it."""
    await run.recorder.catch_up()
    while True:
        try:
            return await _ask(run, step, state, talk)
        except FailureError as error:
            info = error_info(error, state.path)
            details = dict(info.details or {})
            state.attempts += details.pop("attempt", 1) - 1
            info.details = details or None
            if info.code != ErrorCode.DATABASE_UNAVAILABLE:
                raise RunFailed(info) from error
        state.until = workflow.now() + _DATABASE_PAUSE
        await run.wait(lambda: False, state.until, f"{step.id}: before another attempt")
        state.until = None


async def _ask(run: Execution, step: Agent, state: StepState, talk: dict[str, Any]) -> Any:
    defaults = run.start.definition.defaults
    retry = step.retry or defaults.retry or _DEFAULT_RETRY
    timeout = step.timeout or defaults.timeout or TURN_TIMEOUT
    path = f"{state.path}[{talk['index']}]"
    # The activity's step key is that of the turn, so that each is paid for once.
    context = run.context(state.path).model_copy(update={"path": path})
    if retry is not _DEFAULT_RETRY:
        context.retry = retry.model_dump(mode="json", by_alias=True, exclude_unset=True)
    params = {
        "question": talk["question"],
        "messages": talk["messages"],
        "tools": [
            tool.model_dump(include={"name", "description", "parameters"}) for tool in step.tools
        ],
        "left": _left(step, talk["usage"]),
    }
    state.status = StepStatus.RUNNING
    state.attempts += 1
    run.recorder.queued()
    handle = workflow.start_activity(
        TURN,
        args=[params, context.model_dump(mode="json", exclude_defaults=True)],
        activity_id=path,
        summary=f"{step.title or step.id}: turn {talk['turns'] + 1}",
        start_to_close_timeout=timeout,
        heartbeat_timeout=min(timeout, _HEARTBEAT),
        retry_policy=RetryPolicy(
            initial_interval=retry.initial,
            backoff_coefficient=retry.factor,
            maximum_interval=retry.max,
            maximum_attempts=retry.attempts,
        ),
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        priority=Priority(priority_key=step.priority) if step.priority else Priority.default,
    )
    answer = await result_of(handle)
    state.attempts += answer["attempt"] - 1
    return answer["result"]


def _left(step: Agent, usage: dict[str, Any]) -> dict[str, Any] | None:
    """Give what the budget has left for the next turn."""
    if step.budget is None:
        return None
    left: dict[str, Any] = {}
    if step.budget.tokens is not None:
        left["tokens"] = step.budget.tokens - usage["input_tokens"] - usage["output_tokens"]
    if step.budget.usd is not None:
        left["usd"] = step.budget.usd - (usage["cost_usd"] or 0.0)
    return left


def _count(usage: dict[str, Any], more: dict[str, Any]) -> None:
    for name in ("input_tokens", "output_tokens", "requests"):
        usage[name] += more[name]
    # Unknown once, unknown in all.
    costs = usage["cost_usd"], more["cost_usd"]
    usage["cost_usd"] = None if None in costs else sum(costs)
