"""POST /hooks/{token}: senders of each kind on real servers, and what is kept of deliveries."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from httpx2 import AsyncClient, Response
from temporalio.worker import Worker

from db import secrets
from db.base import now
from db.engine import Database
from schemas.keyring import KeyRing
from tests.integration.api.conftest import Publish, a_name, assert_problem, until_status
from tests.kit.signing import PRESETS, Preset, Sent

DELIVERIES = "/api/v1/webhook-deliveries"
ECHO = """
name: {name}
input:
  type: object
  required: [order]
  additionalProperties: false
  properties: {{order: {{type: string}}, from: {{type: string}}}}
output: "{{{{ input }}}}"
steps: [{{id: s, type: set, vars: {{x: 1}}}}]
"""


@dataclass
class Hook:
    """A webhook trigger and its sender."""

    api: AsyncClient
    address: str
    token: str
    preset: Preset

    async def post(self, sent: Sent, query: str = "") -> Response:
        """Deliver as the sender would: without the API's key."""
        request = self.api.build_request(
            "POST", f"/api/v1/hooks/{self.token}{query}", content=sent.body, headers=sent.headers
        )
        del request.headers["authorization"]
        return await self.api.send(request)

    async def send(self, identity: str, **data: Any) -> Response:
        """Deliver rightly signed data."""
        return await self.post(self.preset.deliver(identity, data, now()))

    async def view(self) -> dict[str, Any]:
        """The trigger as the API shows it."""
        return (await self.api.get(self.address)).json()


MakeHook = Callable[..., Awaitable[Hook]]


@pytest.fixture
def hook(api: AsyncClient, publish: Publish, database: Database, keyring: KeyRing) -> MakeHook:
    """Call it for a webhook of a new definition."""

    async def make(name: str = "github", **more: Any) -> Hook:
        preset = PRESETS[name]
        secret = f"hook_{a_name('x').replace('-', '_')}"
        async with database.session() as session:
            await secrets.put(session, "default", secret, preset.secret, keyring)
        definition = await publish(ECHO)
        body = {
            "kind": "webhook",
            "verify": {**preset.verify, "secrets": [secret]},
            "input": {"order": "{{ body.order }}"},
            **more,
        }
        made = await api.post(f"/api/v1/definitions/{definition}/triggers", json=body)
        assert made.status_code == 201, made.text
        trigger = made.json()
        assert trigger["url"].endswith(f"/api/v1/hooks/{trigger['token']}")
        return Hook(api, made.headers["location"], trigger["token"], preset)

    return make


@pytest.mark.parametrize("name", PRESETS)
async def test_a_delivery_starts_a_run_once(
    api: AsyncClient, hook: MakeHook, worker: Worker, name: str
) -> None:
    it = await hook(name)
    sent = it.preset.deliver("d-1", {"order": "o-1"}, now())
    first = await it.post(sent)
    assert first.status_code == 202, first.text
    answer = first.json()
    assert answer["status"] == "accepted"
    run = await until_status(api, answer["run_id"], "completed")
    assert run["output"] == {"order": "o-1"}
    again = await it.post(sent)
    assert again.status_code == 200
    assert again.json() == {**answer, "duplicate": True}
    other = await it.send("d-2", order="o-2")
    assert other.json()["run_id"] != answer["run_id"]
    view = await it.view()
    assert view["last_fired_at"]
    assert view["last_error"] is None
    assert view["token"] is None
    assert view["url"] is None


@pytest.mark.parametrize("name", PRESETS)
async def test_bad_signatures_are_counted_and_not_kept(
    api: AsyncClient, hook: MakeHook, name: str
) -> None:
    it = await hook(name)
    good = it.preset.deliver("d-1", {"order": "o-1"}, now())
    bad = [Sent(good.headers, good.body + b" "), Sent({}, good.body)]
    if it.preset.timed:
        bad.append(it.preset.deliver("d-2", {"order": "o"}, now() - timedelta(minutes=6)))
    for sent in bad:
        assert_problem(await it.post(sent), 401, "UNAUTHORIZED")
    view = await it.view()
    assert view["rejected"] == len(bad)
    assert view["last_rejected_at"]
    assert view["last_rejection"]
    page = (await api.get(DELIVERIES, params={"trigger": view["id"]})).json()
    assert page["items"] == []


