"""Warnings refuse nothing: they come with the answers of validate, create and publish."""

from httpx2 import AsyncClient

from tests.integration.api.conftest import YAML, a_name

PATIENT = "name: {name}\nsteps: [{{id: w, type: wait, signal: go}}]\n"


async def test_warnings_are_told_and_refuse_nothing(api: AsyncClient) -> None:
    name = a_name()
    source = PATIENT.format(name=name)
    answer = await api.post("/api/v1/definitions/validate", content=source, headers=YAML)
    found = answer.json()["problems"]
    assert [(one["rule"], one["severity"]) for one in found] == [
        ("wait-without-timeout", "warning")
    ]
    assert found[0]["position"] == {"line": 2, "column": 9}
    answer = await api.post("/api/v1/definitions", content=source, headers=YAML)
    assert (answer.status_code, answer.json()["warnings"]) == (201, found)
    answer = await api.post(f"/api/v1/definitions/{name}/versions/1/publish")
    assert (answer.status_code, answer.json()["warnings"]) == (200, found)
    answer = await api.post(
        f"/api/v1/definitions/{name}/versions?publish=true", content=source, headers=YAML
    )
    assert (answer.status_code, answer.json()["warnings"]) == (201, found)
