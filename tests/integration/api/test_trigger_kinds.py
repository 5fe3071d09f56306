"""Triggers of people's, programs' and forms' starts: switches, and what the list shows."""

from typing import Any

from httpx2 import AsyncClient
from temporalio.worker import Worker

from tests.integration.api.conftest import Publish, a_name, assert_problem

MANUAL = {"X-Sojourn-Start": "manual"}
SIMPLE = """
name: {name}
input: {{type: object, properties: {{email: {{type: string}}, n: {{type: integer}}}}}}
steps: [{{id: s, type: set, vars: {{x: 1}}}}]
"""


async def test_switches_of_programs_and_people(
    api: AsyncClient, publish: Publish, worker: Worker
) -> None:
    name = await publish(SIMPLE)
    triggers, runs = f"/api/v1/definitions/{name}/triggers", f"/api/v1/definitions/{name}/runs"
    assert (await api.post(runs, json={})).status_code == 201
    made = {}
    for kind in ("api", "manual"):
        answer = await api.post(triggers, json={"kind": kind})
        assert answer.status_code == 201, answer.text
        made[kind] = answer.headers["location"]
        assert_problem(await api.post(triggers, json={"kind": kind}), 409, "CONFLICT")
    await api.post(f"{made['api']}/disable")
    refused = assert_problem(await api.post(runs, json={}), 409, "CONFLICT")
    assert refused["hint"] == f"POST {made['api']}/enable"
    assert (await api.post(runs, json={}, headers=MANUAL)).status_code == 201
    shown = {kind: (await api.get(made[kind])).json() for kind in made}
    assert shown["api"]["last_fired_at"] is None
    assert shown["manual"]["last_fired_at"]
    assert shown["manual"]["next_due_at"] is None
    await api.post(f"{made['manual']}/disable")
    assert_problem(await api.post(runs, json={}, headers=MANUAL), 409, "CONFLICT")
    await api.post(f"{made['api']}/enable")
    assert (await api.post(runs, json={})).status_code == 201
    # What was refused has left nothing behind, not even its key.
    key = {"Idempotency-Key": a_name()}
    assert_problem(await api.post(runs, json={}, headers={**MANUAL, **key}), 409, "CONFLICT")
    assert (await api.delete(made["manual"])).status_code == 204
    assert (await api.post(runs, json={}, headers={**MANUAL, **key})).status_code == 201
    other = {"kind": "manual", "enabled": True}
    assert_problem(await api.put(made["api"], json=other), 409, "CONFLICT")


async def test_a_form_is_a_trigger(api: AsyncClient, publish: Publish, worker: Worker) -> None:
    first, second = await publish(SIMPLE), await publish(SIMPLE)
    form = a_name("form")
    fields = {"type": "object", "properties": {"email": {"type": "string"}}}
    body: dict[str, Any] = {"definition": first, "fields": fields}
    assert (await api.put(f"/api/v1/forms/{form}", json=body)).status_code == 200

    async def listed(name: str) -> list[dict[str, Any]]:
        return (await api.get(f"/api/v1/definitions/{name}/triggers")).json()["items"]

    async def submit() -> int:
        given = {"fields": {"email": "a@example.com"}}
        answer = await api.post(f"/api/v1/forms/{form}/submissions", json=given)
        if answer.status_code == 409:
            assert "disabled" in assert_problem(answer, 409, "CONFLICT")["detail"]
        return answer.status_code

    (shown,) = await listed(first)
    assert (shown["kind"], shown["form"], shown["last_fired_at"]) == ("form", form, None)
    address = f"/api/v1/definitions/{first}/triggers/{shown['id']}"
    assert await submit() == 201
    assert (await listed(first))[0]["last_fired_at"]
    await api.post(f"{address}/disable")
    assert await submit() == 409
    # Saving the form again does not enable it.
    await api.put(f"/api/v1/forms/{form}", json=body)
    assert await submit() == 409
    await api.post(f"{address}/enable")
    assert await submit() == 201
    assert_problem(await api.delete(address), 409, "CONFLICT")
    again = {"kind": "form", "form": form}
    answer = await api.post(f"/api/v1/definitions/{first}/triggers", json=again)
    assert_problem(answer, 409, "CONFLICT")
    answer = await api.post(f"/api/v1/definitions/{second}/triggers", json=again)
    assert_problem(answer, 422, "INVALID_INPUT")
    await api.put(f"/api/v1/forms/{form}", json={**body, "definition": second})
    assert await listed(first) == []
    assert [one["form"] for one in await listed(second)] == [form]
    await api.delete(f"/api/v1/forms/{form}")
    assert await listed(second) == []
