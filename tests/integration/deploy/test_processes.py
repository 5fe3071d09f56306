"""What compose starts, started: its commands with its settings, installed as in the image.

The installed copy has no development group and no source tree; PostgreSQL and Temporal are the
suite's kind, Temporal with the settings of deploy/temporal/dynamicconfig.yaml.
"""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from dev.mailbox import Mailbox
from dev.ports import any_port
from dev.processes import Child
from dev.temporal import find_program
from tests.integration.deploy.compose import ROOT, load
from tests.integration.deploy.test_compose import OURS

DEADLINE = 180.0
MAIL = """
name: composed
input: {type: object, required: [email], properties: {email: {type: string}}}
steps:
  - {id: hello, type: email, with: {to: "{{ input.email }}", subject: Hello, text: from compose}}
  - {id: think, type: delay, for: 1s}
output: {done: true}
"""


def poll(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    end = time.monotonic() + deadline
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"not within {deadline} s: {what}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment made by the Dockerfile's own command."""
    folder = tmp_path_factory.mktemp("image")
    uv = shutil.which("uv") or str(ROOT / ".venv/bin/uv")
    [command] = {
        line.strip()
        for line in (ROOT / "deploy/Dockerfile").read_text().splitlines()
        if line.strip().startswith("uv sync") and "--no-install-project" not in line
    }
    environment = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(folder), "VIRTUAL_ENV": ""}
    subprocess.run(
        [uv, *command.split()[1:]], cwd=ROOT, env=environment, check=True, capture_output=True
    )
    return folder


@pytest.fixture(scope="module")
def temporal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Temporal server with the dynamic configuration that compose mounts."""
    content = yaml.safe_load((ROOT / "deploy/temporal/dynamicconfig.yaml").read_text())
    flags = [
        f"--dynamic-config-value={key}={json.dumps(values[0]['value'])}"
        for key, values in content.items()
    ]
    port = any_port()
    address = ["--ip", "127.0.0.1", "--port", str(port), "--headless"]
    log = tmp_path_factory.mktemp("temporal-compose") / "log"
    server = Child(
        "Temporal",
        [find_program("temporal"), "server", "start-dev", *address, *flags],
        log=log,
        stop_signal=signal.SIGINT,
    )
    script = ROOT / "deploy/temporal/create-namespace.sh"
    environment = {
        "PATH": f"{Path(find_program('temporal')).parent}:/usr/bin:/bin",
        "TEMPORAL_ADDRESS": f"127.0.0.1:{port}",
        "TEMPORAL_NAMESPACE": "composed",
    }

    def created() -> bool:
        # Twice: it must be able to run again.
        runs = [
            subprocess.run(["/bin/sh", script], env=environment, capture_output=True)
            for _ in range(2)
        ]
        return all(run.returncode == 0 for run in runs)

    try:
        poll(created, "the namespace is created")
        yield f"127.0.0.1:{port}"
    finally:
        server.stop()


@dataclass
class Composed:
    """The services of ours, with the addresses of this machine in place of the network's."""

    services: dict[str, Any]
    addresses: dict[str, str]
    installation: Path
    folder: Path
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def placed(self, text: str) -> str:
        for name, address in self.addresses.items():
            text = text.replace(name, address)
        return text

    def environment(self, name: str) -> dict[str, str]:
        given = self.services[name]["environment"].items()
        # As in the container: the image's PATH and what compose sets, nothing of this shell.
        return {"PATH": str(self.installation / "bin")} | {
            key: self.placed(value) for key, value in given
        }

    def start(self, name: str) -> "subprocess.Popen[bytes]":
        program, *arguments = self.services[name]["command"]
        with (self.folder / name).open("ab") as output:
            self.running[name] = subprocess.Popen(
                [str(self.installation / "bin" / program), *arguments],
                cwd=self.folder,
                env=self.environment(name),
                stdout=output,
                stderr=output,
            )
        return self.running[name]

    def output(self, name: str) -> str:
        return (self.folder / name).read_text()

    def healthy(self, name: str) -> bool:
        kind, program, *arguments = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        assert self.running[name].poll() is None, self.output(name)
        command = [str(self.installation / "bin" / program), *map(self.placed, arguments)]
        return subprocess.run(command, capture_output=True).returncode == 0

    def stop(self) -> dict[str, int]:
        """Stop every process as compose does, within its grace; gives the exit codes."""
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        codes = {}
        for name, process in self.running.items():
            grace = self.services[name].get("stop_grace_period", "10s")
            codes[name] = process.wait(int(grace.removesuffix("s")))
        self.kill()
        return codes

    def kill(self) -> None:
        for process in self.running.values():
            process.kill()
            process.wait()
        self.running.clear()


