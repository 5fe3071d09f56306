"""Running `sojourn dev` as its users do: a process of its own, in a folder of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import httpx2
import psutil
import pytest

READY = 60.0
STOP = 30.0


class DevProcess:
    """One `sojourn dev` process."""

    def __init__(
        self, folder: Path, home: Path, *args: str, env: dict[str, str] | None = None
    ) -> None:
        self.home = home
        self.folder = folder
        self.output = folder / f"{home.name}.{time.monotonic_ns()}.out"
        # The child's own folder, so that no .env of this checkout is read.
        with self.output.open("wb") as output:
            self.process = self._start(output, home, *args, env=env)

    def _start(
        self, output: IO[bytes], home: Path, *args: str, env: dict[str, str] | None
    ) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "cli", "dev", "--home", str(home), *args],
            cwd=self.folder,
            env={**_clean_environment(), "PYTHONPATH": str(Path.cwd()), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def text(self) -> str:
        return self.output.read_text()

    def wait_for(self, text: str, deadline: float = READY) -> str:
        end = time.monotonic() + deadline
        while text not in self.text:
            assert self.process.poll() is None, f"ended early:\n{self.text}"
            assert time.monotonic() < end, f"no {text!r} after {deadline} s:\n{self.text}"
            time.sleep(0.05)
        return self.text

    def ready(self) -> "DevProcess":
        self.wait_for("\nready")
        return self

    @property
    def env(self) -> dict[str, str]:
        lines = (self.home / "dev.env").read_text().splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def family(self) -> list[psutil.Process]:
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def api(self) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {self.env['SOJOURN_API_KEY']}"}
        return httpx2.Client(base_url=self.env["SOJOURN_URL"], headers=headers, timeout=60.0)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def interrupt_group(self) -> None:
        """Do what Ctrl-C in a terminal does."""
        os.killpg(self.process.pid, signal.SIGINT)

    def wait(self) -> int:
        return self.process.wait(STOP)


def _clean_environment() -> dict[str, str]:
    ours = ("SOJOURN_", "TEMPORAL_", "DATABASE_URL", "SMTP_URL")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


StartDev = Callable[..., DevProcess]


@pytest.fixture
def start_dev(tmp_path: Path) -> Iterator[StartDev]:
    """Call it to start `sojourn dev` with the folder `home` and more arguments."""
    started: list[DevProcess] = []

    def start(*args: str, home: str = "home", env: dict[str, str] | None = None) -> DevProcess:
        started.append(DevProcess(tmp_path, tmp_path / home, *args, env=env))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.signal(signal.SIGTERM)
            one.wait()


def poll(condition: Callable[[], bool], what: str, deadline: float = 180.0) -> None:
    """Wait until a condition holds; fails with `what` after `deadline` seconds."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, f"not within {deadline} s: {what}"
        time.sleep(0.05)


@pytest.fixture
def wait_until() -> Callable[..., None]:
    return poll
