"""Child processes of the stack: started apart from the terminal, stopped by pid."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from dev.errors import StackError


class Child:
    """One server process, out of reach of the terminal's Ctrl-C; its output goes to `log`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        """Start the process; raises StackError if the program cannot be run."""
        self.name = name
        self.log = log
        self._stop_signal = stop_signal
        with log.open("ab") as output:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own command
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=None if env is None else dict(env),
                    cwd=cwd,
                    start_new_session=True,
                )
            except OSError as error:
                raise StackError(f"{name} cannot be started: {error}") from error

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    def listens_on(self, port: int) -> bool:
        """Whether this process, and not another one, listens on a TCP port."""
        try:
            held = psutil.Process(self.pid).net_connections(kind="tcp")
        except psutil.NoSuchProcess:
            return False
        return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in held)

    def wait_until(self, ready: Callable[[], bool], *, deadline: float = 30.0) -> None:
        """Poll `ready`; raises StackError with the log's end if the process ends or time is up.

        `deadline` is in seconds.
        """
        end = time.monotonic() + deadline
        while True:
            if not self.running:
                raise StackError(
                    f"{self.name} ended with code {self._process.returncode}:\n{self.tail()}",
                    f"its log is {self.log}",
                )
            if ready():
                return
            if time.monotonic() > end:
                raise StackError(
                    f"{self.name} did not become ready within {deadline:g} s:\n{self.tail()}",
                    f"its log is {self.log}",
                )
            time.sleep(0.05)

    def tail(self, lines: int = 8) -> str:
        """Give the last lines of the log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def stop(self, *, grace: float = 10.0) -> None:
        """Ask the process to stop, and kill it after `grace` seconds."""
        if self.running:
            self._process.send_signal(self._stop_signal)
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        self._process.kill()
        self._process.wait()


def stop_leftover(pid: int, mark: str, *, stop_signal: signal.Signals, grace: float = 10.0) -> bool:
    """Stop a process that a killed predecessor left behind; True if there was one.

    `mark` must stand in its command line, or the pid belongs to something else by now.
    """
    try:
        process = psutil.Process(pid)
        if not any(mark in part for part in process.cmdline()):
            return False
        os.kill(pid, stop_signal)
        end = time.monotonic() + grace
        # An orphan that nobody reaps stays a zombie: it has ended all the same.
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
                break
            time.sleep(0.05)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False
    return True
