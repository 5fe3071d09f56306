"""docker-compose.yml against its schema and our rules for what it starts."""

import re
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

from tests.integration.deploy.compose import (
    FILE,
    ROOT,
    MissingVariable,
    load,
    required_variables,
)
from tests.integration.deploy.hosts import settings_names

VALUES = {
    "POSTGRES_PASSWORD": "secret123",
    "SOJOURN_API_KEY": "key-of-16-letters",
    "SOJOURN_SECRET_KEYS": "k1:" + "a" * 43 + "=",
    "SMTP_URL": "smtp://mail:25",
    "SOJOURN_MAIL_FROM": "Sojourn <a@example.com>",
}
SERVICES = load(VALUES)["services"]
ONE_SHOT = {"temporal-schema", "temporal-namespace", "migrate"}
OURS = {"migrate", "api", "worker", "mail-poller"}
OBSERVING = {"prometheus", "grafana", "otel-collector"}
# They have no page, and no program that could ask for one.
UNASKED = {"mail-poller", "otel-collector"}
OUTSIDE = {"temporal-ui", "api", "worker", "mail-poller", "grafana", "otel-collector"}
# Its image starts as root to own the volume, and leaves root by itself.
ROOTED = {"postgresql"}


def test_the_file_follows_the_compose_specification() -> None:
    content = load(VALUES)
    for service in content["services"].values():
        # Docker takes a tag beside a digest, for people to read; this check does not.
        service["image"] = re.sub(r":[^:@]+@", "@", service["image"])
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
    # Ours would be asked what the image's HEALTHCHECK asks the API.
    assert service.get("healthcheck", {}).get("disable", False) == (name in UNASKED)
    for needed, how in service.get("depends_on", {}).items():
        wanted = "service_completed_successfully" if needed in ONE_SHOT else "service_healthy"
        assert how == {"condition": wanted}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_ports_are_published_on_loopback_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:")
    assert ("edge" in SERVICES[name]["networks"]) == (name in OUTSIDE)


@pytest.mark.parametrize("name", sorted(OURS | OBSERVING))
def test_our_containers_have_no_rights_to_spare(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[1-9]\d*:\d+", service["user"])
    assert name in OBSERVING or service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert "/tmp" in service["tmpfs"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_container_gains_rights_or_sees_the_host(name: str) -> None:
    service = SERVICES[name]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert name in ROOTED or service["cap_drop"] == ["ALL"]
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "network_mode"} & set(service)
    assert not [volume for volume in service.get("volumes", []) if "docker.sock" in volume]
    for volume in service.get("volumes", []):
        assert not volume.startswith(".") or volume.endswith(":ro")


def test_only_the_profile_starts_what_observes() -> None:
    for name, service in SERVICES.items():
        assert service.get("profiles") == (["observability"] if name in OBSERVING else None)


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_variable_of_ours_is_a_setting(name: str) -> None:
    assert set(SERVICES[name]["environment"]) <= settings_names()


def test_every_variable_of_the_example_is_used() -> None:
    example = (ROOT / ".env.example").read_text()
    known = settings_names() | set(re.findall(r"\$\{(\w+)", FILE.read_text()))
    assert set(re.findall(r"^#?([A-Z][A-Z_]+)=", example, re.MULTILINE)) <= known


def test_mounted_files_are_there() -> None:
    for service in SERVICES.values():
        mounts = service.get("volumes", [])
        for volume in mounts:
            source = volume.split(":")[0]
            assert not source.startswith("./") or Path(ROOT, source).is_dir()
        command = service.get("command", [])
        folders = {volume.split(":")[1]: volume.split(":")[0] for volume in mounts}
        for part in command if isinstance(command, list) else []:
            place = Path(part.removeprefix("--config="))
            if str(place.parent) == "/deploy":
                assert (ROOT / folders["/deploy"] / place.name).is_file()


def test_the_worker_gets_longer_to_stop_than_it_takes() -> None:
    grace = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace > int(SERVICES["worker"]["environment"]["SOJOURN_SHUTDOWN_GRACE"]) + 10


def test_the_image_is_built_from_the_whole_package_and_nothing_else() -> None:
    listed = (ROOT / "deploy/Dockerfile.dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in listed if line.startswith("!")}
    wheel = re.search(r"only-include = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL)
    assert wheel is not None
    packaged = set(re.findall(r'"([^"]+)"', wheel[1]))
    files = {"pyproject.toml", "uv.lock", "README.md", "LICENSE", "deploy/uv.txt"}
    assert allowed == packaged | files
