"""The gallery over the API: every entry can be copied, under its own name and another."""

from uuid import uuid4

import pytest
from httpx2 import AsyncClient

from api.gallery import FOLDER, gallery
from tests.integration.api.conftest import assert_problem


def test_every_example_is_in_the_gallery_with_tests() -> None:
    assert set(gallery()) == {path.stem for path in FOLDER.glob("*.yaml")}
    for one in gallery().values():
        assert one.description, one.name
        assert one.tags, one.name
        assert one.test, one.name


@pytest.mark.parametrize("name", sorted(gallery()))
async def test_each_entry_is_copied(api: AsyncClient, name: str) -> None:
    copy = f"copy-{uuid4().hex[:12]}"
    answer = await api.post(f"/api/v1/gallery/{name}/install", json={"as": copy})
    assert answer.status_code == 201, answer.text
    kinds = {one["kind"]: one["action"] for one in answer.json()["items"]}
    assert kinds["definition"] == "create"
    assert kinds.get("template", "create") in ("create", "unchanged", "skip")
    shown = (await api.get(f"/api/v1/definitions/{copy}/versions/1")).json()
    assert shown["status"] == "published"
    entry = (await api.get(f"/api/v1/gallery/{name}")).json()
    assert shown["source"] == entry["source"].replace(f"name: {name}", f"name: {copy}", 1)
    again = await api.post(f"/api/v1/gallery/{name}/install", json={"as": copy})
    assert_problem(again, 409, "CONFLICT")


async def test_the_list_says_what_comes_with_each(api: AsyncClient) -> None:
    items = (await api.get("/api/v1/gallery")).json()["items"]
    first = items[0]
    assert (first["name"], first["templates"], first["forms"], first["tested"]) == (
        "lead-nurture",
        ["followup", "welcome"],
        ["contact"],
        True,
    )
    unknown = await api.get("/api/v1/gallery/there-is-none")
    assert_problem(unknown, 404, "NOT_FOUND")


async def test_a_graph_becomes_a_definition(api: AsyncClient) -> None:
    graph = {
        "name": "drawn",
        "nodes": [
            {"id": "a", "type": "if", "config": {"if": "input.x == 1"}},
            {"id": "b", "type": "emial", "config": {"to": "a@example.com"}},
        ],
        "edges": [{"from": "a", "to": "b", "condition": True}],
    }
    answer = await api.post("/api/v1/import/graph", json=graph)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert [one["path"] for one in found["problems"]] == ["nodes[1].type", "steps[0].then[0].type"]
    assert "then:" in found["definition"]
    graph["nodes"][1]["type"] = "send_email"
    graph["nodes"][1]["config"] |= {"subject": "Hi", "body": "Hello"}
    mended = (await api.post("/api/v1/import/graph", json=graph)).json()
    assert mended["problems"] == []
    graph["edges"].append({"from": "b", "to": "a"})
    assert_problem(await api.post("/api/v1/import/graph", json=graph), 422, "INVALID_INPUT")
