"""`sojourn keys`: make, use, rotate, revoke."""

import pytest

from db.api_keys import split
from tests.integration.cli.conftest import Sojourn, parsed


async def test_the_life_of_a_key(sojourn: Sojourn, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("keys", "create", "a site", "--role", "viewer", "--scope", "runs:read")
    made = parsed(await sojourn(*command, "--grant", "some-flow=operator", "--json"))
    assert (made["role"], made["scopes"]) == ("viewer", ["runs:read"])
    assert made["grants"] == {"some-flow": "operator"}
    shown = await sojourn("keys", "create", "another")
    assert split(shown.stdout.split()[-1]) is not None
    listed = await sojourn("keys", "list")
    assert made["id"] in listed.stdout
    assert made["key"] not in listed.stdout
    new = parsed(await sojourn("keys", "rotate", made["id"], "--overlap", "1h", "--json"))
    listed = parsed(await sojourn("keys", "list", "--json"))
    assert {each["id"]: each["rotated_to"] for each in listed}[made["id"]] == new["id"]
    await sojourn("keys", "revoke", new["id"])
    assert new["id"] not in (await sojourn("keys", "list")).stdout
    assert new["id"] in (await sojourn("keys", "list", "--all")).stdout
    await sojourn("keys", "revoke", "000000000000", code=3)
    await sojourn("keys", "create", "x", "--role", "owner", code=1)
    await sojourn("keys", "create", "x", "--grant", "nothing", code=2)
    monkeypatch.setenv("SOJOURN_API_KEY", made["key"])
    refused = await sojourn("keys", "list", code=1)
    assert "FORBIDDEN" in refused.stderr
