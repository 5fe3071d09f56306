"""Runs of several shapes whose effects and ends are known beforehand, and the check of both."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from httpx2 import AsyncClient
from sqlmodel import col, select
from temporalio.client import WorkflowExecutionStatus

from db.runs import Run
from schemas.run import RunStatus
from tests.faults.stand import Stand, until
from tests.servers.ai_server import AiServer
from tests.servers.effect_sink import EffectSink

_HEAD = """
name: {name}
input: {{type: object, properties: {{n: {{type: integer}}, url: {{type: string}}}}}}
defaults: {{timeout: 5s, retry: {{attempts: 100, initial: 200ms, factor: 1}}}}
"""
_POST = """{{id: {step}, type: http, with: {{method: POST, url: "{{{{ input.url }}}}",
    json: {{n: "{{{{ input.n }}}}", step: {said}, points: {points}}}}}}}"""
_MAIL = """{{id: mail, type: email, {more}with: {{to: "{name}.{{{{ input.n }}}}@example.com",
    subject: Hello, text: Good morning}}}}"""


def _post(step: str, points: str = "1", said: str | None = None) -> str:
    return _POST.format(step=step, said=said or step, points=points)


def _mail(name: str, more: str = "") -> str:
    return _MAIL.format(name=name, more=more)


@dataclass(frozen=True)
class Shape:
    """One shape: its definition below the head, its result, and the steps that post."""

    name: str
    body: str
    result: Any
    posts: tuple[str, ...]
    mail: bool = False
    event: bool = False

    @property
    def source(self) -> str:
        """The definition."""
        return _HEAD.format(name=self.name) + self.body


HTTP = Shape(
    "mix-http",
    f"""
output: "{{{{ steps.one.output.body.points + steps.two.output.body.points }}}}"
steps:
  - {_post("one", "2")}
  - {_post("two", '"{{ steps.one.output.body.points + 1 }}"')}
""",
    5,
    ("one", "two"),
)
MAIL = Shape(
    "mix-mail",
    f"""
output: {{sent: "{{{{ steps.after.output.body.points }}}}"}}
steps:
  - {_mail("mix-mail")}
  - {_post("after")}
""",
    {"sent": 1},
    ("after",),
    mail=True,
)
WAIT = Shape(
    "mix-wait",
    f"""
output: "{{{{ steps.heard.output.word }}}}"
steps:
  - {{id: heard, type: wait, event: mix.said, key: "mix-wait-{{{{ input.n }}}}"}}
  - {_post("after")}
""",
    "hello",
    ("after",),
    event=True,
)
CONDITION = Shape(
    "mix-condition",
    f"""
output: "{{{{ vars.way }}}}"
steps:
  - id: ask
    type: ai
    with: {{model: "openai:gpt-test", prompt: "Is run {{{{ input.n }}}} warm?"}}
  - id: warm
    type: condition
    if: steps.ask.output.text == "warm"
    then: [{_post("go")}, {{id: went, type: set, vars: {{way: went}}}}]
    else: [{_post("stay")}, {{id: stayed, type: set, vars: {{way: stayed}}}}]
""",
    "went",
    ("go",),
)
PARALLEL = Shape(
    "mix-parallel",
    f"""
output: "{{{{ steps.a.output.body.points + steps.b.output.body.points
    + steps.c.output.body.points }}}}"
steps:
  - id: beside
    type: parallel
    branches:
      - {{name: first, do: [{_post("a", "1")}]}}
      - {{name: second, do: [{_post("b", "2")}]}}
      - {{name: third, do: [{_post("c", "3")}]}}
""",
    6,
    ("a", "b", "c"),
)
LOOP = Shape(
    "mix-loop",
    f"""
output: "{{{{ size(steps.each.output) }}}}"
steps:
  - id: each
    type: for_each
    items: [x, y, z]
    do: [{_post("send", "4", said='"{{ item }}"')}]
""",
    3,
    ("x", "y", "z"),
)
# What a kill leaves in doubt is not sent again: the step fails, and the run goes on without it.
ONCE = Shape(
    "mix-once",
    f"""
output: "{{{{ steps.after.output.body.points }}}}"
steps:
  - {_mail("mix-once", "delivery: at_most_once, on_error: continue, ")}
  - {_post("after")}