@pytest.fixture
async def composed(
    installation: Path, temporal: str, postgres, empty_database, smtp: Mailbox, tmp_path: Path
) -> Any:
    url = await empty_database()
    password, place = url.split("://sojourn:")[1].split("@")
    host, _, database = place.partition("/")
    api, metrics = any_port(), any_port()
    values = {
        "POSTGRES_PASSWORD": password,
        "SOJOURN_API_KEY": "key-of-the-composed-api",
        "SOJOURN_SECRET_KEYS": "k1:" + "a" * 43 + "=",
        "SMTP_URL": smtp.url,
        "SOJOURN_MAIL_FROM": "Sojourn <composed@example.com>",
    }
    services = load(values)["services"]
    for name in OURS:
        services[name]["environment"]["TEMPORAL_NAMESPACE"] = "composed"
    services["api"]["environment"]["SOJOURN_PORT"] = str(api)
    services["worker"]["environment"]["SOJOURN_METRICS_PORT"] = str(metrics)
    addresses = {
        "postgresql:5432/sojourn": f"{host}/{database}",
        "temporal:7233": temporal,
        "127.0.0.1:8000": f"127.0.0.1:{api}",
        "127.0.0.1:9464": f"127.0.0.1:{metrics}",
    }
    found = Composed(services, addresses, installation, tmp_path)
    yield found
    found.kill()


async def test_what_compose_starts_runs_a_definition(composed: Composed, smtp: Mailbox) -> None:
    import asyncio

    for _ in range(2):
        # Twice, as at every later `docker compose up`.
        migrating = composed.start("migrate")
        assert await asyncio.to_thread(migrating.wait, DEADLINE) == 0, composed.output("migrate")
    del composed.running["migrate"]
    for name in ("api", "worker", "mail-poller"):
        composed.start(name)
    for name in ("api", "worker"):
        await asyncio.to_thread(poll, lambda name=name: composed.healthy(name), f"{name} healthy")

    key = composed.environment("api")["SOJOURN_API_KEY"]
    base = composed.placed("http://127.0.0.1:8000")
    async with httpx2.AsyncClient(base_url=base, headers={"X-API-Key": key}) as api:
        stored = await api.post(
            "/api/v1/definitions?publish=true",
            content=MAIL.encode(),
            headers={"Content-Type": "application/yaml"},
        )
        assert stored.status_code == 201, stored.text
        started = await api.post(
            "/api/v1/definitions/composed/runs", json={"input": {"email": "ada@example.com"}}
        )
        run = started.json()["id"]
        [mail] = await smtp.wait_for(1, to="ada@example.com", deadline=DEADLINE)
        assert mail.subject == "Hello"
        assert mail.sender == "composed@example.com"
        events = await api.get(f"/api/v1/runs/{run}/events", timeout=DEADLINE)
        assert "run_completed" in events.text
        assert (await api.get("/readyz")).json()["status"] == "ready"

    def worker_metrics() -> str:
        with urllib.request.urlopen(composed.placed("http://127.0.0.1:9464/metrics")) as answer:
            return answer.read().decode()

    assert 'workflow_type="composed"' in await asyncio.to_thread(worker_metrics)
    lines = [json.loads(line) for line in composed.output("api").splitlines()]
    assert any(line["event"] == "request" for line in lines)
    assert key not in composed.output("api")
    poller = composed.running["mail-poller"]
    assert poller.poll() is None
    assert "reads the mailboxes" in composed.output("mail-poller")
    codes = await asyncio.to_thread(composed.stop)
    assert codes == {"api": 0, "worker": 0, "mail-poller": 0}


def test_missing_settings_are_named(installation: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [installation / "bin/sojourn", "worker"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "DATABASE_URL is required" in done.stderr
    assert "Traceback" not in done.stderr


def test_dev_says_that_it_needs_the_development_group(installation: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [installation / "bin/sojourn", "dev"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "needs the development group" in done.stderr
