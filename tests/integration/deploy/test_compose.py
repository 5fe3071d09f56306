"""docker-compose.yml against its schema and our rules for what it starts."""

import re
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

from tests.integration.deploy.compose import ROOT, MissingVariable, load, required_variables

VALUES = {
    "POSTGRES_PASSWORD": "secret123",
    "SOJOURN_API_KEY": "key-of-16-letters",
    "SOJOURN_SECRET_KEYS": "k1:" + "a" * 43 + "=",
    "SMTP_URL": "smtp://mail:25",
    "SOJOURN_MAIL_FROM": "Sojourn <a@example.com>",
}
SERVICES = load(VALUES)["services"]
ONE_SHOT = {"temporal-schema", "temporal-namespace", "migrate"}
OURS = {"migrate", "api", "worker"}


def test_the_file_follows_the_compose_specification() -> None:
    content = load(VALUES)
    PyCompose.from_yaml(yaml.safe_dump(content)).validate()
    # The check is a real one: a misspelt key is refused.
    content["services"]["api"]["helthcheck"] = content["services"]["api"].pop("healthcheck")
    with pytest.raises(ValueError, match="helthcheck"):
        PyCompose.from_yaml(yaml.safe_dump(content))


@pytest.mark.parametrize("name", sorted(VALUES))
def test_a_required_variable_that_is_unset_is_refused(name: str) -> None:
    with pytest.raises(MissingVariable, match=name):
        load({**VALUES, name: ""})


def test_every_required_variable_is_in_the_example() -> None:
    assert required_variables() == set(VALUES)
    example = (ROOT / ".env.example").read_text()
    assert required_variables() <= set(re.findall(r"^(\w+)=", example, re.MULTILINE))


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_watched_and_waits_for_what_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert ("healthcheck" in service) != (name in ONE_SHOT)
    for needed, how in service.get("depends_on", {}).items():
        wanted = "service_completed_successfully" if needed in ONE_SHOT else "service_healthy"
        assert how == {"condition": wanted}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_ports_are_published_on_loopback_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:")
    assert ("edge" in SERVICES[name]["networks"]) == (name in {"temporal-ui", "api", "worker"})


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_containers_have_no_rights_to_spare(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_mounted_files_are_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith("./") or Path(ROOT, source).is_dir()
        command = service.get("command", [])
        for part in command if isinstance(command, list) else []:
            if part.startswith("/deploy/"):
                assert (ROOT / "deploy/temporal" / Path(part).name).is_file()


def test_the_worker_gets_longer_to_stop_than_it_takes() -> None:
    grace = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace > int(SERVICES["worker"]["environment"]["SOJOURN_SHUTDOWN_GRACE"]) + 10


def test_the_image_is_built_from_the_whole_package_and_nothing_else() -> None:
    listed = (ROOT / "deploy/Dockerfile.dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in listed if line.startswith("!")}
    wheel = re.search(r"only-include = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL)
    assert wheel is not None
    packaged = set(re.findall(r'"([^"]+)"', wheel[1]))
    assert allowed == packaged | {"pyproject.toml", "uv.lock", "README.md", "LICENSE"}
