"""Agents with every way to end: their model is scripted, their tools are probes."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import WorkflowHandle

from tests.kit.acts import answers, step_is, until
from tests.kit.scenarios import Scenario, cancel


@dataclass(frozen=True)
class AgentScenario(Scenario):
    """A scenario of one agent; `script` is what its model says (see AiServer)."""

    script: list[Any] = field(default_factory=list)
    # Requests that the model's server must have had.
    asked: int = 0
    model_status: int = 200


TERM = "{type: object, required: [term], properties: {term: {type: string}}}"
SEARCH = (
    f"{{name: search, description: Look something up, parameters: {TERM}, do: "
    "[{id: search, type: probe, with: {value: 'found {{ args.term }}'}}]}"
)
BROKEN = (
    "{name: broken, description: Fails, do: "
    "[{id: broken, type: probe, retry: {attempts: 1}, with: {failures: 9}}]}"
)
HOLDING = "{name: hold, description: Holds, do: [{id: hold, type: probe, with: {hold: true}}]}"
ASKING = (
    f"{{name: pay, description: Pays, parameters: {TERM}, do: ["
    "{id: ok, type: approval, assignees: [ada], description: 'Pay {{ args.term }}?'}, "
    "{id: pay, type: probe, if: steps.ok.output.decision == 'approved', "
    "with: {value: paid}}]}"
)
SAVED = (
    "{name: save, description: Saves, do: [{id: save, type: probe, compensate: "
    "[{id: unsave, type: probe}]}]}"
)
SCORE = "{type: object, required: [score], properties: {score: {type: integer}}}"
MODEL = "model: 'openai:gpt-5-mini'"


def agent(*tools: str, ask: str = "prompt: 'Find {{ input.n }}'", more: str = "") -> str:
    """Write an agent step with these tools."""
    return (
        f"{{id: helper, type: agent, with: {{{MODEL}, {ask}}}, tools: [{', '.join(tools)}]"
        f"{', ' + more if more else ''}}}"
    )


def call(term: str, name: str = "search") -> tuple[str, Any]:
    """One call of a tool."""
    return name, {"term": term}


async def _cancel_tool(handle: WorkflowHandle[Any, Any]) -> None:
    await until(handle, step_is("helper[1].hold", "running"))
    await cancel(handle)


async def _pause_and_resume(handle: WorkflowHandle[Any, Any]) -> None:
    await until(handle, step_is("helper[1].ok", "waiting"))
    await handle.signal("pause")
    await answers(("ada", "approved"), path="helper[1].ok")(handle)
    await until(handle, lambda state: state.paused)
    await asyncio.sleep(0)
    await handle.signal("resume")


AGENTS = [
    AgentScenario(
        "agent-success",
        agent(SEARCH),
        script=[[call("a")], [call("b"), call("c")], "It is found."],
        asked=3,
        run_output="[steps.helper.output.output, steps.helper.output.turns, steps.helper.output.calls, steps.helper.output.usage.input_tokens]",
        output=["It is found.", 3, 3, 33],
        steps_end={"helper": "completed", "helper[4].search": "completed"},
    ),
    AgentScenario(
        "agent-plain",
        agent(),
        script=["Hello."],
        asked=1,
        run_output="steps.helper.output.text",
        output="Hello.",
    ),
    AgentScenario(
        "agent-structured",
        agent(SEARCH, ask=f"prompt: Rate it, output: {SCORE}"),
        script=[
            [call("a")],
            [("final_result", {"score": "high"})],
            [("final_result", {"score": 7})],
        ],
        asked=3,
        run_output="[steps.helper.output.output.score + 1, steps.helper.output.usage.requests]",
        output=[8, 3],
    ),
    AgentScenario(
        "agent-invalid",
        agent(ask=f"prompt: Rate it, output: {SCORE}"),
        "failed",
        code="AI_INVALID_OUTPUT",
        script=[[("final_result", {"score": "high"})]] * 2,
        asked=2,
    ),
    AgentScenario(
        "agent-tool-failure",
        agent(BROKEN, SEARCH),
        script=[[("broken", {})], [call("b")], "done"],
        asked=3,
        run_output="steps.helper.output.text",
        output="done",
    ),
    AgentScenario(
        "agent-bad-calls",
        agent(SEARCH),
        script=[[("nope", {}), ("search", {"word": 1}), ("search", "no json")], "sorry"],
        asked=2,
        run_output="[steps.helper.output.text, string(steps.helper.output.calls)]",
        output=["sorry", "0"],
    ),
    AgentScenario(
        "agent-turns",
        agent(SEARCH, more="max_turns: 2"),
        "failed",
        code="LIMIT_EXCEEDED",
        script=[[call("a")], [call("b")], "late"],
        asked=2,
    ),
    AgentScenario(
        "agent-budget",
        agent(SEARCH, more="budget: {tokens: 400}"),
        "failed",
        code="LIMIT_EXCEEDED",
        script=[[call("x" * 2000)], "late"],
        asked=1,
        steps_end={"helper": "failed", "helper[1].search": "completed"},
    ),
    AgentScenario(
        "agent-failure",
        agent(SEARCH, more="retry: {attempts: 1}"),
        "failed",
        code="AI_UNAVAILABLE",
        model_status=503,
        asked=1,
    ),
    AgentScenario(
        "agent-cancel",
        agent(HOLDING),
        "cancelled",
        script=[[("hold", {})]],
        act=_cancel_tool,
        asked=1,
        steps_end={"helper": "cancelled", "helper[1].hold": "cancelled"},
    ),
    AgentScenario(
        "agent-approved",
        agent(ASKING),
        script=[[call("5 EUR", "pay")], "paid it"],
        act=answers(("ada", "approved"), path="helper[1].ok"),
        asked=2,
        steps_end={"helper[1].pay": "completed"},
        run_output="steps.helper.output.text",
        output="paid it",
    ),
    AgentScenario(
        "agent-rejected",
        agent(ASKING),
        script=[[call("5 EUR", "pay")], "not paid"],
        act=answers(("ada", "rejected"), path="helper[1].ok"),
        asked=2,
        steps_end={"helper[1].pay": "skipped"},
        run_output="steps.helper.output.text",
        output="not paid",
    ),
    AgentScenario(
        "agent-paused",
        agent(ASKING),
        script=[[call("5 EUR", "pay")], "paid it"],
        act=_pause_and_resume,
        asked=2,
        run_output="steps.helper.output.text",
        output="paid it",
    ),
    AgentScenario(
        "agent-can",
        agent(SEARCH, more="max_turns: 20"),
        script=[[call(str(n))] for n in range(8)] + ["enough"],
        asked=9,
        history_limit=30,
        run_output="[steps.helper.output.text, string(steps.helper.output.turns)]",
        output=["enough", "9"],
    ),
    AgentScenario(
        "agent-compensate",
        agent(SAVED) + ", {id: boom, type: fail, code: NO_STOCK}",
        "failed",
        code="NO_STOCK",
        script=[[("save", {})], "saved"],
        asked=2,
        steps_end={"helper[1].unsave": "completed"},
    ),
    AgentScenario(
        "agent-stop",
        agent(
            "{name: stop, description: Ends it all, do: [{id: halt, type: stop, output: enough}]}"
        ),
        script=[[("stop", {})]],
        asked=1,
        output="enough",
        steps_end={"helper": "completed"},
    ),
]
