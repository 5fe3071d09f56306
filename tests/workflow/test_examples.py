"""Every other example runs: real HTTP, SMTP and model servers, with its time skipped."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from werkzeug import Request, Response

from activities.ai import preload
from activities.registry import load
from activities.services import AiConfig, MailConfig, Services
from db.engine import Database
from dev.mailbox import Mailbox
from schemas.run import RunStatus
from schemas.validation import load_definition
from tests.kit.running import Ended, Runner, begun
from tests.servers.ai_server import AiServer
from workflows.worker_options import build_worker

FOLDER = Path(__file__).resolve().parents[2] / "examples"
MANAGER, EMPLOYEE = "grace@example.com", "ada@example.com"
TICKET = {"subject": "All is down", "body": "Nobody can log in since noon.", "on_call": MANAGER}


def text_of(name: str) -> str:
    """Read an example."""
    return (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


async def run(runner: Runner, name: str, given: dict[str, Any]) -> Ended:
    """Run an example to its end."""
    return await runner.end(await runner.start(runner.start_of(text_of(name), given)))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_is_valid(path: Path) -> None:
    assert load_definition(path.read_text(encoding="utf-8"), load()).name == path.stem


async def test_price_watch_reports_bargains_and_survives_a_broken_product(
    skipping: Runner, httpserver: HTTPServer
) -> None:
    prices = {"lamp": 19.5, "desk": 240, "chair": 20}
    names = [*prices, "ghost"]
    products = [{"name": name, "url": httpserver.url_for(f"/{name}")} for name in names]
    httpserver.expect_request("/catalogue").respond_with_json({"products": products})
    for name, price in prices.items():
        httpserver.expect_request(f"/{name}").respond_with_json({"price": price})
    httpserver.expect_request("/ghost").respond_with_json({"gone": True}, status=500)
    given = {"catalogue_url": httpserver.url_for("/catalogue"), "limit": 100}
    ended = await run(skipping, "price-watch", given)
    assert ended.state.status is RunStatus.COMPLETED, ended.state.error
    bargains = [{"name": "lamp", "price": 19.5}, {"name": "chair", "price": 20}]
    assert ended.state.output == {"checked": 4, "bargains": bargains}
    assert ended.state.steps["products"].output == [
        bargains[0],
        {"name": "desk", "price": 240},
        bargains[1],
        None,
    ]
    asked = [request.path for request, _ in httpserver.log]
    assert asked[0] == "/catalogue"
    # The broken one was tried three times, as the step says, and the others once.
    assert sorted(asked[1:]) == ["/chair", "/desk", "/ghost", "/ghost", "/ghost", "/lamp"]


@pytest.fixture
async def ai_server() -> AsyncIterator[AiServer]:
    """A server that speaks OpenAI's protocol."""
    await preload()
    async with AiServer() as server:
        yield server


@pytest.fixture
async def triage(
    time_skipping: WorkflowEnvironment, database: Database, smtp: Mailbox, ai_server: AiServer
) -> AsyncIterator[Runner]:
    """Runs definitions with that server as OpenAI's."""
    services = Services(
        database=database,
        mail=MailConfig.from_url(smtp.url, from_address="sojourn@example.com"),
        ai=AiConfig(openai_base_url=ai_server.openai_url, openai_api_key="sk-open"),
    )
    client: Client = time_skipping.client
    queue, found = f"triage-{smtp.port}-{id(ai_server)}", load()
    async with build_worker(client, found.activities(services), task_queue=queue):
        yield Runner(client, queue, found)
    await services.aclose()


async def test_ticket_triage_alarms_for_an_urgent_ticket(
    triage: Runner, ai_server: AiServer, smtp: Mailbox
) -> None:
    ai_server.output = {"priority": "urgent", "summary": "Login is down for all."}
    ai_server.failures = [503]
    ended = await run(triage, "ticket-triage", TICKET)
    assert ended.state.status is RunStatus.COMPLETED, ended.state.error
    assert ended.state.output["priority"] == "urgent"
    assert ended.state.steps["sort"].attempts == 2
    assert ended.steps == {"sort": "completed", "urgent": "completed", "alarm": "completed"}
    (mail,) = smtp.messages
    assert mail.recipients == [MANAGER]
    assert mail.subject == "Urgent: All is down"
    assert mail.text.strip() == "Login is down for all."
    assert [path for path, _ in ai_server.calls] == ["/v1/chat/completions"] * 2
    sent = ai_server.calls[-1][1]
    assert sent["model"] == "gpt-5-mini"
    assert "Nobody can log in since noon." in str(sent["messages"])
    assert set(ai_server.keys) == {"sk-open"}


