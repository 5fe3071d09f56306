"""Leads, their events, and stored templates."""

import pytest
from httpx2 import AsyncClient

from db import leads
from db.engine import Database
from tests.integration.api.conftest import a_name, assert_problem


@pytest.fixture
async def lead(database: Database) -> leads.Lead:
    """A lead of the test's own."""
    async with database.session() as session:
        return await leads.upsert(session, "default", f"{a_name()}@example.com", fields={"a": 1})


async def test_find_and_change(api: AsyncClient, lead: leads.Lead) -> None:
    found = (await api.get("/api/v1/leads", params={"email": lead.email.upper()})).json()["items"]
    assert [each["id"] for each in found] == [lead.id]
    at = f"/api/v1/leads/{lead.id}"
    body = {"name": "Ada", "status": "won", "fields": {"b": None}}
    changed = (await api.patch(at, json=body)).json()
    assert changed == (await api.get(at)).json()
    assert (changed["name"], changed["status"]) == ("Ada", "won")
    assert changed["fields"] == {"a": 1, "b": None}
    events = (await api.get(f"{at}/events")).json()["items"]
    assert [(event["kind"], event["data"]) for event in events] == [
        ("status_changed", {"from": "new", "to": "won"})
    ]


async def test_reply_and_booking(api: AsyncClient, lead: leads.Lead) -> None:
    at = f"/api/v1/leads/{lead.id}"
    body = {"kind": "replied", "at": "2026-01-31T12:00:00Z", "key": "mail-1", "data": {"x": 1}}
    answer = await api.post(f"{at}/events", json=body)
    assert (answer.status_code, answer.json()) == (201, {"recorded": True})
    answer = await api.post(f"{at}/events", json=body)
    assert (answer.status_code, answer.json()) == (200, {"recorded": False})
    assert (await api.post(f"{at}/events", json={"kind": "booked"})).status_code == 201
    assert (await api.get(at)).json()["last_replied_at"] == "2026-01-31T12:00:00Z"
    events = (await api.get(f"{at}/events")).json()["items"]
    assert [event["kind"] for event in events] == ["booked", "replied"]


async def test_what_is_refused(api: AsyncClient, lead: leads.Lead) -> None:
    at = f"/api/v1/leads/{lead.id}"
    for body in ({"kind": "odd"}, {}, {"kind": "booked", "at": "2026-01-31T12:00:00"}):
        assert_problem(await api.post(f"{at}/events", json=body), 422, "INVALID_INPUT")
    for body in ({"email": "x@example.com"}, {"status": ""}, {"fields": 3}):
        assert_problem(await api.patch(at, json=body), 422, "INVALID_INPUT")
    for method, path in (("GET", ""), ("PATCH", ""), ("GET", "/events")):
        answer = await api.request(method, f"/api/v1/leads/none{path}", json={})
        assert_problem(answer, 404, "NOT_FOUND")
    answer = await api.post("/api/v1/leads/none/events", json={"kind": "booked"})
    assert_problem(answer, 404, "NOT_FOUND")


async def test_templates_are_kept(api: AsyncClient) -> None:
    name = a_name("mail")
    at = f"/api/v1/templates/{name}"
    body = {"subject": "Hello {{ name }}", "text": "Hi {{ name }}", "html": "<p>{{ name }}</p>"}
    assert (await api.put(at, json=body)).status_code == 200
    stored = (await api.get(at)).json()
    assert {key: stored[key] for key in body} == body
    assert (await api.put(at, json={"subject": "Bye", "text": "T"})).json()["html"] is None
    assert name in [each["name"] for each in (await api.get("/api/v1/templates")).json()["items"]]
    assert (await api.delete(at)).status_code == 204
    assert_problem(await api.get(at), 404, "NOT_FOUND")
    assert_problem(await api.delete(at), 404, "NOT_FOUND")


async def test_liquid_faults_name_the_part(api: AsyncClient) -> None:
    body = {"subject": "{% if %}", "text": "{{ x | nonsense }}", "html": "{% include 'x' %}"}
    answer = await api.put(f"/api/v1/templates/{a_name()}", json=body)
    problems = assert_problem(answer, 422, "INVALID_INPUT")["problems"]
    assert {problem["path"] for problem in problems} == {"subject", "text", "html"}