""",
    1,
    ("after",),
)
SHAPES = (HTTP, MAIL, WAIT, CONDITION, PARALLEL, LOOP, ONCE)


@dataclass
class Mixture:
    """The runs of a test; their numbers go round the shapes."""

    stand: Stand
    sink: EffectSink
    ai: AiServer
    prefix: str = "mix"
    shapes: tuple[Shape, ...] = SHAPES
    started: dict[str, tuple[Shape, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Give the definitions names of their own, for each test."""
        self.shapes = tuple(
            replace(
                shape,
                name=shape.name.replace("mix", self.prefix),
                body=shape.body.replace("mix-", f"{self.prefix}-"),
            )
            for shape in self.shapes
        )

    @property
    def names(self) -> list[str]:
        """The names of the definitions."""
        return [shape.name for shape in self.shapes]

    @property
    def settings(self) -> dict[str, str]:
        """What workers need to reach the servers of the test."""
        ports = f"{self.sink.port},{self.ai.openai_url.split(':')[2].split('/')[0]}"
        return {
            # What a dead worker has in its cache waits for it so long each time.
            "SOJOURN_STICKY_TIMEOUT": "1",
            "SOJOURN_HTTP_ALLOW_CIDRS": "127.0.0.0/8",
            "SOJOURN_HTTP_ALLOW_PORTS": ports,
            "SOJOURN_AI_ALLOW_CIDRS": "127.0.0.0/8",
            "SOJOURN_AI_ALLOW_PORTS": ports,
            "SOJOURN_AI_OPENAI_BASE_URL": self.ai.openai_url,
            "SOJOURN_AI_OPENAI_API_KEY": "sk-test",
        }

    async def publish(self) -> None:
        """Publish every shape; one that is there from another test stays."""
        async with self.stand.api() as api:
            for shape in self.shapes:
                answer = await api.post(
                    "/api/v1/definitions?publish=true",
                    content=shape.source.encode(),
                    headers={"content-type": "application/yaml"},
                )
                assert answer.status_code in (201, 409), answer.text

    async def start(self, count: int) -> None:
        """Start the next runs, some at a time; each with a key, until it is accepted."""
        slots = asyncio.Semaphore(6)
        first = len(self.started)
        async with self.stand.api() as api:

            async def one(n: int) -> None:
                async with slots:
                    shape = self.shapes[n % len(self.shapes)]
                    self.started[await self._insist(api, shape, n)] = (shape, n)

            await asyncio.gather(*(one(first + each) for each in range(count)))

    async def _insist(self, api: AsyncClient, shape: Shape, n: int) -> str:
        answer = await api.post(
            f"/api/v1/definitions/{shape.name}/runs",
            json={"input": {"n": n, "url": self.sink.url}},
        )
        assert answer.status_code in (201, 202), answer.text
        if shape.event:
            event = {"type": "mix.said", "key": f"{shape.name}-{n}", "data": {"word": "hello"}}
            told = await api.post("/api/v1/events", json={**event, "id": f"{shape.name}-{n}"})
            assert told.status_code == 202, told.text
        return answer.json()["id"]

    async def rows(self) -> list[Run]:
        """Read the rows of the runs."""
        async with self.stand.database.session() as session:
            found = await session.exec(select(Run).where(col(Run.definition).in_(self.names)))
            return [run for run in found.all() if run.id in self.started]

    async def open(self) -> int:
        """Count the runs that have not ended, as Temporal lists them."""
        names = ", ".join(f"'{name}'" for name in self.names)
        query = f"ExecutionStatus = 'Running' AND WorkflowType IN ({names})"
        return (await self.stand.client.count_workflows(query)).count

    async def ended(self, deadline: float) -> None:
        """Wait until every row says that its run has ended, and Temporal says it too.

        The last record is written before the run's own end.
        """

        async def all_ended() -> bool:
            found = await self.rows()
            if len(found) < len(self.started) or not all(run.status.terminal for run in found):
                return False
            return await self.open() == 0

        try:
            await until(all_ended, "every run has ended", deadline)
        except AssertionError as error:
            found = [run for run in await self.rows() if not run.status.terminal]
            left = [await self._standing(run) for run in found[:5]]
            raise AssertionError(f"{error}; {len(found)} have not: {left}") from error

    async def _standing(self, run: Run) -> str:
        """Say where a run stands: what Temporal has given out, and how often."""
        handle = self.stand.client.get_workflow_handle(run.workflow_id)
        raw = (await handle.describe()).raw_description
        task = raw.pending_workflow_task.attempt
        pending = [
            f"{each.activity_id} attempt {each.attempt} {each.last_failure.message[:80]!r}"
            for each in raw.pending_activities
        ]
        return f"{run.workflow_id} {run.status}: workflow task attempt {task}, {pending}"

    async def check(self) -> None:
        """Every run has ended right, in its row as in Temporal, and each effect has one key."""
        rows = {run.id: run for run in await self.rows()}
        assert set(rows) == set(self.started)
        wrong = [
            (run_id, rows[run_id].status, rows[run_id].output, rows[run_id].error)
            for run_id, (shape, _) in self.started.items()
            if (rows[run_id].status, rows[run_id].output) != (RunStatus.COMPLETED, shape.result)
        ]
        assert not wrong, f"{len(wrong)} runs came out wrong: {wrong[:3]}"
        slots = asyncio.Semaphore(20)

        async def told(run: Run) -> WorkflowExecutionStatus | None:
            async with slots:
                handle = self.stand.client.get_workflow_handle(run.workflow_id)
                return (await handle.describe()).status

        statuses = Counter(await asyncio.gather(*(told(run) for run in rows.values())))
        assert statuses == {WorkflowExecutionStatus.COMPLETED: len(rows)}
        wanted = Counter((n, step) for shape, n in self.started.values() for step in shape.posts)
        found = Counter((each["n"], each["step"]) for each in self.sink.effects.values())
        assert found == wanted, f"effects: {found - wanted} too many, {wanted - found} missing"
        assert not self.sink.clashes
