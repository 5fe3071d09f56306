"""GET /audit, and which operations leave an entry."""

from typing import Any

from fastapi.routing import iter_route_contexts
from httpx2 import AsyncClient

from api.auditing import UNAUDITED
from api.dependencies import get_session
from api.routes import api_router, process_router
from db import audit
from db.engine import Database
from tests.integration.api.conftest import Publish, a_name, assert_problem, start

# Operations that write entries themselves, in transactions of their own; each is seen to do so by
# the hook of the tests' client (tests/kit/auditing.py).
OWN = {
    "abort_step",
    "answer_approval",
    "cancel_run",
    "create_workspace",
    "delete_workspace",
    "mark_send_sent",
    "migrate_run",
    "migrate_version",
    "order_bulk",
    "patch_vars",
    "pause_run",
    "prune_rows",
    "redrive_dead_letter",
    "redrive_dead_letters",
    "replay_delivery",
    "resend_send",
    "resume_run",
    "retry_step",
    "rewind_run",
    "signal_run",
    "sign_in_to_codec",
    "skip_step",
    "start_run",
    "terminate_run",
    "test_connection",
    "unblock_run",
    "update_workspace",
}


def calls(dependant: Any) -> set[Any]:
    """What a route depends on, at any depth."""
    found = {dependant.call}
    return found.union(*(calls(each) for each in dependant.dependencies))


def test_every_change_leaves_an_entry_or_says_why_not() -> None:
    changing = {}
    for each in iter_route_contexts([*api_router.routes, *process_router.routes]):
        dependant = getattr(each.route, "dependant", None)
        if dependant is not None and not (each.methods or set()) <= {"GET", "HEAD"}:
            changing[each.name] = get_session in calls(dependant)
    by_session = {name for name, session in changing.items() if session}
    without = changing.keys() - by_session - OWN - UNAUDITED.keys()
    assert without == set(), "give them SessionDep, an entry of their own, or a reason"
    assert changing.keys() >= OWN | UNAUDITED.keys()
    assert all(UNAUDITED.values())


async def test_entries_say_who_did_what_in_which_request(
    api: AsyncClient, publish: Publish
) -> None:
    name = await publish()
    run_id = await start(api, name)
    (entry,) = (await api.get("/api/v1/audit", params={"target": run_id})).json()["items"]
    assert (entry["actor"], entry["action"]) == ("key:bootstrap", "run.start")
    assert entry["request_id"]
    assert entry["ip"]
    assert entry["seq"] > 0
    form = a_name("form")
    body = {"definition": name, "fields": {"type": "object", "properties": {}}}
    made = await api.put(f"/api/v1/forms/{form}", json=body)
    assert made.is_success, made.text
    (entry,) = (await api.get("/api/v1/audit", params={"target": form})).json()["items"]
    assert entry["action"] == "put_form"
    assert entry["request_id"] == made.headers["x-request-id"]


async def test_a_refused_change_leaves_no_entry(api: AsyncClient) -> None:
    refused = await api.delete("/api/v1/forms/no-such-form")
    assert_problem(refused, 404, "NOT_FOUND")
    found = await api.get("/api/v1/audit", params={"target": "no-such-form"})
    assert found.json()["items"] == []


async def test_filters_and_pages(api: AsyncClient, database: Database) -> None:
    actor = a_name("key:")
    for number in range(5):
        async with database.session() as session:
            audit.add(
                session,
                "default",
                actor=actor,
                action=f"lamp.{'on' if number % 2 else 'off'}",
                subject=str(number),
                before={"n": number},
                after={"n": number + 1},
            )
    seen, cursor = [], None
    while True:
        params = {"actor": actor, "action": "lamp.", "limit": 2}
        page = await api.get(
            "/api/v1/audit", params=params | ({"cursor": cursor} if cursor else {})
        )
        seen += page.json()["items"]
        cursor = page.json()["next_cursor"]
        if cursor is None:
            break
    assert [entry["target"] for entry in seen] == ["4", "3", "2", "1", "0"]
    assert seen[1]["after_hash"] == audit.hash_of({"n": 4})
    assert seen[0]["before_hash"] == seen[1]["after_hash"]
    on = await api.get("/api/v1/audit", params={"actor": actor, "action": "lamp.on"})
    assert len(on.json()["items"]) == 2
    times = {"actor": actor, "from": seen[3]["at"], "to": seen[1]["at"]}
    between = await api.get("/api/v1/audit", params=times)
    assert [entry["target"] for entry in between.json()["items"]] == ["2", "1"]
    assert_problem(
        await api.get("/api/v1/audit", params={"from": "yesterday"}), 422, "INVALID_INPUT"
    )


async def test_another_workspaces_entries_are_not_there(
    api: AsyncClient, database: Database
) -> None:
    actor = a_name("key:")
    async with database.session() as session:
        audit.add(session, "somebody-else", actor=actor, action="a", subject="b")
    assert (await api.get("/api/v1/audit", params={"actor": actor})).json()["items"] == []
