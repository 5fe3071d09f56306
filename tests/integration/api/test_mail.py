"""Who gets no mail: the list over the API, and one click in a mail; versions of templates."""

from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from httpx2 import ASGITransport, AsyncClient
from sqlmodel import col, select

from db import audit, leads, mail_messages, suppressions
from db.ids import new_id
from db.mail_messages import NewMail
from tests.integration.api.conftest import assert_problem

if TYPE_CHECKING:
    from fastapi import FastAPI

    from db.engine import Database

ONE_CLICK = b"List-Unsubscribe=One-Click"
FORM = {"content-type": "application/x-www-form-urlencoded"}


def an_address() -> str:
    return f"ada-{uuid4().hex[:12]}@example.com"


async def a_mail(database: "Database", to: str, lead: leads.Lead | None = None) -> str:
    """Store a mail; gives its tracking id."""
    key = new_id()
    async with database.session() as session:
        row = await mail_messages.open_message(
            session,
            "default",
            NewMail(
                step_key=f"{key}:send",
                run_id=key,
                definition="test",
                step_path="send",
                to_address=to,
                message_id=f"<{key}@example.com>",
                lead_id=lead.id if lead else None,
            ),
        )
    return row.tracking_id


async def test_the_list(api: AsyncClient, database: "Database") -> None:
    address = an_address()
    where = f"/api/v1/suppressions/{quote(address.upper())}"
    assert_problem(await api.get(where), 404, "NOT_FOUND")
    made = await api.put(where, json={"reason": "complaint", "source": "ticket 12"})
    assert made.status_code == 201
    body = made.json()
    assert (body["address"], body["reason"], body["source"]) == (address, "complaint", "ticket 12")
    again = await api.put(where, json={})
    assert again.status_code == 200
    assert again.json() == body == (await api.get(where)).json()
    page = (await api.get("/api/v1/suppressions", params={"reason": "complaint"})).json()
    assert body in page["items"]
    none = (await api.get("/api/v1/suppressions", params={"reason": "bounce", "limit": 200})).json()
    assert body not in none["items"]
    assert (await api.delete(where)).status_code == 204
    assert_problem(await api.delete(where), 404, "NOT_FOUND")
    async with database.session() as session:
        statement = (
            select(audit.AuditEntry)
            .where(col(audit.AuditEntry.action).startswith("suppression."))
            .order_by(col(audit.AuditEntry.seq))
        )
        entries = (await session.exec(statement)).all()
    assert [entry.action for entry in entries][-2:] == ["suppression.add", "suppression.remove"]
    assert address not in str([entry.model_dump() for entry in entries])


@pytest.mark.parametrize("wrong", ["no-address", "a@b@c", "x y@example.com"])
async def test_what_is_no_address(api: AsyncClient, wrong: str) -> None:
    answer = await api.put(f"/api/v1/suppressions/{quote(wrong)}", json={})
    assert_problem(answer, 422, "INVALID_INPUT")