async def test_ticket_triage_leaves_a_low_ticket_alone(
    triage: Runner, ai_server: AiServer, smtp: Mailbox
) -> None:
    ai_server.output = {"priority": "low", "summary": "A typo."}
    ended = await run(triage, "ticket-triage", TICKET)
    assert ended.state.status is RunStatus.COMPLETED, ended.state.error
    assert ended.state.output["priority"] == "low"
    assert ended.steps == {"sort": "completed", "urgent": "completed"}
    assert smtp.messages == []


@pytest.mark.parametrize(("plan", "tier"), [("pro", "gold"), ("basic", "silver")])
async def test_onboarding_sets_up_three_systems(
    skipping: Runner, httpserver: HTTPServer, smtp: Mailbox, plan: str, tier: str
) -> None:
    def created(request: Request) -> Response:
        body = json.dumps({"id": f"{request.path[1:]}-1"})
        return Response(body, status=201, content_type="application/json")

    for system in ("billing", "storage", "directory"):
        httpserver.expect_request(f"/{system}", method="POST").respond_with_handler(created)
    given = {"email": EMPLOYEE, "plan": plan, "api": httpserver.url_for("").rstrip("/")}
    ended = await run(skipping, "onboarding", given)
    assert ended.state.status is RunStatus.COMPLETED, ended.state.error
    systems = {"billing": "billing-1", "storage": "storage-1", "directory": "directory-1"}
    assert ended.state.output == {"systems": systems, "tier": tier}
    assert set(ended.steps.values()) == {"completed"}
    assert f"tier_{plan}" in ended.steps
    sent = {request.path: request.get_json() for request, _ in httpserver.log}
    assert sent == {
        "/billing": {"email": EMPLOYEE, "tier": tier},
        "/storage": {"owner": EMPLOYEE},
        "/directory": {"mail": EMPLOYEE},
    }
    settle = ended.state.steps["settle"]
    assert settle.started_at is not None
    assert settle.finished_at is not None
    assert settle.finished_at - settle.started_at >= timedelta(minutes=5)
    (mail,) = smtp.messages
    assert (mail.recipients, mail.subject) == ([EMPLOYEE], "Your workspace is ready")
    assert mail.text.strip() == "Account billing-1, storage storage-1."


def expense(amount: float) -> dict[str, Any]:
    """Give the input of an expense."""
    return {"employee": EMPLOYEE, "manager": MANAGER, "amount": amount}


@pytest.mark.parametrize("approved", [True, False])
async def test_an_expense_is_decided_by_a_person(
    skipping: Runner, smtp: Mailbox, approved: bool
) -> None:
    start = skipping.start_of(text_of("expense-approval"), expense(120))
    handle = await skipping.start(start)
    state = await begun(handle)
    assert state.status is RunStatus.WAITING
    asked = (await smtp.wait_for(1, to=MANAGER, deadline=60))[0]
    assert asked.subject == f"Please decide: 120 for {EMPLOYEE}"
    assert start.run_id in asked.text
    await handle.signal("decision", {"approved": approved, "by": "Grace"})
    ended = await skipping.end(handle)
    assert ended.state.status is RunStatus.COMPLETED, ended.state.error
    assert ended.state.output == {"approved": approved, "by": "Grace"}
    (told,) = smtp.to(EMPLOYEE)
    words = "approved" if approved else "not approved"
    assert told.subject == f"Your expense was {words}"
    assert told.text.strip() == "Decided by Grace."


async def test_an_expense_nobody_decides_is_not_approved_after_two_days(
    skipping: Runner, smtp: Mailbox
) -> None:
    ended = await run(skipping, "expense-approval", expense(120))
    assert ended.state.status is RunStatus.COMPLETED, ended.state.error
    assert ended.state.output == {"approved": False, "by": "nobody"}
    decision = ended.state.steps["decision"]
    assert decision.started_at is not None
    assert decision.finished_at is not None
    assert decision.finished_at - decision.started_at >= timedelta(days=2)
    assert [mail.subject for mail in smtp.to(EMPLOYEE)] == ["Your expense was not approved"]
    assert len(smtp.messages) == 2


async def test_a_small_expense_passes_by_itself(skipping: Runner, smtp: Mailbox) -> None:
    ended = await run(skipping, "expense-approval", expense(50))
    assert ended.state.status is RunStatus.COMPLETED, ended.state.error
    assert ended.state.output == {"approved": True, "by": "rule"}
    assert ended.steps["automatic"] == "completed"
    assert "ask" not in ended.steps
    assert smtp.messages == []
