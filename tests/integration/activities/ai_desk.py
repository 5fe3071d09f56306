"""What the tests of the ai action with a database share: a workspace of their own at a model."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import sqlalchemy as sa
from sqlmodel import col, select

from activities.ai import AiParams, AiResult, ai
from activities.context import ActionContext
from activities.services import AiConfig, Services
from db import definitions, runs
from db.ai_breakers import AiBreaker, Thresholds
from db.ai_ledger import AiUsage
from db.ids import new_id
from schemas.actions import StepContext
from schemas.validation import load_definition
from tests.servers.ai_server import AiServer

if TYPE_CHECKING:
    from db.engine import Database

SCORE = {
    "type": "object",
    "properties": {"score": {"type": "integer", "minimum": 0, "maximum": 10}},
    "required": ["score"],
}


@dataclass
class Desk:
    """Asks as the steps of one workspace; each call of `ask` is another step of `run_id`."""

    database: "Database"
    server: AiServer
    config: AiConfig
    workspace: str = field(default_factory=lambda: f"w-{uuid4().hex[:8]}")
    run_id: str = field(default_factory=new_id)
    steps: int = 0

    def context(self, path: str | None = None, seconds: float = 10) -> ActionContext:
        """The context of a step, by default of a new one."""
        self.steps += 1
        step = StepContext(
            workspace=self.workspace,
            definition="asking",
            run_id=self.run_id,
            path=path or f"ask_{self.steps}",
        )
        services = Services(database=self.database, ai=self.config)
        return ActionContext(step=step, services=services, timeout=timedelta(seconds=seconds))

    async def ask(self, *, path: str | None = None, seconds: float = 10, **given: Any) -> AiResult:
        """Ask as one attempt of a step."""
        context = self.context(path, seconds)
        asked = {"model": "openai:gpt-4o-mini", "prompt": "Hi"} | given
        try:
            return await ai(AiParams.model_validate(asked), context)
        finally:
            await context.services.aclose()

    async def ledger(self) -> list[AiUsage]:
        """The workspace's calls in their order."""
        async with self.database.session() as session:
            statement = select(AiUsage).where(AiUsage.workspace == self.workspace)
            return list((await session.exec(statement.order_by(col(AiUsage.id)))).all())

    async def circuits(self) -> dict[str, AiBreaker]:
        """The circuits at this server, by the first word of their names."""
        async with self.database.session() as session:
            rows = (await session.exec(select(AiBreaker))).all()
        port = self.server.openai_url.rpartition(":")[2].partition("/")[0]
        return {row.endpoint.split()[0]: row for row in rows if f":{port}" in row.endpoint}

    async def run_with(self, limits: str) -> None:
        """Make the run one of a definition with these limits."""
        text = (
            f"name: asking\nlimits: {{{limits}}}\n"
            "steps: [{id: ask, type: ai, with: {prompt: Hi, model: 'openai:gpt-4o-mini'}}]\n"
        )
        from activities.registry import load

        document = load_definition(text, load())
        async with self.database.session() as session:
            await definitions.create(
                session,
                self.workspace,
                document.name,
                document.model_dump(mode="json", by_alias=True),
                text,
                publish=True,
            )
            await runs.insert_queued(
                session,
                self.workspace,
                run_id=self.run_id,
                definition="asking",
                version=1,
                input={},
            )


def config_of(server: AiServer, **given: Any) -> AiConfig:
    """Every provider at one server."""
    config = AiConfig(
        openai_base_url=server.openai_url,
        openai_api_key="sk-open",
        anthropic_base_url=server.anthropic_url,
        anthropic_api_key="sk-anthropic",
        google_base_url=server.google_url,
        google_api_key="sk-google",
        breaker=Thresholds(failures=3, open_for=timedelta(seconds=30)),
    )
    return replace(config, **given)


async def let_pass(database: "Database", endpoint: str) -> None:
    """Have an open circuit's time be over."""
    async with database.session() as session:
        await session.exec(
            sa.update(AiBreaker)
            .where(col(AiBreaker.endpoint) == endpoint)
            .values(open_until=sa.func.now() - timedelta(seconds=1))
        )