@pytest.mark.parametrize("name", ["github", "bare"])
async def test_an_id_that_nobody_signed_cannot_be_lost_to_count_twice(
    hook: MakeHook, name: str
) -> None:
    it = await hook(name)
    whole = it.preset.deliver("d-1", {"order": "o-1"}, now())
    stripped = {key: value for key, value in whole.headers.items() if key != it.preset.id_header}
    runs = [(await it.post(whole)).json()["run_id"]]
    runs += [(await it.post(Sent(stripped, whole.body))).json()["run_id"]]
    bare = it.preset.deliver("d-2", {"order": "o-2"}, now())
    headers = {key: value for key, value in bare.headers.items() if key != it.preset.id_header}
    others = [(await it.post(Sent(headers, bare.body))).json()["run_id"]]
    others += [(await it.post(bare)).json()["run_id"]]
    assert len(set(runs)) == 1
    assert len(set(others)) == 1
    assert runs != others


async def test_the_same_content_under_other_ids(hook: MakeHook) -> None:
    for dedupe, wanted in (("auto", 2), ("content", 1), ("id", 2)):
        it = await hook("github", dedupe=dedupe)
        runs = {(await it.send(f"d-{n}", order="same")).json()["run_id"] for n in range(2)}
        assert len(runs) == wanted, dedupe


async def test_filter_mapping_and_replay(api: AsyncClient, hook: MakeHook, worker: Worker) -> None:
    it = await hook(
        "stripe",
        where="body.kind == 'paid'",
        headers=["X-Shop"],
        input={"order": "{{ body.order }}", "from": "{{ headers['x-shop'] + query.place }}"},
    )
    ignored = await it.send("e-1", kind="seen", order="o")
    assert ignored.status_code == 200
    assert ignored.json()["status"] == "ignored"
    sent = it.preset.deliver("e-2", {"kind": "paid", "order": "o-2"}, now())
    sent = Sent({**sent.headers, "X-Shop": "Bonn", "Authorization-Not": "x"}, sent.body)
    taken = (await it.post(sent, "?place=-west")).json()
    run = await until_status(api, taken["run_id"], "completed")
    assert run["output"] == {"order": "o-2", "from": "Bonn-west"}
    failed = await it.post(it.preset.deliver("e-3", {"kind": "paid", "order": 3}, now()))
    assert failed.status_code == 202
    assert failed.json()["status"] == "failed"
    view = await it.view()
    assert "EXPRESSION_ERROR" in view["last_error"]

    items = (await api.get(DELIVERIES, params={"trigger": view["id"]})).json()["items"]
    assert [item["status"] for item in items] == ["failed", "accepted", "ignored"]
    assert [item["sender_id"] for item in items] == ["e-3", "e-2", "e-1"]
    some = {"trigger": view["id"], "status": "failed", "to": now().isoformat()}
    (item,) = (await api.get(DELIVERIES, params=some)).json()["items"]
    kept = (await api.get(f"{DELIVERIES}/{items[1]['id']}")).json()
    assert kept["text"] == sent.body.decode()
    assert set(kept["headers"]) == {"content-type", "user-agent", "x-shop"}
    assert kept["query"] == "place=-west"
    # Replayed as the trigger is now.
    answer = await api.post(f"{DELIVERIES}/{item['id']}/replay")
    assert_problem(answer, 422, "EXPRESSION_ERROR")
    changed = {name: view[name] for name in ("kind", "verify", "enabled")}
    changed["input"] = {"order": "{{ string(body.order) }}"}
    put = await api.put(it.address, json=changed)
    assert put.status_code == 200, put.text
    runs = []
    for number in (1, 2):
        answer = (await api.post(f"{DELIVERIES}/{item['id']}/replay")).json()
        assert answer["replay"] == number
        runs.append(answer["run_id"])
        run = await until_status(api, answer["run_id"], "completed")
        assert run["output"] == {"order": "3"}
    assert runs[0] != runs[1]
    kept = (await api.get(f"{DELIVERIES}/{item['id']}")).json()
    assert (kept["status"], kept["run_id"], kept["replays"]) == ("accepted", runs[0], 2)
    assert_problem(await api.post(f"{DELIVERIES}/{a_name()}/replay"), 404, "NOT_FOUND")
    assert_problem(await api.get(f"{DELIVERIES}/{a_name()}"), 404, "NOT_FOUND")


async def test_tokens(api: AsyncClient, hook: MakeHook) -> None:
    it = await hook()
    first = it.token
    assert len(first) == 43
    rotated = (await api.post(f"{it.address}/rotate")).json()
    assert rotated["token"] not in (first, None)
    assert_problem(await it.send("d", order="o"), 404, "NOT_FOUND")
    it.token = rotated["token"]
    assert (await it.send("d", order="o")).status_code == 202
    disabled = (await api.post(f"{it.address}/disable")).json()
    assert disabled["enabled"] is False
    assert_problem(await it.send("e", order="o"), 409, "CONFLICT")
    assert (await api.post(f"{it.address}/enable")).json()["enabled"] is True
    assert (await it.send("e", order="o")).status_code == 202
    assert (await api.delete(it.address)).status_code == 204
    assert_problem(await it.send("e", order="o"), 404, "NOT_FOUND")


