"""The systemd units against our rules, and against systemd where it is installed."""

import re
import shutil
import subprocess
from ipaddress import ip_network
from pathlib import Path

import pytest

from activities import _ssrf
from settings import Settings
from tests.integration.deploy.compose import load as compose
from tests.integration.deploy.hosts import SYSTEMD, unit
from tests.integration.deploy.test_compose import VALUES

UNITS = sorted(path.name for path in SYSTEMD.glob("*.service"))
LASTING = [name for name in UNITS if "migrate" not in name]
PROGRAM = "/opt/sojourn/bin/sojourn"
YES = (
    "DynamicUser LockPersonality MemoryDenyWriteExecute NoNewPrivileges PrivateDevices PrivateIPC "
    "PrivateTmp PrivateUsers ProtectClock ProtectControlGroups ProtectHome ProtectHostname "
    "ProtectKernelLogs ProtectKernelModules ProtectKernelTunables RemoveIPC RestrictNamespaces "
    "RestrictRealtime RestrictSUIDSGID"
)


def test_there_is_a_unit_for_every_process() -> None:
    ours = {"api", "mail-poller", "migrate", "worker"}
    assert set(UNITS) == {f"sojourn-{name}.service" for name in ours}


@pytest.mark.parametrize("name", UNITS)
def test_units_have_no_rights_to_spare(name: str) -> None:
    service = unit(name)["Service"]
    assert {key: service[key] for key in YES.split()} == {key: ["yes"] for key in YES.split()}
    assert service["CapabilityBoundingSet"] == service["AmbientCapabilities"] == [""]
    assert service["ProtectSystem"] == ["strict"]
    assert service["ProtectProc"] == ["invisible"]
    assert service["RestrictAddressFamilies"] == ["AF_INET AF_INET6 AF_UNIX"]
    assert service["SystemCallArchitectures"] == ["native"]
    assert service["SystemCallFilter"] == ["@system-service", "~@privileged @resources"]
    assert "User" not in service


@pytest.mark.parametrize("name", UNITS)
def test_metadata_and_private_networks_are_out_of_reach(name: str) -> None:
    service = unit(name)["Service"]
    words = " ".join(service["IPAddressDeny"]).split()
    denied = [ip_network(word) for word in words if word[0].isdigit() or word[0] == "f"]
    assert set(_ssrf._NEVER) <= set(denied)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"):
        assert ip_network(text) in denied
    # What is allowed wins: nothing but this machine, until the operator adds to it.
    assert service["IPAddressAllow"] == ["localhost"]


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_starts_its_process_with_a_file_that_root_alone_reads(name: str) -> None:
    service = unit(name)["Service"]
    short = name.removeprefix("sojourn-").removesuffix(".service")
    program, *arguments = service["ExecStart"][0].split()
    assert [Path(program).name, *arguments] == compose(VALUES)["services"][short]["command"]
    assert program == PROGRAM
    assert service["EnvironmentFile"] == [f"/etc/sojourn/{short}.env"]
    # Anybody may ask systemd for these.
    assert not {"Environment", "PassEnvironment"} & set(service)


@pytest.mark.parametrize("name", LASTING)
def test_a_process_is_started_again_whatever_it_died_of(name: str) -> None:
    sections = unit(name)
    service = sections["Service"]
    assert service["Restart"] == ["always"]
    assert sections["Unit"]["StartLimitIntervalSec"] == ["0"]
    assert service["KillSignal"] == ["SIGTERM"]
    assert sections["Install"]["WantedBy"] == ["multi-user.target"]
    grace = Settings.model_fields["shutdown_grace"].default if "worker" in name else 5
    # Ten seconds after its grace a worker ends itself.
    assert int(service["TimeoutStopSec"][0]) > grace + 10


def test_the_core_of_temporal_finds_what_it_reads_in_proc() -> None:
    # With `pid` it panics: "You need to call System::refresh_memory …".
    assert unit("sojourn-worker.service")["Service"]["ProcSubset"] == ["all"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_the_unit_and_finds_it_closed(name: str, tmp_path: Path) -> None:
    # Here the program is not where the unit looks for it.
    copy = tmp_path / name
    copy.write_text((SYSTEMD / name).read_text().replace(PROGRAM, "/bin/true"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", copy],
        capture_output=True,
        text=True,
    )
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", judged.stdout)
    assert level is not None, judged.stdout + judged.stderr
    assert float(level[1]) <= 1.5
