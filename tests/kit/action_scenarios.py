"""The actions email, http, ai and lead by their own names, against servers they really talk to."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from activities.services import AiConfig
from tests.kit.scenarios import Scenario, cancel
from tests.servers.ai_server import AiServer
from tests.servers.wire import Received, WireServer, respond

GONE = "gone@example.com"
ONCE = "retry: {attempts: 1}"
SCORE = "{type: object, required: [score], properties: {score: {type: integer}}}"


@dataclass(frozen=True)
class ActionScenario(Scenario):
    """A scenario of one action; `ai_status` and `ai_delay` (s) say how the model answers it."""

    ai_status: int = 200
    ai_delay: float = 0.0


@dataclass(frozen=True)
class World:
    """The servers that http and ai steps call."""

    http: WireServer
    ai: AiServer

    @property
    def ai_config(self) -> AiConfig:
        """How steps reach the model."""
        return AiConfig(openai_base_url=self.ai.openai_url, openai_api_key="sk-test")

    def prepare(self, scenario: ActionScenario) -> None:
        """Forget what came, and answer as the scenario says."""
        self.http.requests.clear()
        self.ai.calls.clear()
        self.ai.output = {"score": 7}
        self.ai.status, self.ai.delay = scenario.ai_status, scenario.ai_delay

    async def called(self) -> None:
        """Wait until a step has called one of the servers."""
        async with asyncio.timeout(180):
            while not self.http.requests and not self.ai.calls:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """Start the servers."""
    async with WireServer(_answer) as http, AiServer() as ai:
        yield World(http, ai)


async def _answer(request: Received, writer: asyncio.StreamWriter) -> None:
    match request.target:
        case "/hold":
            await asyncio.Event().wait()
        case "/echo":
            body = json.dumps(json.loads(request.body)).encode()
            respond(writer, 200, body, {"content-type": "application/json"})
        case "/broken":
            respond(writer, 503)
        case _:
            respond(writer, 404)


ACTION_SCENARIOS = [
    ActionScenario(
        "email-success",
        "{id: mail, type: email, title: Say hello, with: {to: '{{ input.email }}', "
        "subject: Hello, text: 'Hi {{ input.text }}', html: '<p>Hi</p>'}}",
        run_output="steps.mail.output.accepted",
        output=["ada@example.com"],
    ),
    ActionScenario(
        "email-failure",
        f"{{id: mail, type: email, with: {{to: {GONE}, subject: Hello, text: Hi}}}}",
        "failed",
        code="EMAIL_REJECTED",
        steps_end={"mail": "failed"},
    ),
    ActionScenario(
        "http-success",
        "{id: call, type: http, with: {method: POST, url: '{{ input.url }}/echo', "
        "json: {n: '{{ input.n }}'}}}",
        run_output="steps.call.output.body.n",
        output=3,
    ),
    ActionScenario(
        "http-failure",
        "{id: call, type: http, with: {url: '{{ input.url }}/gone'}}",
        "failed",
        code="HTTP_ERROR",
        steps_end={"call": "failed"},
    ),
    ActionScenario(
        "http-retried",
        "{id: call, type: http, retry: {attempts: 2, initial: 100ms}, "
        "with: {url: '{{ input.url }}/broken'}}",
        "failed",
        code="HTTP_ERROR",
    ),
    ActionScenario(
        "http-cancel",
        "{id: call, type: http, timeout: 6s, with: {url: '{{ input.url }}/hold'}}",
        "cancelled",
        act=cancel,
        steps_end={"call": "cancelled"},
    ),
    ActionScenario(
        "http-timeout",
        f"{{id: call, type: http, timeout: 1s, {ONCE}, with: {{url: '{{{{ input.url }}}}/hold'}}}}",
        "failed",
        code="STEP_TIMEOUT",
        steps_end={"call": "failed"},
    ),
    ActionScenario(
        "ai-success",
        "{id: ask, type: ai, with: {model: openai:tiny, prompt: 'A lead? {{ input.text }}', "
        f"output: {SCORE}}}}}",
        run_output="steps.ask.output.output.score",
        output=7,
    ),
    ActionScenario(
        "ai-failure",
        f"{{id: ask, type: ai, {ONCE}, with: {{model: openai:tiny, prompt: Hello}}}}",
        "failed",
        code="AI_UNAVAILABLE",
        steps_end={"ask": "failed"},
        ai_status=500,
    ),
    ActionScenario(
        "ai-cancel",
        "{id: ask, type: ai, timeout: 6s, with: {model: openai:tiny, prompt: Hello}}",
        "cancelled",
        act=cancel,
        steps_end={"ask": "cancelled"},
        ai_delay=60.0,
    ),
    ActionScenario(
        "ai-timeout",
        f"{{id: ask, type: ai, timeout: 1s, {ONCE}, with: {{model: openai:tiny, prompt: Hello}}}}",
        "failed",
        code="STEP_TIMEOUT",
        steps_end={"ask": "failed"},
        ai_delay=60.0,
    ),
    ActionScenario(
        "lead-success",
        "{id: mark, type: lead, with: {status: contacted, fields: {score: '{{ input.n }}'}}}",
        run_output="[steps.mark.output.status, steps.mark.output.fields.score]",
        output=["contacted", 3],
    ),
    ActionScenario(
        "lead-failure",
        "{id: mark, type: lead, with: {lead: 00000000-0000-7000-8000-000000000000, status: won}}",
        "failed",
        code="NOT_FOUND",
        steps_end={"mark": "failed"},
    ),
]