async def test_sizes_and_forms(api: AsyncClient, hook: MakeHook) -> None:
    it = await hook("github")
    big = it.preset.deliver("d", {"order": "x" * 256 * 1024}, now())
    assert_problem(await it.post(big), 413, "LIMIT_EXCEEDED")
    name = it.address.split("/")[4]
    body = {"kind": "webhook", "verify": {"scheme": "none"}, "input": {"order": "{{ body.order }}"}}
    plain = (await api.post(f"/api/v1/definitions/{name}/triggers", json=body)).json()
    it.token = plain["token"]
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert (await it.post(Sent(form, b"order=o-7"))).json()["status"] == "accepted"
    assert (await it.post(Sent(form, b"order=o-7"))).json()["duplicate"]
    broken = await it.post(Sent({"content-type": "application/json"}, b"{"))
    assert (broken.status_code, broken.json()["status"]) == (202, "failed")


async def test_slack_asks_for_a_challenge(api: AsyncClient, hook: MakeHook) -> None:
    it = await hook("slack")
    answer = await it.send("e", type="url_verification", challenge="c-1")
    assert (answer.status_code, answer.json()) == (200, {"challenge": "c-1"})


async def test_a_delivery_publishes_an_event(
    api: AsyncClient, hook: MakeHook, publish: Publish, worker: Worker
) -> None:
    kind = a_name("order")
    it = await hook(
        "standard",
        publish={"event": kind, "key": "{{ body.order }}"},
        input={"of": "{{ delivery.id }}", "body": "{{ body }}"},
    )
    name = await publish(ECHO)
    listening = {"event": kind, "input": {"order": "{{ event.key + event.data.of }}"}}
    await api.post(f"/api/v1/definitions/{name}/triggers", json=listening)
    taken = (await it.send("d-9", order="o-9")).json()
    assert (taken["status"], taken["run_id"]) == ("accepted", None)
    await it.send("d-9", order="o-9")
    (event,) = (await api.get("/api/v1/events", params={"type": kind})).json()["items"]
    assert event["key"] == "o-9"
    (run,) = (await api.get("/api/v1/runs", params={"definition": name})).json()["items"]
    run = await until_status(api, run["id"], "completed")
    assert run["output"] == {"order": "o-9d-9"}


async def test_what_a_webhook_needs_is_checked(api: AsyncClient, publish: Publish) -> None:
    address = f"/api/v1/definitions/{await publish(ECHO)}/triggers"
    none = {"kind": "webhook", "verify": {"scheme": "none"}}
    order = {"order": "{{ body.order }}"}
    for body, said in (
        ({**none, "verify": {"scheme": "github", "secrets": ["nobody"]}}, "no secret named"),
        ({**none, "input": {"order": "{{ event.x }}"}}, "event"),
        ({**none, "input": {"order": "{{ secrets.x }}"}}, "secrets"),
        ({**none, "input": order, "where": "body.x ="}, "where"),
        ({**none, "input": {}}, "required property"),
        ({**none, "input": order, "headers": ["Cookie"]}, "credential"),
        ({**none, "input": order, "publish": {"event": "x", "key": "{{ y }}"}}, "publish.key"),
    ):
        answer = await api.post(address, json=body)
        assert said in assert_problem(answer, 422, "INVALID_INPUT")["detail"], said


async def test_a_webhook_without_its_secret_is_a_fault_of_ours(
    api: AsyncClient, hook: MakeHook, database: Database
) -> None:
    it = await hook()
    (name,) = (await it.view())["verify"]["secrets"]
    async with database.session() as session:
        await secrets.delete(session, "default", name)
    assert_problem(await it.send("d", order="o"), 500, "INTERNAL")
    assert "none of the secrets exists" in (await it.view())["last_error"]


async def test_deliveries_are_taken_while_temporal_is_away(
    api: AsyncClient, without_temporal: AsyncClient, publish: Publish, worker: Worker
) -> None:
    address = f"/api/v1/definitions/{await publish(ECHO)}/triggers"
    body = {"kind": "webhook", "verify": {"scheme": "none"}, "input": {"order": "{{ body }}"}}
    token = (await api.post(address, json=body)).json()["token"]
    answers = [
        await without_temporal.post(f"/api/v1/hooks/{token}", content="o-1") for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [202, 200]
    (run_id,) = {answer.json()["run_id"] for answer in answers}
    run = (await api.get(f"/api/v1/runs/{run_id}")).json()
    assert run["status"] == "queued"