async def test_pages(api: AsyncClient) -> None:
    wanted = [an_address() for _ in range(3)]
    for address in wanted:
        await api.put(f"/api/v1/suppressions/{address}", json={"source": "pages"})
    found: list[str] = []
    cursor: str | None = None
    while len(found) < 3:
        page = (
            await api.get(
                "/api/v1/suppressions", params={"limit": 1} | ({"cursor": cursor} if cursor else {})
            )
        ).json()
        found += [item["address"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert found == wanted[::-1]


async def test_one_click(app: "FastAPI", database: "Database") -> None:
    address = an_address()
    async with database.session() as session:
        lead = await leads.upsert(session, "default", address)
    tracking_id = await a_mail(database, address, lead)
    where = f"/u/{tracking_id}"
    async with AsyncClient(
        transport=ASGITransport(app=app), base_url="http://testserver"
    ) as visitor:
        shown = await visitor.get(where)
        assert shown.status_code == 200
        assert shown.headers["content-type"] == "text/html; charset=utf-8"
        assert '<form method="post">' in shown.text
        async with database.session() as session:
            assert await suppressions.among(session, "default", [address]) == set()
        answers = [await visitor.post(where, headers=FORM, content=ONE_CLICK) for _ in range(2)]
        unknown = await visitor.post("/u/never-was-one", headers=FORM, content=ONE_CLICK)
        odd = await visitor.post("/u/" + quote("é ü/"[:3]))
        assert {one.status_code for one in [*answers, unknown, odd]} == {200}
        assert {one.text for one in [*answers, unknown, odd]} == {answers[0].text}
        assert (await visitor.get("/u/never-was-one")).text == shown.text
        assert "set-cookie" not in answers[0].headers
        assert answers[0].headers["cache-control"] == "no-store"
    async with database.session() as session:
        entry = await suppressions.get(session, "default", address)
        events = (await leads.events(session, "default", lead.id)).items
        row = await mail_messages.by_tracking_id(session, tracking_id)
    assert entry.reason == "unsubscribe"
    assert [event.kind for event in events] == ["unsubscribed"]
    assert row is not None
    assert row.unsubscribed_at is not None


async def test_a_click_finds_the_lead_that_the_address_has(
    api: AsyncClient, database: "Database"
) -> None:
    address = an_address()
    tracking_id = await a_mail(database, address)
    async with database.session() as session:
        lead = await leads.upsert(session, "default", address)
    assert (await api.post(f"/u/{tracking_id}")).status_code == 200
    async with database.session() as session:
        assert await leads.has_event(session, "default", lead.id, leads.LeadEventKind.UNSUBSCRIBED)


async def put(api: AsyncClient, name: str, **changes: Any) -> dict[str, Any]:
    body = {"subject": "One", "text": "Hi {{ name }}", **changes}
    answer = await api.put(f"/api/v1/templates/{name}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_versions_of_a_template(api: AsyncClient) -> None:
    name = f"t-{uuid4().hex[:8]}"
    where = f"/api/v1/templates/{name}"
    assert (await put(api, name))["version"] == 1
    same = await put(api, name)
    assert same["version"] == 1
    assert (await put(api, name, subject="Two", html="<p>x</p>"))["version"] == 2
    listed = (await api.get(f"{where}/versions")).json()["items"]
    assert [(one["version"], one["subject"]) for one in listed] == [(2, "Two"), (1, "One")]
    first = (await api.get(f"{where}/versions/1")).json()
    assert (first["subject"], first["html"]) == ("One", None)
    restored = (await api.post(f"{where}/versions/1/restore")).json()
    assert (restored["version"], restored["subject"], restored["html"]) == (3, "One", None)
    assert (await api.get(where)).json() == restored
    assert_problem(await api.get(f"{where}/versions/9"), 404, "NOT_FOUND")
    assert_problem(await api.post(f"{where}/versions/9/restore"), 404, "NOT_FOUND")
    assert (await api.delete(where)).status_code == 204
    assert_problem(await api.get(f"{where}/versions"), 404, "NOT_FOUND")
    assert (await put(api, name))["version"] == 1


async def test_a_preview(api: AsyncClient, database: "Database") -> None:
    name = f"t-{uuid4().hex[:8]}"
    await put(
        api,
        name,
        subject="Hi {{ lead.name | default: name }}",
        text="{{ unsubscribe_url }}",
        html="<style>p{color:red}</style><p>{{ name }}</p>",
    )
    where = f"/api/v1/templates/{name}/preview"
    shown = (await api.post(where, json={"data": {"name": "<Bob>"}})).json()
    assert shown["subject"] == "Hi <Bob>"
    assert shown["text"] == "http://testserver/u/preview"
    assert "&lt;Bob&gt;" in shown["html"]
    assert 'style="color: red;"' in shown["html"]
    async with database.session() as session:
        lead = await leads.upsert(session, "default", an_address(), name="Ada")
    shown = (await api.post(where, json={"data": {"name": "x"}, "lead": lead.id})).json()
    assert shown["subject"] == "Hi Ada"
    problem = assert_problem(await api.post(where, json={}), 422, "EXPRESSION_ERROR")
    assert problem["problems"][0]["path"] in ("subject", "html")
    assert_problem(await api.post(where, json={"lead": "nobody"}), 404, "NOT_FOUND")
    await put(api, name, subject="New", text="New")
    old = await api.post(where, json={"version": 1, "data": {"name": "x"}})
    assert old.json()["subject"] == "Hi x"
    assert (await api.post(where, json={})).json() == {
        "subject": "New",
        "text": "New",
        "html": None,
    }


async def test_a_preview_keeps_the_limits(api: AsyncClient) -> None:
    name = f"t-{uuid4().hex[:8]}"
    await put(
        api, name, text="{% for a in (1..9999) %}{% for b in (1..9999) %}x{% endfor %}{% endfor %}"
    )
    answer = await api.post(f"/api/v1/templates/{name}/preview", json={})
    assert_problem(answer, 422, "EXPRESSION_ERROR")
