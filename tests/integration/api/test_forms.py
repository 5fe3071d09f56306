"""Forms and their public submissions."""

from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient
from temporalio.worker import Worker

from tests.integration.api.conftest import Publish, a_name, assert_problem

FIELDS = {
    "type": "object",
    "required": ["mail"],
    "additionalProperties": False,
    "properties": {
        "mail": {"type": "string", "format": "email"},
        "who": {"type": "string"},
        "n": {"type": "integer"},
    },
}
TRACKED = """
name: {name}
input:
  type: object
  properties: {{tracking: {{type: object}}}}
output: "{{{{ input }}}}"
steps:
  - {{id: end, type: stop}}
"""
CLOSED = TRACKED.replace("properties: {{tracking: {{type: object}}}}", "properties: {{}}")


@pytest.fixture
async def visitor(app: FastAPI):
    """A client without a key."""
    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://testserver") as made:
        yield made


async def a_form(api: AsyncClient, definition: str, **more: Any) -> str:
    """Store a form; gives its name."""
    name = a_name("form")
    body = {
        "definition": definition,
        "fields": FIELDS,
        "mapping": {"email": "mail", "name": "who"},
        **more,
    }
    answer = await api.put(f"/api/v1/forms/{name}", json=body)
    assert answer.status_code == 200, answer.text
    return name


async def test_a_submission_makes_lead_event_and_run(
    api: AsyncClient, visitor: AsyncClient, publish: Publish, worker: Worker
) -> None:
    name = await publish(TRACKED)
    form = await a_form(api, name)
    fields = {"mail": f"{name}@example.com", "who": " Ada ", "n": 3}
    body = {"fields": fields, "tracking": {"utm_source": "news"}}
    answer = await visitor.post(f"/api/v1/forms/{form}/submissions", json=body)
    assert answer.status_code == 201, answer.text
    lead = (await api.get(f"/api/v1/leads/{answer.json()['lead_id']}")).json()
    assert (lead["name"], lead["fields"]) == ("Ada", {"n": 3})
    events = (await api.get(f"/api/v1/leads/{lead['id']}/events")).json()["items"]
    assert [event["kind"] for event in events] == ["submitted"]
    assert events[0]["data"] == {"form": form, "fields": fields, "tracking": body["tracking"]}
    run = (await api.get(f"/api/v1/runs/{answer.json()['run_id']}")).json()
    assert (run["definition"], run["lead_id"]) == (name, lead["id"])
    assert run["input"] == {**fields, "tracking": body["tracking"]}
    again = await visitor.post(f"/api/v1/forms/{form}/submissions", json=body)
    assert again.json()["lead_id"] == lead["id"]
    assert again.json()["run_id"] != run["id"]


async def test_tracking_only_where_the_definition_has_it(
    api: AsyncClient, visitor: AsyncClient, publish: Publish, worker: Worker
) -> None:
    name = await publish(CLOSED)
    form = await a_form(api, name)
    fields = {"mail": f"{name}@example.com"}
    answer = await visitor.post(
        f"/api/v1/forms/{form}/submissions", json={"fields": fields, "tracking": {"a": 1}}
    )
    run = (await api.get(f"/api/v1/runs/{answer.json()['run_id']}")).json()
    assert run["input"] == fields


async def test_a_key_submits_once(
    api: AsyncClient, visitor: AsyncClient, publish: Publish, worker: Worker
) -> None:
    name = await publish(TRACKED)
    form = await a_form(api, name)
    body = {"fields": {"mail": f"{name}@example.com"}}
    at = f"/api/v1/forms/{form}/submissions"
    answers = [
        await visitor.post(at, json=body, headers={"Idempotency-Key": name}) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[0].json() == answers[1].json()
    events = f"/api/v1/leads/{answers[0].json()['lead_id']}/events"
    assert len((await api.get(events)).json()["items"]) == 1


@pytest.mark.parametrize(
    "fields", [{}, {"mail": "nobody"}, {"mail": "a@example.com", "extra": 1}, {"mail": 3}]
)
async def test_wrong_fields(
    api: AsyncClient, visitor: AsyncClient, publish: Publish, fields: dict[str, Any]
) -> None:
    form = await a_form(api, await publish())
    answer = await visitor.post(f"/api/v1/forms/{form}/submissions", json={"fields": fields})
    assert assert_problem(answer, 422, "INVALID_INPUT")["problems"]


async def test_a_form_whose_schema_lets_bad_addresses_through(
    api: AsyncClient, visitor: AsyncClient, publish: Publish
) -> None:
    form = await a_form(api, await publish(), fields={"type": "object"})
    for fields in ({}, {"mail": "nobody"}, {"mail": ["a@example.com"]}):
        answer = await visitor.post(f"/api/v1/forms/{form}/submissions", json={"fields": fields})
        assert assert_problem(answer, 422, "INVALID_INPUT")["problems"][0]["path"] == "mail"


async def test_forms_are_kept(api: AsyncClient, visitor: AsyncClient, publish: Publish) -> None:
    definition = await publish()
    form = await a_form(api, definition, title="Talk to us")
    stored = (await api.get(f"/api/v1/forms/{form}")).json()
    assert stored["mapping"] == {"email": "mail", "name": "who", "company": "company"}
    assert list(stored["fields"]["properties"]) == ["mail", "who", "n"]
    assert form in [each["name"] for each in (await api.get("/api/v1/forms")).json()["items"]]
    assert_problem(await visitor.get(f"/api/v1/forms/{form}"), 401, "UNAUTHORIZED")
    assert (await api.delete(f"/api/v1/forms/{form}")).status_code == 204
    assert_problem(await api.get(f"/api/v1/forms/{form}"), 404, "NOT_FOUND")
    assert_problem(await api.delete(f"/api/v1/forms/{form}"), 404, "NOT_FOUND")


async def test_forms_that_are_refused(api: AsyncClient, publish: Publish) -> None:
    at = f"/api/v1/forms/{a_name()}"
    answer = await api.put(at, json={"definition": "nowhere", "fields": FIELDS})
    assert_problem(answer, 404, "DEFINITION_NOT_FOUND")
    name = await publish()
    for fields in ({"type": "odd"}, {"$ref": "file:///etc/passwd"}, {"pattern": "("}):
        answer = await api.put(at, json={"definition": name, "fields": fields})
        assert_problem(answer, 422, "INVALID_INPUT")
