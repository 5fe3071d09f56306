"""`sojourn dev`: from an empty folder to ready, over restarts, and its words when it cannot."""

import os
import signal
import socket
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx2
import psutil
import pytest

WAITING = """
name: waiting
steps:
  - {id: approved, type: wait, signal: approved, timeout: 30d}
output: {by: "{{ steps.approved.output.by }}"}
"""


def publish(api: httpx2.Client, source: str) -> None:
    answer = api.post(
        "/api/v1/definitions?publish=true",
        content=source.encode(),
        headers={"Content-Type": "application/yaml"},
    )
    assert answer.status_code == 201, answer.text


def status(api: httpx2.Client, run: str) -> str:
    return api.get(f"/api/v1/runs/{run}").json()["status"]


def test_an_empty_folder_becomes_a_stack_that_outlives_its_process(
    start_dev, wait_until: Callable[..., None]
) -> None:
    dev = start_dev().ready()
    env = dev.env
    names = {"SOJOURN_URL", "SOJOURN_API_KEY", "TEMPORAL_ADDRESS", "DATABASE_URL", "SMTP_URL"}
    assert set(env) == names
    assert stat.S_IMODE((dev.home / "dev.env").stat().st_mode) == 0o600
    with dev.api() as api:
        assert api.get("/readyz").json()["status"] == "ready"
        assert api.get("/dev/mailbox").status_code == 200
        assert api.get("/dev/mailbox", headers={"Host": "evil.example"}).status_code == 400
        definitions = api.get("/api/v1/definitions").json()["items"]
        assert "lead-nurture" in {each["name"] for each in definitions}
        publish(api, WAITING)
        run = api.post("/api/v1/definitions/waiting/runs", json={"input": {}}).json()["id"]
        wait_until(lambda: status(api, run) == "waiting", "the run waits")
        metrics = api.get("/metrics").text
        assert 'sojourn_runs_started_total{definition="waiting"} 1.0' in metrics
        assert "temporal_worker_task_slots_available" in metrics
    family = dev.family()
    assert len(family) > 2

    dev.signal(signal.SIGTERM)
    assert dev.wait() == 0
    assert psutil.wait_procs(family, timeout=60)[1] == []

    again = start_dev().ready()
    assert again.env["SOJOURN_API_KEY"] == env["SOJOURN_API_KEY"]
    with again.api() as api:
        assert status(api, run) == "waiting"
        api.post(f"/api/v1/runs/{run}/signals/approved", json={"data": {"by": "Ada"}})
        wait_until(lambda: status(api, run) == "completed", "the run ends after the restart")
        assert api.get(f"/api/v1/runs/{run}").json()["output"] == {"by": "Ada"}
    family = again.family()
    again.interrupt_group()
    assert again.wait() == 0
    assert psutil.wait_procs(family, timeout=60)[1] == []


def test_what_a_killed_instance_left_behind_is_taken_over(start_dev) -> None:
    killed = start_dev().ready()
    family = killed.family()
    with killed.api() as api:
        publish(api, WAITING)
        run = api.post("/api/v1/definitions/waiting/runs", json={"input": {}}).json()["id"]
    killed.signal(signal.SIGKILL)
    killed.wait()

    dev = start_dev().ready()
    assert psutil.wait_procs(family, timeout=60)[1] == []
    with dev.api() as api:
        assert status(api, run) in ("queued", "running", "waiting")


def test_taken_ports_are_left_to_their_owners(start_dev) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as owner:
        port = owner.getsockname()[1]
        # Two at once: each picks its ports before the other one listens.
        started = [start_dev("--port", str(port), home=home) for home in ("one", "other")]
        for dev in started:
            dev.ready()
            assert f"port {port} is taken: the API uses" in dev.text
            with dev.api() as api:
                assert api.get("/readyz").status_code == 200
    first, second = (dev.env for dev in started)
    owned = ("SOJOURN_URL", "DATABASE_URL", "TEMPORAL_ADDRESS", "SMTP_URL")
    assert [name for name in owned if first[name] == second[name]] == []


def test_demo_shows_the_journey(start_dev) -> None:
    dev = start_dev("--demo", "--timescale", "864000")
    text = dev.wait_for("everything stays up until Ctrl-C")
    assert "the demo's run is completed" in text
    for line in ("Welcome, Ada", "followup", "sleeps for 3d", "result", "silent"):
        assert line in text


def test_servers_of_the_user_are_used(
    start_dev, temporal_address: str, postgres, empty_database_url: str
) -> None:
    env = {
        "TEMPORAL_ADDRESS": temporal_address,
        "DATABASE_URL": empty_database_url,
        "SOJOURN_TASK_QUEUE": "dev-of-a-user",
    }
    dev = start_dev(env=env).ready()
    assert dev.env["TEMPORAL_ADDRESS"] == temporal_address
    assert dev.env["DATABASE_URL"] == empty_database_url
    names = {process.name() for process in dev.family()}
    assert not names & {"postgres", "temporal"}


@pytest.fixture
async def empty_database_url(empty_database) -> str:
    return await empty_database()


def test_one_folder_has_one_instance(start_dev) -> None:
    first = start_dev().ready()
    second = start_dev()
    assert second.wait() == 1
    assert f"another 'sojourn dev' (pid {first.process.pid}) runs with the folder" in second.text
    assert "hint:" in second.text
    assert first.process.poll() is None


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"DATABASE_URL": "mysql://localhost/x"}, "which is not PostgreSQL"),
        ({"DATABASE_URL": "postgresql://u:hush@127.0.0.1:1/x"}, "127.0.0.1:1/x"),
        ({"TEMPORAL_ADDRESS": "127.0.0.1:1"}, "Temporal does not answer at 127.0.0.1:1"),
        ({"SOJOURN_AI_ALLOW_CIDRS": "", "SOJOURN_LOG_FORMAT": "xml"}, "SOJOURN_LOG_FORMAT"),
    ],
)
def test_what_is_wrong_is_said_plainly(start_dev, env: dict[str, str], said: str) -> None:
    dev = start_dev(env=env)
    assert dev.wait() == 1
    assert said in dev.text
    assert "Traceback" not in dev.text
    assert "hush" not in dev.text


def test_a_folder_that_cannot_be_written_is_named(start_dev, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    dev = start_dev(home="file/home")
    assert dev.wait() == 1
    assert "cannot be written: Not a directory" in dev.text
    assert "Traceback" not in dev.text


def test_no_port_left_is_named(start_dev) -> None:
    with closing(socket.create_server(("127.0.0.1", 65535))):
        dev = start_dev("--port", "65535")
        assert dev.wait() == 1
    assert "no free port from 65535 to 65535" in dev.text


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    from dev.errors import StackError
    from dev.temporal import find_program

    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match="'temporal' is not installed"):
        find_program("temporal")


def test_a_server_that_dies_ends_the_stack_with_a_word(start_dev) -> None:
    dev = start_dev().ready()
    [temporal] = [each for each in dev.family() if each.name() == "temporal"]
    os.kill(temporal.pid, signal.SIGKILL)
    assert dev.wait() == 1
    assert "Temporal has died" in dev.text
