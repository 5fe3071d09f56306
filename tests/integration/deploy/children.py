"""Processes of Sojourn started from the source tree, as a host starts them, and their pages."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.deploy.compose import ROOT

DEADLINE = 180.0


@dataclass
class Children:
    """The processes of one test, their logs and their ends."""

    folder: Path
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, command: str, **settings: str) -> "subprocess.Popen[bytes]":
        """Start `sojourn COMMAND` with these settings and nothing else of this shell's."""
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        arguments = [sys.executable, "-c", "from cli import app; app()", command]
        with self.log(command).open("ab") as output:
            process = subprocess.Popen(
                arguments,
                cwd=self.folder,
                env={
                    **inherited,
                    "PYTHONPATH": str(ROOT),
                    "SOJOURN_LOG_FORMAT": "json",
                    **settings,
                },
                stdout=output,
                stderr=output,
            )
        self.running[command] = process
        return process

    def log(self, command: str) -> Path:
        """The file with what a process wrote."""
        return self.folder / f"{command}.log"

    async def until(self, condition: Callable[[], Awaitable[Any]], what: str) -> Any:
        """Poll a condition to its first true answer; fails after the deadline or a death."""
        end = time.monotonic() + DEADLINE
        while not (found := await condition()):
            for command, process in self.running.items():
                assert process.poll() is None, self.log(command).read_text()
            assert time.monotonic() < end, f"not within {DEADLINE} s: {what}"
            await asyncio.sleep(0.1)
        return found

    def kill(self) -> None:
        """End all of them at once."""
        for process in self.running.values():
            process.kill()
            process.wait()
        self.running.clear()
